"""Fields: crops in rows, tractor lines, hedges, tracks and farmsteads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.scenes.buildings import pitched_roof, tint
from geo.scenes.canvas import Canvas, Colour, Sun, polygon_share, rectangle
from geo.scenes.layout import FARM, Layout, Points
from geo.scenes.nature import plant
from geo.scenes.noise import Field, fractal, stream
from geo.scenes.parcels import Bend, Cell, divide


@dataclass(frozen=True, kw_only=True)
class _Crop:
    """How a field looks from above.

    Parameters
    ----------
    colour : Colour
    share : float
        How common it is.
    row_m, row_contrast : float
        Spacing of the rows and how much they darken.
    tramline_m : float
        Spacing of tractor lines; 0 for none.
    patchy : float
        Strength of large spots.
    """

    colour: Colour
    share: float
    row_m: float
    row_contrast: float
    tramline_m: float
    patchy: float


_CROPS = (
    _Crop(
        colour=(176, 156, 104), share=0.17, row_m=6.0, row_contrast=0.05, tramline_m=21, patchy=0.05
    ),
    _Crop(
        colour=(196, 178, 126), share=0.10, row_m=7.0, row_contrast=0.12, tramline_m=0, patchy=0.04
    ),
    _Crop(
        colour=(96, 118, 62), share=0.15, row_m=5.0, row_contrast=0.05, tramline_m=24, patchy=0.08
    ),
    _Crop(colour=(70, 98, 52), share=0.13, row_m=4.5, row_contrast=0.16, tramline_m=0, patchy=0.06),
    _Crop(
        colour=(146, 118, 92), share=0.11, row_m=5.5, row_contrast=0.12, tramline_m=0, patchy=0.10
    ),
    _Crop(
        colour=(122, 96, 76), share=0.08, row_m=8.0, row_contrast=0.10, tramline_m=0, patchy=0.12
    ),
    _Crop(
        colour=(112, 130, 72), share=0.14, row_m=11.0, row_contrast=0.07, tramline_m=0, patchy=0.10
    ),
    _Crop(
        colour=(178, 170, 66), share=0.05, row_m=5.0, row_contrast=0.03, tramline_m=18, patchy=0.05
    ),
    _Crop(
        colour=(134, 126, 88), share=0.07, row_m=6.5, row_contrast=0.34, tramline_m=0, patchy=0.05
    ),
)
_RIPE = (0, 2)  # crops that may be cut within weeks
_VERGE: Colour = (118, 122, 74)


@dataclass(frozen=True, kw_only=True)
class FieldPlot:
    """A field, as later dates need it: its outline and whether it may be cut."""

    outline: Points
    ripe: bool


def sow_fields(
    canvas: Canvas, ground: Field, woods: Field, layout: Layout, seed: int, gsd_m: float, sun: Sun
) -> list[FieldPlot]:
    """Turn the farmland into fields; paints on `ground` and plants on `canvas`.

    Where `woods` stand (above 0, on the layout's grid) nobody ploughs.

    Returns
    -------
    list of FieldPlot
    """
    plots: list[FieldPlot] = []
    texture = fractal(stream(seed, "soil"), ground.shape[:2], 90 / gsd_m, octaves=6, gain=0.6)
    for number, centre in enumerate(layout.centres[FARM]):
        rng = stream(seed, "farm", number)
        bend = Bend.draw(rng, centre, rng.uniform(0, np.pi), 42.0, 1500.0)
        cells = divide(
            rng,
            0.55 * layout.size_m,
            largest=(300.0, 170.0),
            road_half_widths=(6.0, 3.6, 2.6, 1.6, 1.2),
            irregularity=0.24,
        )
        for cell in cells:
            middle = bend.place(cell.centre[None])
            outline = bend.place(cell.outline())
            nearest = np.hypot(*(layout.centres[FARM] - middle[0]).T).argmin()
            farm = layout.category_at(outline) == FARM
            if nearest != number or layout.category_at(middle)[0] != FARM or farm.mean() < 0.55:
                continue
            if not layout.is_land(outline, 25).all():
                continue
            if np.mean(layout.sample(woods, outline)) > 0.1 or layout.sample(woods, middle)[0] > 0:
                continue
            _track(canvas, rng, bend, cell)
            if min(cell.shrunk().size) < 25:
                continue
            if rng.uniform() < 0.07:
                _farmstead(canvas, sun, rng, bend, cell)
            ripe = _paint_field(canvas, ground, texture, rng, bend, cell, gsd_m)
            _hedges(canvas, rng, bend, cell)
            plots.append(FieldPlot(outline=bend.place(cell.shrunk(2.0).outline()), ripe=ripe))
    return plots


def _paint_field(
    canvas: Canvas,
    ground: Field,
    texture: Field,
    rng: np.random.Generator,
    bend: Bend,
    cell: Cell,
    gsd_m: float,
) -> bool:
    shares = np.array([c.share for c in _CROPS])
    kind = int(rng.choice(len(_CROPS), p=shares / shares.sum()))
    crop = _CROPS[kind]
    inner = cell.shrunk(1.0)
    (rows, cols), share = polygon_share(bend.place(inner.outline()), ground.shape, gsd_m)
    if not share.size:
        return False
    middle = bend.place(cell.centre[None])[0]
    angle = bend.direction(cell.centre) + (0.0 if cell.size[0] > cell.size[1] else np.pi / 2)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * gsd_m - middle[1]
    x = (np.arange(cols.start, cols.stop, dtype=np.float32) + 0.5) * gsd_m - middle[0]
    across = (-np.sin(angle) * x[None, :] + np.cos(angle) * y[:, None]).astype(np.float32)
    along = (np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]).astype(np.float32)
    spots = texture[rows, cols]
    # Rows follow the long side's curve a little, as tractors do.
    wave = across + 6 * np.sin(along / np.float32(170.0) + np.float32(rng.uniform(0, 6)))
    light = 1 + crop.patchy * spots
    # Rows finer than two pixels would only alias.
    row_m = max(crop.row_m * rng.uniform(0.85, 1.3), 3.2 * gsd_m)
    phase = np.cos(wave * np.float32(2 * np.pi / row_m))
    light -= crop.row_contrast * (0.5 + 0.5 * phase) * (1 + 0.5 * np.clip(spots, -1, 1))
    if crop.tramline_m:
        spacing = crop.tramline_m * rng.uniform(0.9, 1.2)
        offset = np.abs((wave + rng.uniform(0, 20)) % spacing - spacing / 2)
        track = np.clip(1.6 - np.abs(offset - 1.1) / np.float32(max(0.45, 0.5 * gsd_m)), 0, 1)
        light -= 0.17 * track
    colour = np.array(tint(rng, crop.colour, 7), np.float32)
    # Wet spots are greener and darker.
    shade = colour * (1 + np.array([-0.03, 0.0, -0.02], np.float32) * spots[..., None])
    target = ground[rows, cols]
    target += (shade * light[..., None] - target) * share[..., None]
    rim = bend.place(cell.shrunk(0.6).outline())
    canvas.line(np.concatenate([rim, rim[:1]]), 1.8, tint(rng, _VERGE, 8))
    if kind == 1:
        n = int(inner.size[0] * inner.size[1] / 900)
        for spot in rng.uniform((inner.x0 + 5, inner.y0 + 5), (inner.x1 - 5, inner.y1 - 5), (n, 2)):
            if rng.uniform() < 0.6:
                canvas.disc(bend.place(spot[None])[0], 0.95, (206, 188, 140), 1.4)
    if kind == 8 and rng.uniform() < 0.75:
        _orchard(canvas, rng, bend, inner)
    return kind in _RIPE


def _orchard(canvas: Canvas, rng: np.random.Generator, bend: Bend, cell: Cell) -> None:
    step = rng.uniform(6.5, 9.0)
    xs, ys = np.arange(cell.x0 + 4, cell.x1 - 3, step), np.arange(cell.y0 + 4, cell.y1 - 3, step)
    if not len(xs) or not len(ys):
        return
    points = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    points = points[rng.uniform(size=len(points)) < 0.94]
    points = points + rng.normal(0, 0.25, points.shape)
    plant(canvas, rng, bend.place(points), 2.1)


def _track(canvas: Canvas, rng: np.random.Generator, bend: Bend, cell: Cell) -> None:
    """Farm tracks on the wide gaps, grass strips on the narrow ones."""
    for line, half in cell.sides()[2:]:
        world = bend.place(line)
        canvas.line(world, 2 * half + 2, tint(rng, _VERGE, 6))
        if half > 5:
            canvas.line(world, 6.0, tint(rng, (128, 126, 122), 5))
            canvas.line(world, 0.3, (196, 194, 186))
        elif half > 2:
            canvas.line(world, 3.4, tint(rng, (184, 168, 138), 8))
            canvas.line(world, 0.9, tint(rng, (140, 138, 96), 6))


def _hedges(canvas: Canvas, rng: np.random.Generator, bend: Bend, cell: Cell) -> None:
    for line, half in cell.sides(3.0):
        if rng.uniform() > 0.34 or len(line) < 6:
            continue
        inward = cell.centre - line.mean(axis=0)
        inward = np.where(np.abs(inward) == np.abs(inward).max(), np.sign(inward), 0)
        keep = rng.uniform(size=len(line)) < rng.uniform(0.3, 0.97)
        spots = (line + inward * (half + 0.4))[keep]
        spots = spots + rng.normal(0, 0.5, spots.shape)
        plant(canvas, rng, bend.place(spots), float(rng.choice([1.5, 2.3, 3.2])))


def _farmstead(canvas: Canvas, sun: Sun, rng: np.random.Generator, bend: Bend, cell: Cell) -> None:
    """Barns around a yard in a corner of the field."""
    inner = cell.shrunk(4.0)
    middle = np.array([inner.x0 + 32, inner.y0 + 28])
    angle = bend.direction(middle)
    canvas.area(
        bend.place(
            Cell(
                x0=inner.x0, y0=inner.y0, x1=inner.x0 + 64, y1=inner.y0 + 56, gaps=(0,) * 4
            ).outline()
        ),
        tint(rng, (164, 152, 130), 6),
    )
    for offset, turn, size in (
        ((-14, -14), 0.0, (32, 13)),
        ((18, 2), np.pi / 2, (36, 15)),
        ((-16, 14), 0.0, (17, 10)),
    ):
        spot = bend.place((middle + offset)[None])[0]
        colour = tint(
            rng, ((142, 128, 116), (126, 84, 70), (166, 168, 168))[int(rng.integers(3))], 8
        )
        pitched_roof(canvas, sun, spot, angle + turn, *size, colour, 5.0, pitch=0.5)
    for _ in range(3):
        spot = bend.place((middle + rng.uniform(-6, 6, 2))[None])[0]
        canvas.area(
            rectangle(spot, angle + rng.normal(0, 0.4), 6, 2.4), tint(rng, (120, 60, 46), 25), 2.4
        )
    edge = middle + np.array([-34.0, -30.0]) + rng.uniform(0, 1, (14, 2)) * np.array([6.0, 58.0])
    plant(canvas, rng, bend.place(edge), 3.6)
