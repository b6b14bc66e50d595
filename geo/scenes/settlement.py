"""Cities and suburbs: streets, blocks, lots and what stands on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.scenes.buildings import (
    FLAT_ROOFS,
    TILES,
    car,
    flat_roof,
    house,
    lit,
    pick,
    pitched_roof,
    tint,
)
from geo.scenes.canvas import Canvas, Colour, Sun, rectangle
from geo.scenes.layout import CITY, OCEAN, PORT, SUBURB, Layout, Points
from geo.scenes.nature import plant
from geo.scenes.noise import stream
from geo.scenes.parcels import Bend, Cell, divide

ASPHALT: Colour = (98, 98, 100)
_PAVEMENT: Colour = (150, 147, 141)
_MARKING: Colour = (214, 214, 208)
_LAWN: Colour = (98, 116, 66)


@dataclass(frozen=True, kw_only=True)
class _Pen:
    """What every drawing of a settlement needs."""

    canvas: Canvas
    sun: Sun
    bend: Bend
    rng: np.random.Generator

    def area(self, cell: Cell, colour: Colour) -> None:
        """A cell, bent."""
        self.canvas.area(self.bend.place(cell.outline()), colour)


def build_city(canvas: Canvas, layout: Layout, seed: int, sun: Sun) -> None:
    """Build on all ground of the city."""
    rng = stream(seed, "city")
    reach = 0.36 * layout.size_m
    bend = Bend.draw(rng, layout.centres[CITY][0], layout.port.angle, 16.0, 900.0)
    cells = divide(rng, reach, largest=(118.0, 82.0), road_half_widths=(11.0, 9.0, 7.0, 5.5))
    mine = _of_category(layout, bend, cells, CITY)
    pen = _Pen(canvas=canvas, sun=sun, bend=bend, rng=rng)
    for cell in mine:
        pen.area(cell, tint(rng, ASPHALT, 4))
    for cell in mine:
        _street(pen, cell, lively=0.5)
        pen.area(cell.shrunk(), tint(rng, _PAVEMENT, 5))
        inner = cell.shrunk(3.0)
        kind = rng.uniform()
        if kind < 0.07:
            _park(pen, inner)
        elif kind < 0.14:
            _car_park(pen, inner)
        elif kind < 0.5:
            _perimeter_block(pen, inner)
        else:
            _free_standing(pen, inner)
        _street_trees(pen, cell, 0.5)


def build_suburbs(canvas: Canvas, layout: Layout, seed: int, sun: Sun) -> None:
    """Build on all ground of the suburbs; each centre has its own street plan."""
    taken: list[Points] = []
    for number, centre in enumerate(layout.centres[SUBURB]):
        rng = stream(seed, "suburb", number)
        bend = Bend.draw(rng, centre, rng.uniform(0, np.pi), 26.0, 720.0)
        cells = divide(
            rng, 0.36 * layout.size_m, largest=(190.0, 68.0), road_half_widths=(6.5, 5.0, 4.2)
        )
        pen = _Pen(canvas=canvas, sun=sun, bend=bend, rng=rng)
        mine = []
        for cell in _of_category(layout, bend, cells, SUBURB):
            middle = bend.place(cell.centre[None])[0]
            nearest = np.hypot(*(layout.centres[SUBURB] - middle).T).argmin()
            if nearest == number:
                mine.append(cell)
                taken.append(middle)
        for cell in mine:
            pen.area(cell, tint(rng, (112, 111, 110), 4))
        for cell in mine:
            _street(pen, cell, lively=0.2)
            pen.area(cell.shrunk(), tint(rng, (158, 155, 147), 4))
            if rng.uniform() < 0.05:
                _park(pen, cell.shrunk(1.6))
            else:
                _gardens(pen, cell.shrunk(1.6))


def _of_category(layout: Layout, bend: Bend, cells: list[Cell], category: int) -> list[Cell]:
    """Cells whose middle has the category, that lie on land and outside the port."""
    kept = []
    for cell in cells:
        middle = bend.place(cell.centre[None])
        corners = bend.place(cell.outline(1e6))
        kinds = layout.category_at(corners)
        dry = layout.is_land(corners, 12.0).all()
        if (
            layout.category_at(middle)[0] == category
            and dry
            and not np.isin(kinds, (PORT, OCEAN)).any()
        ):
            kept.append(cell)
    return kept


def _street(pen: _Pen, cell: Cell, *, lively: float) -> None:
    """Markings and cars along a cell's right and bottom side (its neighbours do the others)."""
    rng, canvas = pen.rng, pen.canvas
    for line, half in cell.sides(3.0)[2:]:
        if half > 5:
            for start in range(0, len(line) - 1, 3):  # a dash of 3 m every 9 m
                canvas.line(pen.bend.place(line[start : start + 2]), 0.3, _MARKING)
        if half > 8:
            inward = cell.centre - line.mean(axis=0)
            inward = np.where(np.abs(inward) == np.abs(inward).max(), np.sign(inward), 0)
            for side in (-1, 1):
                edge = line + inward * side * (half - 0.6)
                canvas.line(pen.bend.place(edge[4:-4]), 0.25, _MARKING)
        for _ in range(int(rng.poisson(lively * len(line) / 4))):
            at = int(rng.integers(len(line) - 1))
            a, b = pen.bend.place(line[at : at + 2])
            if np.hypot(*(b - a)) < 0.1:
                continue
            angle = float(np.arctan2(b[1] - a[1], b[0] - a[0]))
            normal = np.array([-np.sin(angle), np.cos(angle)])
            offset = float(rng.choice([-1, 1])) * (
                half - 1.3 if rng.uniform() < 0.65 else 0.4 * half
            )
            car(canvas, rng, a + normal * offset, angle)


