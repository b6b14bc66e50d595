"""Ground that nobody built: meadows, mountains and woods (the sea has its own file)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.scenes.canvas import Canvas, Sun
from geo.scenes.layout import CITY, COASTLINE, MOUNTAIN, PORT, SUBURB, Layout, Points
from geo.scenes.noise import Field, blend, fractal, resize, smoothstep, stream
from geo.scenes.sea import paint_sea
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


def make_nature(
    layout: Layout, seed: int, shape: tuple[int, int], gsd_m: float, sun: Sun
) -> Nature:
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
    paint_sea(colour, layout, wide, fine, seed, gsd_m)
    return Nature(colour=colour, height_m=height, woods=woods)


def _meadow(wide: Field, fine: Field, woods: Field) -> Field:
    colour = np.empty((*wide.shape, 3), np.float32)
    colour[:] = (112, 118, 76)
    blend(colour, (150, 142, 100), smoothstep(0.2, 1.6, wide + 0.5 * fine))
    blend(colour, (82, 102, 58), smoothstep(0.2, 1.5, -wide + 0.4 * fine))
    blend(colour, (66, 84, 52), 0.7 * smoothstep(-0.6, 0.3, woods))
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
    blend(rock, (116, 108, 101), 0.7 * smoothstep(-0.4, 1.6, strata + 1.3 * fine))
    blend(rock, (164, 152, 134), smoothstep(0.6, 1.8, wide - 0.4 * fine))
    blend(colour, (128, 124, 86), 0.8 * here * smoothstep(0.25, 0.6, altitude + 0.05 * wide))
    bare = smoothstep(0.62, 0.95, steep + 0.12 * fine) * smoothstep(0.08, 0.2, altitude)
    scree = smoothstep(0.55, 0.95, altitude + 0.10 * wide + 0.05 * fine)
    blend(colour, rock, here * np.maximum(bare, scree))
    # Shade is softened, as a camera's tone curve does, so that dark slopes keep their relief.
    light = sun.shade(rise) ** np.float32(0.65)
    colour *= (1 + here * (light - 1))[..., None]


def plant_woods(canvas: Canvas, nature: Nature, layout: Layout, seed: int) -> None:
    """Woods of crowns that touch, thinner at their rims."""
    rng = stream(seed, "trees of the woods")
    spacing = 5.2
    height, width = layout.extent_m
    xs, ys = np.arange(0, width, spacing), np.arange(0, height, spacing)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    points += rng.uniform(-0.48, 0.48, points.shape) * spacing
    wood = np.asarray(layout.sample(nature.woods, points), np.float64)
    points = points[
        rng.uniform(size=len(points)) < np.clip(0.15 + 2.2 * wood, 0, 0.93) * (wood > -0.06)
    ]
    altitude = np.asarray(layout.sample(nature.height_m, points), np.float64)
    conifers = rng.uniform(size=len(points)) < np.clip(
        altitude / max(0.4 * float(nature.height_m.max()), 1), 0.1, 0.9
    )
    radius = np.where(
        conifers, rng.uniform(1.6, 2.9, len(points)), rng.uniform(2.4, 4.6, len(points))
    )
    tall = np.where(conifers, 4.4, 2.7) * radius * rng.uniform(0.8, 1.15, len(points))
    tone = np.where(conifers, rng.normal(14, 6, len(points)), rng.normal(30, 10, len(points)))
    # Stands of other kinds and ages.
    stands = fractal(rng, layout.category.shape, 0.05 * max(layout.category.shape), octaves=4)
    tone += 8 * layout.sample(stands, points)
    canvas.trees(points, radius, tall, np.clip(tone, 0, 63))


def plant(canvas: Canvas, rng: np.random.Generator, points: Points, radius_m: float = 2.6) -> None:
    """Single trees and shrubs of gardens, streets and hedges."""
    n = len(points)
    radius = radius_m * rng.uniform(0.6, 1.35, n)
    canvas.trees(
        points, radius, radius * rng.uniform(1.6, 2.6, n), np.clip(rng.normal(30, 12, n), 0, 63)
    )
