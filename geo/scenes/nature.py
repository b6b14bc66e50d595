"""Ground that nobody built: sea, shore, meadows, mountains and woods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.scenes.canvas import Canvas, Sun
from geo.scenes.layout import CITY, COASTLINE, MOUNTAIN, PORT, SUBURB, Layout, Points
from geo.scenes.noise import Field, fractal, resize, smoothstep, stream, value_noise
from geo.scenes.terrain import carve_mountains, slopes


@dataclass(frozen=True, kw_only=True)
class Nature:
    """Natural ground.

    Parameters
    ----------
    colour : array of float32, [H, W, 3]
        0 to 255, lit by the sun.
    height_m : array of float32, [gh, gw]
        Height of the mountains on the layout's grid.
    woods : array of float32, [gh, gw]
        Where trees stand: above 0.
    """

    colour: Field
    height_m: Field
    woods: Field


def make_nature(layout: Layout, seed: int, shape: tuple[int, int], gsd_m: float, sun: Sun) -> Nature:
    """Paint the ground as it was before people came.

    Parameters
    ----------
    layout : Layout
    seed : int
    shape : (H, W)
        Pixels over the whole extent of the layout.
    gsd_m : float
    sun : Sun
    """
    rng = stream(seed, "nature")
    height = carve_mountains(layout, seed)
    wide = fractal(rng, shape, 260 / gsd_m, octaves=5)
    fine = fractal(rng, shape, 14 / gsd_m, octaves=4, gain=0.7, finest_px=2.5)
    woods = _where_woods(layout, height, seed)
    colour = _meadow(wide, fine, resize(woods, shape))
    _mountains(colour, layout, height, wide, fine, seed, gsd_m, sun)
    _shore_and_sea(colour, layout, wide, fine, seed, gsd_m)
    return Nature(colour=colour, height_m=height, woods=woods)


def _blend(base: Field, over: npt.ArrayLike, share: Field) -> None:
    """Mix `over` into `base` in place, band by band."""
    over = np.asarray(over, np.float32)
    for band in range(3):
        plane = base[..., band]
        plane += (over[..., band] - plane) * share


def _meadow(wide: Field, fine: Field, woods: Field) -> Field:
    colour = np.empty((*wide.shape, 3), np.float32)
    colour[:] = (112, 118, 76)
    _blend(colour, (150, 142, 100), smoothstep(0.2, 1.6, wide + 0.5 * fine))
    _blend(colour, (82, 102, 58), smoothstep(0.2, 1.5, -wide + 0.4 * fine))
    _blend(colour, (66, 84, 52), 0.7 * smoothstep(-0.6, 0.3, woods))
    colour *= (1 + 0.045 * fine)[..., None]
    return colour


def _where_woods(layout: Layout, height: Field, seed: int) -> Field:
    """Woods in patches; more of them low in the mountains, none where people or waves are."""
    rng = stream(seed, "woods")
    shape = layout.category.shape
    patchy = fractal(rng, shape, 0.09 * max(shape), octaves=5, gain=0.55)
    top = max(float(height.max()), 1.0)
    low = 1 - smoothstep(0.32, 0.62, height / np.float32(top) + 0.06 * patchy)
    inside = layout.inside_m(MOUNTAIN)
    mountain = smoothstep(-0.01 * layout.size_m, 0.02 * layout.size_m, inside)
    woods = patchy - 1.05 + mountain * (2.0 * low - 0.9)
    woods -= 9 * smoothstep(-60, 0, layout.inside_m(CITY))
    woods -= 9 * smoothstep(-30, -10, layout.inside_m(SUBURB))
    woods -= 9 * smoothstep(-30, 0, layout.inside_m(PORT))
    woods -= 9 * smoothstep(-45, -15, layout.sea_m)
    woods -= 0.5 * smoothstep(-20, 0, layout.inside_m(COASTLINE))
    return np.asarray(woods, np.float32)


def _mountains(
    colour: Field,
    layout: Layout,
    height: Field,
    wide: Field,
    fine: Field,
    seed: int,
    gsd_m: float,
    sun: Sun,
) -> None:
    top = float(height.max())
    if top <= 0:
        return
    shape = wide.shape
    rise = slopes(height, shape, seed, gsd_m)
    altitude = resize(height, shape) / np.float32(top)
    steep = np.hypot(rise[..., 0], rise[..., 1])
    here = smoothstep(0.004, 0.05, altitude)
    strata = np.sin((altitude * top + 5 * wide) * np.float32(2 * np.pi / 21))
    rock = np.empty_like(colour)
    rock[:] = (138, 128, 116)
    _blend(rock, (116, 108, 101), 0.7 * smoothstep(-0.4, 1.6, strata + 1.3 * fine))
    _blend(rock, (164, 152, 134), smoothstep(0.6, 1.8, wide - 0.4 * fine))
    _blend(colour, (128, 124, 86), 0.8 * here * smoothstep(0.25, 0.6, altitude + 0.05 * wide))
    bare = smoothstep(0.62, 0.95, steep + 0.12 * fine) * smoothstep(0.08, 0.2, altitude)
    scree = smoothstep(0.55, 0.95, altitude + 0.10 * wide + 0.05 * fine)
    _blend(colour, rock, here * np.maximum(bare, scree))
    light = sun.shade(rise)
    colour *= (1 + here * (np.clip(light, 0.5, 1.4) - 1))[..., None]


def _shore_and_sea(
    colour: Field, layout: Layout, wide: Field, fine: Field, seed: int, gsd_m: float
) -> None:
    rng = stream(seed, "sea")
    shape = wide.shape
    size = np.float32(layout.size_m)
    ragged = fractal(rng, shape, 30 / gsd_m, octaves=4)
    sea = resize(layout.sea_m, shape) + 2.5 * ragged
    port = resize(layout.inside_m(PORT), shape)
    rocky = smoothstep(0.1, 0.7, fractal(rng, shape, float(0.2 * size) / gsd_m, octaves=4) - 0.35)
    inland = -sea

    # Dunes, sand and wet sand; rocks where the shore is rocky.
    dunes = smoothstep(-0.058, -0.02, sea / size + 0.012 * wide)
    hummocks = smoothstep(-0.3, 0.9, ragged + 0.6 * fine - inland / np.float32(0.02 * size))
    _blend(colour, (176, 164, 128), dunes * hummocks)
    sand = 1 - smoothstep(0.0, 8.0, inland - np.float32(0.011 * size) * (1 + 0.45 * wide))
    beach = np.empty_like(colour)
    beach[:] = (208, 193, 160)
    beach *= (1 + 0.025 * fine)[..., None]
    _blend(beach, (150, 133, 108), 1 - smoothstep(2.0, 9.0, inland + 1.5 * ragged))
    _blend(colour, beach, sand * (1 - rocky))
    crest = 0.8 - np.abs(ragged)
    light = 1 + 0.28 * (np.roll(crest, -1, (0, 1)) - np.roll(crest, 1, (0, 1))) * np.float32(gsd_m * 4)
    cliff = np.empty_like(colour)
    cliff[:] = (118, 110, 99)
    cliff *= np.clip(light + 0.06 * fine, 0.45, 1.6)[..., None]
    _blend(colour, cliff, rocky * (1 - smoothstep(6.0, 14.0, inland - 5 * wide)))

    # Water over sand, reefs and weed in the shallows, then the deep.
    water = np.empty_like(colour)
    dredged = smoothstep(30, -60, port)
    shallow = dredged * np.exp(-np.clip(sea, 0, None) / np.float32(0.016 * size) * (1 + 0.15 * wide))
    water[:] = (27, 62, 80)
    _blend(water, (48, 104, 112), np.exp(-np.clip(sea, 0, None) / np.float32(0.075 * size)))
    _blend(water, (142, 172, 152), 0.85 * shallow)
    _blend(water, (44, 74, 76), 0.6 * (1 - dredged))
    weed = smoothstep(0.35, 1.0, wide * 0.6 + ragged * 0.7) * np.exp(-(((sea - 0.035 * size) / (0.03 * size)) ** 2))
    _blend(water, (30, 72, 74), 0.5 * weed)
    water += (_swell(rng, sea, shape, gsd_m) * (0.8 + 2.2 * shallow))[..., None]
    foam = _foam(rng, sea, ragged, rocky, port, shape, gsd_m)
    _blend(water, (232, 236, 234), foam)
    _blend(colour, water, smoothstep(-0.8, 1.2, sea))


def _swell(rng: np.random.Generator, sea: Field, shape: tuple[int, int], gsd_m: float) -> Field:
    """Brightness of waves: trains of swell that bend and fade, ripples, and streaks of wind."""
    h, w = shape
    y = (np.arange(h, dtype=np.float32) * np.float32(gsd_m))[:, None]
    x = (np.arange(w, dtype=np.float32) * np.float32(gsd_m))[None, :]
    total = np.zeros(shape, np.float32)
    wind = rng.uniform(0, 2 * np.pi)
    for length_m, strength in ((46.0, 2.0), (24.0, 1.7), (13.0, 1.6)):
        angle = wind + rng.uniform(-0.35, 0.35)
        bend = fractal(rng, shape, 220 / gsd_m, octaves=3)
        train = value_noise(rng, shape, 150 / gsd_m)
        phase = (x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / length_m)
        wave = np.sin(phase + 1.6 * bend)
        total += np.float32(strength) * np.clip(0.7 + 0.9 * train, 0, 2) * (wave + 0.5 * wave**2)
    total += 1.6 * fractal(rng, shape, 9 / gsd_m, octaves=2)
    patches = fractal(rng, shape, 500 / gsd_m, octaves=4)
    total += 4.0 * patches * smoothstep(0, 200, sea)
    return total


def _foam(
    rng: np.random.Generator,
    sea: Field,
    ragged: Field,
    rocky: Field,
    port: Field,
    shape: tuple[int, int],
    gsd_m: float,
) -> Field:
    """Surf: lines that follow the shore, torn to lace."""
    lace = 1 - np.abs(fractal(rng, shape, 9 / gsd_m, octaves=2))
    drift = 7 * value_noise(rng, shape, 75 / gsd_m)
    along = value_noise(rng, shape, 110 / gsd_m)
    foam = np.zeros(shape, np.float32)
    for distance, width in ((3.0, 2.6), (19.0, 3.6), (40.0, 3.0)):
        ahead = sea + drift * np.float32(distance / 30 + 0.15) - np.float32(distance)
        # A breaker is sharp towards the shore and leaves a fading trail behind.
        line = np.exp(-np.abs(ahead) / np.where(ahead < 0, np.float32(0.45 * width), np.float32(2.4 * width)))
        foam += line * smoothstep(-0.5, 0.5, along + np.float32(0.35 - distance / 50))
    foam += rocky * np.exp(-np.abs(sea - 3) / 5) * smoothstep(-0.2, 0.8, ragged)
    foam *= smoothstep(0.1, 0.75, lace + 0.55 * np.clip(foam, 0, 1))
    return np.asarray(np.clip(foam, 0, 0.95) * smoothstep(20, -30, port), np.float32)


def plant_woods(canvas: Canvas, nature: Nature, layout: Layout, seed: int) -> None:
    """Woods of crowns that touch, thinner at their rims."""
    rng = stream(seed, "trees of the woods")
    spacing = 5.2
    height, width = layout.extent_m
    xs, ys = np.arange(0, width, spacing), np.arange(0, height, spacing)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    points += rng.uniform(-0.48, 0.48, points.shape) * spacing
    wood = np.asarray(layout.sample(nature.woods, points), np.float64)
    points = points[rng.uniform(size=len(points)) < np.clip(0.15 + 2.2 * wood, 0, 0.93) * (wood > -0.06)]
    altitude = np.asarray(layout.sample(nature.height_m, points), np.float64)
    conifers = rng.uniform(size=len(points)) < np.clip(altitude / max(0.4 * float(nature.height_m.max()), 1), 0.1, 0.9)
    radius = np.where(conifers, rng.uniform(1.6, 2.9, len(points)), rng.uniform(2.4, 4.6, len(points)))
    tall = np.where(conifers, 4.4, 2.7) * radius * rng.uniform(0.8, 1.15, len(points))
    tone = np.where(conifers, rng.normal(14, 6, len(points)), rng.normal(30, 10, len(points)))
    canvas.trees(points, radius, tall, np.clip(tone, 0, 63))


def plant(canvas: Canvas, rng: np.random.Generator, points: Points, radius_m: float = 2.6) -> None:
    """Single trees and shrubs of gardens, streets and hedges."""
    n = len(points)
    radius = radius_m * rng.uniform(0.6, 1.35, n)
    canvas.trees(points, radius, radius * rng.uniform(1.6, 2.6, n), np.clip(rng.normal(30, 12, n), 0, 63))