def _street_trees(pen: _Pen, cell: Cell, share: float) -> None:
    edge = cell.shrunk(1.4).outline(9.0)
    chosen = edge[pen.rng.uniform(size=len(edge)) < share * pen.rng.uniform(0, 1.3)]
    if len(chosen):
        plant(pen.canvas, pen.rng, pen.bend.place(chosen), 2.4)


def _perimeter_block(pen: _Pen, cell: Cell) -> None:
    """An old block: houses wall to wall around a yard."""
    rng = pen.rng
    w, h = cell.size
    depth = min(rng.uniform(11, 14), 0.4 * min(w, h))
    yard = cell.shrunk(depth)
    pen.area(cell, tint(rng, (140, 136, 128), 6))
    if min(yard.size) > 5:
        pen.area(yard, tint(rng, (112, 118, 84) if rng.uniform() < 0.6 else (146, 140, 132), 8))
        spots = rng.uniform((yard.x0, yard.y0), (yard.x1, yard.y1), (int(rng.poisson(5)), 2))
        plant(pen.canvas, rng, pen.bend.place(spots), 2.8)
    storeys = int(rng.integers(3, 7))
    sides = (
        ((cell.x0, cell.y0 + depth / 2), (1.0, 0.0), w),
        ((cell.x0, cell.y1 - depth / 2), (1.0, 0.0), w),
        ((cell.x0 + depth / 2, cell.y0 + depth), (0.0, 1.0), h - 2 * depth),
        ((cell.x1 - depth / 2, cell.y0 + depth), (0.0, 1.0), h - 2 * depth),
    )
    for start, heading, length in sides:
        along = 0.0
        while along < length - 5:
            front = min(rng.uniform(12, 26), length - along)
            if length - along - front < 8:
                front = length - along
            local = np.array(start) + np.array(heading) * (along + front / 2)
            along += front
            if rng.uniform() < 0.04:
                continue
            middle = pen.bend.place(local[None])[0]
            angle = pen.bend.direction(local) + (np.pi / 2 if heading[1] else 0.0)
            height = 3.2 * max(2, storeys + int(rng.integers(-1, 2)))
            if rng.uniform() < 0.62:
                colour = tint(rng, pick(rng, TILES[:5]), 9)
                pitched_roof(pen.canvas, pen.sun, middle, angle, front, depth, colour, height)
                along_roof = np.array([np.cos(angle), np.sin(angle)])
                for _ in range(int(rng.integers(0, 4))):
                    spot = middle + along_roof * rng.uniform(-0.4, 0.4) * front
                    pen.canvas.area(rectangle(spot, angle, 1.6, 1.2), (132, 118, 108), height + 6)
            else:
                colour = tint(rng, pick(rng, FLAT_ROOFS), 8)
                flat_roof(pen.canvas, rng, middle, angle, front, depth, height, colour)


