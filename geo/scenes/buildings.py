"""Things that people put on the ground: roofs, cars, boats."""

from __future__ import annotations

import numpy as np

from geo.scenes.canvas import Canvas, Colour, Sun, rectangle
from geo.scenes.layout import Points

TILES: tuple[Colour, ...] = (
    (150, 88, 66),
    (164, 104, 78),
    (134, 78, 62),
    (120, 92, 80),
    (98, 94, 92),
    (88, 86, 88),
    (142, 128, 112),
)
FLAT_ROOFS: tuple[Colour, ...] = (
    (176, 172, 164),
    (150, 148, 144),
    (122, 120, 118),
    (202, 198, 190),
    (168, 154, 136),
    (96, 96, 98),
    (140, 120, 106),
)
CARS: tuple[Colour, ...] = (
    (225, 226, 226),
    (196, 198, 200),
    (130, 134, 138),
    (52, 54, 58),
    (70, 74, 82),
    (150, 44, 40),
    (48, 74, 120),
    (168, 160, 140),
)


def tint(rng: np.random.Generator, colour: Colour, spread: float = 10.0) -> Colour:
    """A colour with its own brightness and a trace of its own hue."""
    all_, *each = rng.standard_normal(4).tolist()
    r, g, b = (c + spread * (all_ + e / 4) for c, e in zip(colour, each, strict=True))
    return (r, g, b)


def lit(colour: Colour, light: float) -> Colour:
    """A colour under more or less light."""
    r, g, b = (c * light for c in colour)
    return (r, g, b)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of several colours."""
    return colours[int(rng.integers(len(colours)))]


def pitched_roof(
    canvas: Canvas,
    sun: Sun,
    centre: Points,
    angle: float,
    length: float,
    width: float,
    colour: Colour,
    eaves_m: float,
    *,
    hip: float = 0.0,
    pitch: float = 0.75,
) -> None:
    """A roof with its ridge along `angle`; `hip`: share of the length that slopes at each end."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    a, b, c, d = rectangle(centre, angle, length, width)
    reach = along * (length / 2) * (1 - 2 * hip)
    left, right = centre - reach, centre + reach
    eaves = eaves_m + 0.15 * width * pitch
    top = eaves_m + 0.5 * width * pitch
    canvas.area([a, b, right, left], lit(colour, sun.facet(*(across * pitch).tolist())), eaves)
    canvas.area([d, c, right, left], lit(colour, sun.facet(*(-across * pitch).tolist())), eaves)
    if hip > 0:
        canvas.area([a, d, left], lit(colour, sun.facet(*(along * pitch).tolist())), eaves)
        canvas.area([b, c, right], lit(colour, sun.facet(*(-along * pitch).tolist())), eaves)
    canvas.line([left, right], 0.5, lit(colour, 1.12), top)


def house(canvas: Canvas, sun: Sun, rng: np.random.Generator, centre: Points, angle: float) -> None:
    """A family's house: gable or hip, sometimes with a wing, a chimney, windows in the roof."""
    length, width = rng.uniform(10, 16), rng.uniform(7.5, 10)
    colour = tint(rng, pick(rng, TILES), 9)
    hip = float(rng.choice([0.0, 0.0, 0.22, 0.3]))
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    if rng.uniform() < 0.4:
        wing = centre + along * rng.uniform(-0.25, 0.25) * length + across * width * 0.55
        pitched_roof(canvas, sun, wing, angle + np.pi / 2, width, 0.6 * width, colour, 2.8)
    pitched_roof(canvas, sun, centre, angle, length, width, colour, 3.6, hip=hip)
    chimney = centre + along * rng.uniform(-0.3, 0.3) * length + across * rng.uniform(-1, 1)
    canvas.area(rectangle(chimney, angle, 1.1, 0.9), (120, 104, 96), 8.5)
    if rng.uniform() < 0.25:
        panel = centre - across * width * 0.24 + along * rng.uniform(-0.15, 0.15) * length
        canvas.area(rectangle(panel, angle, 4.5, 2.6), (38, 44, 62), 4.4)


def flat_roof(
    canvas: Canvas,
    rng: np.random.Generator,
    centre: Points,
    angle: float,
    length: float,
    width: float,
    height_m: float,
    colour: Colour,
) -> None:
    """A flat roof with a parapet and what stands on it."""
    canvas.area(rectangle(centre, angle, length, width), lit(colour, 1.16), height_m + 0.8)
    inner = (length - 1.4, width - 1.4)
    if min(inner) < 2:
        return
    canvas.area(rectangle(centre, angle, *inner), colour, height_m)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    for _ in range(int(rng.poisson(length * width / 170))):
        spot = (
            centre
            + along * rng.uniform(-0.4, 0.4) * (length - 5)
            + across * rng.uniform(-0.4, 0.4) * (width - 4)
        )
        kind = rng.uniform()
        if kind < 0.55:
            size = rng.uniform(1.4, 3.2, 2)
            canvas.area(
                rectangle(spot, angle, *size), tint(rng, (190, 190, 188), 18), height_m + 1.8
            )
        elif kind < 0.75:
            canvas.area(rectangle(spot, angle, 4.5, 3.5), lit(colour, 0.92), height_m + 3.2)
        elif kind < 0.9:
            canvas.area(rectangle(spot, angle, 5.0, 1.6), (58, 70, 88), height_m)
        else:
            canvas.disc(spot, 1.5, (168, 166, 160), height_m + 2.5)


def car(canvas: Canvas, rng: np.random.Generator, centre: Points, angle: float) -> None:
    """A car, with its windscreen."""
    colour = pick(rng, CARS)
    canvas.area(rectangle(centre, angle, rng.uniform(4.0, 4.8), 1.85), colour, 1.3)
    ahead = np.array([np.cos(angle), np.sin(angle)]) * float(rng.choice([-0.7, 0.7]))
    canvas.area(rectangle(centre + ahead, angle, 0.9, 1.6), lit(colour, 0.45), 1.3)


def boat(
    canvas: Canvas, rng: np.random.Generator, centre: Points, angle: float, length: float
) -> None:
    """A yacht or a motor boat: pointed bow, pale deck."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    beam = 0.3 * length if length < 20 else 0.2 * length
    hull = [
        centre + along * length * 0.5,
        centre + along * length * 0.2 + across * beam / 2,
        centre - along * length * 0.5 + across * beam * 0.42,
        centre - along * length * 0.5 - across * beam * 0.42,
        centre + along * length * 0.2 - across * beam / 2,
    ]
    canvas.area(hull, tint(rng, (226, 226, 222), 10), 1.2)
    deck = centre - along * 0.1 * length
    canvas.area(
        rectangle(deck, angle, 0.4 * length, 0.5 * beam), tint(rng, (128, 112, 92), 25), 1.8
    )
    if rng.uniform() < 0.3:
        canvas.area(rectangle(deck, angle, 0.3 * length, 0.6 * beam), (52, 84, 130), 2.2)
