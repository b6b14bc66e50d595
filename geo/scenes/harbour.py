"""The port: quays, ships, containers, cranes, warehouses, tanks, a marina, a breakwater."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.scenes.buildings import boat, car, flat_roof, lit, pick, pitched_roof, tint
from geo.scenes.canvas import Canvas, Colour, Sun, rectangle
from geo.scenes.layout import Layout, Points
from geo.scenes.noise import stream

_CONTAINERS: tuple[Colour, ...] = (
    (158, 62, 48),
    (52, 84, 132),
    (178, 116, 52),
    (78, 112, 84),
    (188, 186, 180),
    (120, 52, 56),
    (96, 128, 150),
    (140, 138, 132),
)
_SHEDS: tuple[Colour, ...] = (
    (186, 188, 188),
    (148, 154, 160),
    (168, 160, 148),
    (118, 132, 146),
    (154, 116, 98),
)
_CONCRETE: Colour = (160, 156, 147)


@dataclass(frozen=True, kw_only=True)
class _Site:
    """The port in its own coordinates: a along the quay, b to sea."""

    canvas: Canvas
    layout: Layout
    rng: np.random.Generator
    sun: Sun
    quay: float

    def at(self, a: float, b: float) -> Points:
        """World position."""
        return np.asarray(self.layout.port.place(np.array([[a, b]]))[0])

    def block(self, a0: float, a1: float, b0: float, b1: float) -> Points:
        """World outline of a rectangle."""
        return self.layout.port.place(np.array([[a0, b0], [a1, b0], [a1, b1], [a0, b1]]))

    @property
    def angle(self) -> float:
        """Direction of the quay."""
        return self.layout.port.angle


def build_port(canvas: Canvas, layout: Layout, seed: int, sun: Sun) -> None:
    """Build the port from one end to the other: containers, goods and tanks, marina."""
    rng = stream(seed, "port")
    length, depth, reach = layout.port_length_m, layout.port_depth_m, layout.port_reach_m
    site = _Site(canvas=canvas, layout=layout, rng=rng, sun=sun, quay=0.22 * reach)
    half = 0.5 * length - 4
    canvas.area(site.block(-half, half, -depth * 1.02, site.quay), _CONCRETE)
    canvas.line(
        site.layout.port.place([[-half, site.quay], [half, site.quay]]), 2.5, (188, 184, 174), 2.0
    )
    for a in np.arange(-half, half, 24.0):
        shade = tint(rng, _CONCRETE, 6)
        canvas.area(site.block(a, min(a + 23.6, half), -depth, site.quay - 3), shade)
    canvas.line(
        site.layout.port.place([[-half, -depth + 5], [half, -depth + 5]]), 8.0, (104, 104, 105)
    )
    canvas.line(
        site.layout.port.place([[-half, -depth + 5], [half, -depth + 5]]), 0.3, (206, 204, 198)
    )
    first, second = -half + 0.46 * length, -half + 0.74 * length
    _containers(site, -half + 4, first - 6, -depth + 14, site.quay - 30)
    _cranes_and_ships(site, -half + 4, first - 6, reach)
    _goods(site, first, second, -depth + 14, site.quay - 10)
    _pier(site, (first + second) / 2, reach)
    _marina(site, second + 4, half - 3, reach)
    _goods(site, second + 4, half - 3, -depth + 14, site.quay - 14)
    _breakwater(site, half, reach)


def _containers(site: _Site, a0: float, a1: float, b0: float, b1: float) -> None:
    """Stacks in blocks of six rows with lanes between; neighbours often belong to one line."""
    rng, canvas = site.rng, site.canvas
    b = b0
    while b + 16 < b1:
        a = a0
        while a + 12.2 < a1:
            if rng.uniform() < 0.06:
                a += 25
                continue
            full = rng.uniform(0.2, 1.0)
            line = pick(rng, _CONTAINERS)
            for row in range(6):
                if rng.uniform() > full + 0.15:
                    continue
                colour = line if rng.uniform() < 0.4 else pick(rng, _CONTAINERS)
                stack = int(rng.integers(1, 5))
                y = b + 1.3 + 2.6 * row
                canvas.area(
                    site.block(a, a + 12.2, y - 1.22, y + 1.22), tint(rng, colour, 9), 2.6 * stack
                )
            a += 12.9 if rng.uniform() < 0.9 else 24.0
        b += 15.6 + rng.uniform(9, 15)


def _cranes_and_ships(site: _Site, a0: float, a1: float, reach: float) -> None:
    rng, canvas, quay = site.rng, site.canvas, site.quay
    length = min(210.0, 0.85 * (a1 - a0))
    a = a0 + 0.08 * (a1 - a0) + length / 2
    while a + length / 2 < a1 + 10:
        beam = min(0.15 * length, 0.35 * reach)
        if rng.uniform() < 0.85:
            _freighter(site, site.at(a, quay + beam / 2 + 3), site.angle, length, beam)
        a += length + 22
        length *= float(rng.uniform(0.6, 0.9))
    for a in np.arange(a0 + 20, a1 - 10, rng.uniform(62, 84)):
        spot = a + rng.uniform(-12, 12)
        colour = tint(rng, ((64, 92, 134), (170, 72, 52), (196, 168, 74))[int(rng.integers(3))], 6)
        _gantry(site, spot, colour, min(44.0, 0.3 * reach))
    for rail in (5.0, 24.0):
        canvas.line(
            site.layout.port.place([[a0, quay - rail], [a1, quay - rail]]), 0.5, (112, 108, 102)
        )
    for _ in range(int((a1 - a0) / 26)):
        a = rng.uniform(a0, a1)
        canvas.area(
            rectangle(site.at(a, quay - rng.uniform(9, 20)), site.angle, 14, 2.5),
            pick(rng, _CONTAINERS),
            3.5,
        )


def _gantry(site: _Site, a: float, colour: Colour, arm: float) -> None:
    """A crane: thin beams high above, so their shadow falls apart from them."""
    canvas, quay = site.canvas, site.quay
    beams = [
        (site.layout.port.place([[a - 4, quay - 30], [a - 4, quay + arm]]), 1.6, 32.0),
        (site.layout.port.place([[a + 4, quay - 30], [a + 4, quay + arm]]), 1.6, 32.0),
        (site.layout.port.place([[a - 8, quay - 5], [a + 8, quay - 5]]), 2.2, 26.0),
        (site.layout.port.place([[a - 8, quay - 24], [a + 8, quay - 24]]), 2.2, 26.0),
        (site.layout.port.place([[a, quay - 14], [a, quay - 6]]), 6.0, 34.0),
    ]
    for line, width, height in beams:
        shadow = line - site.sun.towards * height / site.sun.slope
        canvas.line(shadow, width, (74, 76, 82))
    for line, width, _ in beams:
        canvas.line(line, width, colour)


def _freighter(site: _Site, centre: Points, angle: float, length: float, beam: float) -> None:
    """A container ship: dark hull, holds full of boxes, white bridge at the stern."""
    rng, canvas = site.rng, site.canvas
    if rng.uniform() < 0.5:
        angle += np.pi
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    ends = ((0.5, 0.0), (0.44, 0.28), (0.34, 0.5), (-0.47, 0.5), (-0.5, 0.36))
    right = [centre + along * length * u + across * beam * v for u, v in ends]
    left = [centre + along * length * u - across * beam * v for u, v in reversed(ends[1:])]
    hull = tint(rng, ((58, 62, 72), (112, 50, 44), (46, 72, 92))[int(rng.integers(3))], 6)
    canvas.area(right + left, hull, 9.0)
    inner = [centre + (p - centre) * np.array(0.955) for p in right + left]
    canvas.area(inner, tint(rng, (134, 108, 94), 8), 9.0)
    u = 0.36 * length
    while u > -0.30 * length:
        stack = int(rng.integers(0, 5))
        for v in np.arange(-beam / 2 + 2.4, beam / 2 - 2.0, 2.6):
            if stack:
                spot = centre + along * u + across * v
                height = 10 + 2.6 * max(1, stack - int(rng.integers(0, 2)))
                canvas.area(
                    rectangle(spot, angle, 12.2, 2.44), tint(rng, pick(rng, _CONTAINERS), 8), height
                )
        u -= 13.4
    bridge = centre - along * 0.385 * length
    canvas.area(rectangle(bridge, angle, 0.055 * length, 0.92 * beam), (226, 226, 222), 27.0)
    canvas.area(
        rectangle(bridge - along * 0.04 * length, angle, 0.03 * length, 0.3 * beam),
        lit(hull, 1.2),
        24.0,
    )


def _goods(site: _Site, a0: float, a1: float, b0: float, b1: float) -> None:
    """Warehouses in a row, a tank farm, yards with lorries."""
    rng, canvas = site.rng, site.canvas
    b = b0
    while b + 20 < b1:
        depth = min(rng.uniform(32, 52), b1 - b)
        a = a0
        while a + 18 < a1:
            front = min(rng.uniform(38, 85), a1 - a)
            if rng.uniform() < 0.18:
                _tanks(site, a, a + front, b, b + depth)
            elif rng.uniform() < 0.2:
                _yard(site, a, a + front, b, b + depth)
            else:
                centre = site.at(a + front / 2, b + depth / 2)
                _shed(site, centre, front - 9, depth - 9)
            a += front
        b += depth + rng.uniform(8, 14)
    for _ in range(int((a1 - a0) / 9)):
        car(
            canvas,
            rng,
            site.at(rng.uniform(a0, a1), b0 - 5 + rng.uniform(-1, 1)),
            site.angle + np.pi / 2,
        )


def _shed(site: _Site, centre: Points, front: float, depth: float) -> None:
    """A warehouse: bays with low ridges, or a flat roof with rows of skylights."""
    rng, canvas = site.rng, site.canvas
    colour = tint(rng, pick(rng, _SHEDS), 8)
    along, across = site.layout.port.along, site.layout.port.across
    if rng.uniform() < 0.6:
        bays = max(1, round(depth / 17))
        width = depth / bays
        for i in range(bays):
            spot = centre + across * (-depth / 2 + (i + 0.5) * width)
            shade = tint(rng, colour, 3)
            pitched_roof(canvas, site.sun, spot, site.angle, front, width, shade, 9.0, pitch=0.28)
            for a in np.arange(-front / 2 + 6, front / 2 - 3, 9.0):
                middle = spot + along * a
                for side in (-0.25, 0.25):
                    light = middle + across * side * width
                    canvas.area(
                        rectangle(light, site.angle, 1.6, 0.3 * width), lit(shade, 1.18), 10.0
                    )
    else:
        flat_roof(canvas, rng, centre, site.angle, front, depth, 10.0, colour)
        for a in np.arange(-front / 2 + 5, front / 2 - 3, 8.0):
            canvas.area(
                rectangle(centre + along * a, site.angle + np.pi / 2, 0.8 * depth, 1.4),
                lit(colour, 0.84),
                10.0,
            )


def _tanks(site: _Site, a0: float, a1: float, b0: float, b1: float) -> None:
    rng, canvas = site.rng, site.canvas
    canvas.area(site.block(a0 + 1, a1 - 1, b0 + 1, b1 - 1), tint(rng, (136, 130, 116), 5))
    radius = min(rng.uniform(7, 13), (b1 - b0) / 2 - 3)
    if radius < 3:
        return
    for a in np.arange(a0 + radius + 3, a1 - radius - 1, 2 * radius + 5):
        spot = site.at(a, (b0 + b1) / 2)
        colour = tint(rng, (206, 205, 198), 8)
        canvas.disc(spot, radius, lit(colour, 0.88), 12.0)
        canvas.disc(spot, radius - 1.0, colour, 12.0)
        canvas.line([spot, spot + site.layout.port.along * radius], 0.8, lit(colour, 0.7), 12.0)
        canvas.disc(spot, 1.0, lit(colour, 0.7), 12.5)


def _yard(site: _Site, a0: float, a1: float, b0: float, b1: float) -> None:
    """Lorries and trailers side by side."""
    rng = site.rng
    site.canvas.area(site.block(a0 + 2, a1 - 2, b0 + 2, b1 - 2), tint(rng, (118, 116, 114), 6))
    for b in np.arange(b0 + 11, b1 - 8, 20.0):
        for a in np.arange(a0 + 5, a1 - 4, 3.9):
            if rng.uniform() < 0.62:
                spot = site.at(a, b)
                colour = (220, 220, 216) if rng.uniform() < 0.5 else pick(rng, _CONTAINERS)
                site.canvas.area(
                    rectangle(spot, site.angle + np.pi / 2, 13.6, 2.6), tint(rng, colour, 8), 3.8
                )


def _pier(site: _Site, a: float, reach: float) -> None:
    """A finger of quay with a shed on it and ships on both sides."""
    rng, canvas = site.rng, site.canvas
    end, half = 0.74 * reach, min(17.0, 0.07 * reach + 4)
    canvas.area(site.block(a - half, a + half, site.quay - 4, end), tint(rng, _CONCRETE, 4), 2.0)
    middle = site.at(a, (site.quay + end) / 2)
    length = end - site.quay
    if length > 60:
        colour = tint(rng, pick(rng, _SHEDS), 8)
        turn = site.angle + np.pi / 2
        pitched_roof(canvas, site.sun, middle, turn, 0.7 * length, half, colour, 8.0, pitch=0.3)
    size = 0.8 * length
    for side in (-1, 1):
        if rng.uniform() < 0.8:
            beam = 0.16 * size
            spot = site.at(a + side * (half + beam / 2 + 2), (site.quay + end) / 2)
            _freighter(site, spot, site.angle + np.pi / 2, size * rng.uniform(0.8, 1), beam)


def _marina(site: _Site, a0: float, a1: float, reach: float) -> None:
    """Pontoons with boats side by side."""
    rng, canvas = site.rng, site.canvas
    for a in np.arange(a0 + 14, a1 - 8, 34.0):
        end = min(0.62 * reach, float(_wall(a + 16, a1 + 3, reach)) - 24)
        if end < site.quay + 15:
            continue
        canvas.line(
            site.layout.port.place([[a, site.quay - 2], [a, end]]), 2.6, (176, 166, 148), 0.8
        )
        size = rng.uniform(8, 13)
        for b in np.arange(site.quay + 5, end - 2, 0.42 * size + 1.2):
            for side in (-1, 1):
                if rng.uniform() < 0.8:
                    spot = site.at(a + side * (size / 2 + 1.8), b)
                    turn = site.angle + (0 if side > 0 else np.pi)
                    boat(canvas, rng, spot, turn, size * rng.uniform(0.75, 1.05))


def _wall(a: npt.ArrayLike, half: float, reach: float) -> npt.NDArray[np.float64]:
    """Course of the breakwater: it leaves the shore at the port's end and turns along the quay."""
    bend = np.clip((np.asarray(a, np.float64) - 0.7 * half) / (0.32 * half), 0, 1)
    return np.asarray(0.93 * reach * (1 - bend**2))


def _breakwater(site: _Site, half: float, reach: float) -> None:
    """A wall of rubble that shelters the port and leaves a way in."""
    rng, canvas = site.rng, site.canvas
    a = np.linspace(half * 1.02, -0.35 * half, 60)
    b = _wall(a, half, reach)
    line = site.layout.port.place(np.stack([a, b], -1))
    width = min(15.0, 0.07 * reach)
    canvas.line(line, width, (112, 108, 102), 1.5)
    step = np.hypot(*np.diff(line, axis=0).T).sum() / 60
    for spot in np.repeat(line, max(1, int(step * width / 4.0)), axis=0):
        jitter = rng.uniform(-1, 1, 2) * (step, step) / 1.4 + rng.normal(0, width / 4.5, 2)
        size = rng.uniform(0.8, 2.0)
        turn = rng.uniform(0, np.pi)
        canvas.area(
            rectangle(spot + jitter, turn, 2 * size, 1.5 * size),
            tint(rng, (134, 128, 118), 20),
            rng.uniform(1, 3.5),
        )
    canvas.line(line, min(4.0, 0.3 * width), (170, 164, 152), 3.8)
    canvas.disc(line[-1], 3.0, (214, 210, 202), 11.0)