def _free_standing(pen: _Pen, cell: Cell) -> None:
    """Modern buildings on lots, some of them tall, with yards, cars and trees between."""
    rng = pen.rng
    w, h = cell.size
    pen.area(cell, tint(rng, (138, 136, 132) if rng.uniform() < 0.7 else (104, 118, 78), 7))
    columns = max(1, round(w / rng.uniform(28, 46)))
    rows = max(1, round(h / rng.uniform(28, 44)))
    for i in range(columns):
        for j in range(rows):
            lot_w, lot_h = w / columns, h / rows
            local = np.array([cell.x0 + (i + 0.5) * lot_w, cell.y0 + (j + 0.5) * lot_h])
            middle = pen.bend.place(local[None])[0]
            angle = pen.bend.direction(local)
            kind = rng.uniform()
            length, width = lot_w * rng.uniform(0.6, 0.86), lot_h * rng.uniform(0.55, 0.84)
            colour = tint(rng, pick(rng, FLAT_ROOFS), 9)
            height = float(
                rng.choice([7, 10, 13, 16, 22, 30], p=[0.2, 0.22, 0.22, 0.18, 0.12, 0.06])
            )
            if kind < 0.08:
                spots = local + rng.uniform(-0.4, 0.4, (7, 2)) * (lot_w, lot_h)
                plant(pen.canvas, rng, pen.bend.place(spots), 3.0)
            elif kind < 0.2:
                _cars_in_rows(pen, middle, angle, lot_w - 4, lot_h - 4)
            else:
                flat_roof(pen.canvas, rng, middle, angle, length, width, height, colour)
                if kind > 0.7:  # a tower on its base, or an upper storey set back
                    flat_roof(
                        pen.canvas,
                        rng,
                        middle,
                        angle,
                        0.55 * length,
                        0.6 * width,
                        height + float(rng.uniform(4, 14)),
                        lit(colour, rng.uniform(0.85, 1.15)),
                    )


def _car_park(pen: _Pen, cell: Cell) -> None:
    pen.area(cell, tint(pen.rng, (112, 112, 113), 5))
    angle = pen.bend.direction(cell.centre)
    _cars_in_rows(pen, pen.bend.place(cell.centre[None])[0], angle, *cell.size)


def _cars_in_rows(pen: _Pen, centre: Points, angle: float, length: float, width: float) -> None:
    rng = pen.rng
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    full = rng.uniform(0.3, 0.9)
    for y in np.arange(-width / 2 + 4, width / 2 - 2, 8.0):
        for x in np.arange(-length / 2 + 3, length / 2 - 2, 2.7):
            spot = centre + along * x + across * y
            mark = spot - along * 1.35
            pen.canvas.line([mark - across * 2.3, mark + across * 2.3], 0.2, (190, 190, 186))
            if rng.uniform() < full:
                car(pen.canvas, rng, spot, angle + np.pi / 2)


def _park(pen: _Pen, cell: Cell) -> None:
    """Lawns, paths that cross, trees, perhaps a pitch."""
    rng = pen.rng
    pen.area(cell, tint(rng, _LAWN, 6))
    a, b, c, d = (
        np.array(p)
        for p in ((cell.x0, cell.y0), (cell.x1, cell.y0), (cell.x1, cell.y1), (cell.x0, cell.y1))
    )
    middle = cell.centre
    for corner in (a, b, c, d):
        t = np.linspace(0, 1, 12)[:, None]
        path = corner + (middle - corner) * t + np.sin(np.pi * t) * rng.uniform(-8, 8, 2)
        pen.canvas.line(pen.bend.place(path), 2.2, (178, 164, 138))
    pen.canvas.disc(pen.bend.place(middle[None])[0], 7.0, (184, 172, 148))
    pen.canvas.disc(pen.bend.place(middle[None])[0], 3.5, (70, 108, 112))
    if min(cell.size) > 50 and rng.uniform() < 0.6:
        spot = pen.bend.place((middle + np.array([cell.size[0] / 4, 0]))[None])[0]
        angle = pen.bend.direction(middle)
        pen.canvas.area(rectangle(spot, angle, 34, 22), (132, 86, 66))
        pen.canvas.area(rectangle(spot, angle, 24, 12), (78, 104, 96))
    spots = rng.uniform(
        (cell.x0, cell.y0), (cell.x1, cell.y1), (int(cell.size[0] * cell.size[1] / 110), 2)
    )
    spots = spots[np.hypot(*(spots - middle).T) > 10]
    plant(pen.canvas, rng, pen.bend.place(spots), 3.3)


def _gardens(pen: _Pen, cell: Cell) -> None:
    """Two rows of lots back to back: house, drive, lawn, hedge, trees, now and then a pool."""
    rng = pen.rng
    w, h = cell.size
    pen.area(cell, tint(rng, _LAWN, 6))
    count = max(1, round(w / rng.uniform(18, 24)))
    two_rows = h > 40
    for i in range(count):
        for back in (False, True) if two_rows else (False,):
            lot_w = w / count
            lot_h = h / 2 if two_rows else h
            x0 = cell.x0 + i * lot_w
            y0 = cell.y0 + (lot_h if back else 0.0)
            lot = Cell(x0=x0, y0=y0, x1=x0 + lot_w, y1=y0 + lot_h, gaps=(0, 0, 0, 0))
            _lot(pen, lot, 1.0 if back else -1.0)


def _lot(pen: _Pen, lot: Cell, street: float) -> None:
    """One garden; `street` is -1 where the street is at the lot's top side, 1 at its bottom."""
    rng, canvas = pen.rng, pen.canvas
    w, h = lot.size
    pen.area(
        lot.shrunk(0.4), tint(rng, (104, 120, 68) if rng.uniform() < 0.75 else (134, 128, 88), 8)
    )
    middle = lot.centre
    front = np.array([0.0, street])
    setback = min(0.12 * h, 5.0) * rng.uniform(0.4, 1.6)
    local = middle + front * setback + np.array([rng.uniform(-0.08, 0.08) * w, 0.0])
    angle = pen.bend.direction(local) + rng.normal(0, 0.03)
    place = pen.bend.place
    side = float(rng.choice([-1.0, 1.0]))
    drive = np.array(
        [
            [middle[0] + side * 0.38 * w, middle[1] + front[1] * h / 2],
            [middle[0] + side * 0.38 * w, middle[1]],
        ]
    )
    canvas.line(place(drive), 3.4, tint(rng, (166, 160, 150), 10))
    if rng.uniform() < 0.65:
        heading = angle + np.pi / 2
        car(canvas, rng, place((drive[0] * 0.6 + drive[1] * 0.4)[None])[0], heading)
    if rng.uniform() < 0.6:
        terrace = place((local - front * 6.5)[None])[0]
        canvas.area(
            rectangle(terrace, angle, rng.uniform(5, 9), 4.5), tint(rng, (172, 160, 146), 10)
        )
    if rng.uniform() < 0.16 and h > 26:
        pool = place((middle - front * 0.32 * h)[None])[0]
        canvas.area(rectangle(pool, angle, 10, 6), (196, 192, 182))
        canvas.area(rectangle(pool, angle, 8, 4), (74, 158, 176))
    elif rng.uniform() < 0.3:
        shed = place((middle - front * 0.38 * h - np.array([side * 0.3 * w, 0]))[None])[0]
        pitched_roof(canvas, pen.sun, shed, angle, 4.5, 3.2, tint(rng, (128, 116, 104), 12), 2.1)
    elif rng.uniform() < 0.3:
        bed = place((middle - front * 0.36 * h)[None])[0]
        canvas.area(rectangle(bed, angle, 7, 4), (112, 94, 72))
    house(
        canvas,
        pen.sun,
        rng,
        place(local[None])[0],
        angle + (np.pi / 2 if rng.uniform() < 0.25 else 0),
    )
    hedge = np.array([[lot.x0, lot.y0 + 1.5], [lot.x0, lot.y1 - 1.5]])
    t = np.arange(0, 1, 1.9 / h)[:, None]
    if rng.uniform() < 0.55:
        plant(canvas, rng, place(hedge[0] + (hedge[1] - hedge[0]) * t), 1.15)
    n = int(rng.poisson(4.2))
    spots = (
        middle
        - front * rng.uniform(-0.1, 0.46, (n, 1)) * h
        + np.stack([rng.uniform(-0.47, 0.47, n) * w, np.zeros(n)], -1)
    )
    away = np.hypot(*(spots - local).T) > 8
    plant(canvas, rng, place(spots[away]), 2.5)
