"""Sea and shore: depths, swell, surf, beaches, rocks and dunes."""

from __future__ import annotations

import numpy as np

from geo.scenes.layout import PORT, Layout
from geo.scenes.noise import Field, blend, fractal, resize, smoothstep, stream, value_noise


def paint_sea(
    colour: Field, layout: Layout, wide: Field, fine: Field, seed: int, gsd_m: float
) -> None:
    """Paint water, surf, beaches, rocks and dunes over `colour`, [H, W, 3], in place.

    `wide` and `fine` are noise at full resolution, [H, W].
    """
    rng = stream(seed, "sea")
    size = np.float32(layout.size_m)
    sea = resize(layout.sea_m, wide.shape)
    near = np.argwhere(layout.sea_m > -0.11 * layout.size_m) * (layout.cell_m / gsd_m)
    if not len(near):
        return
    (top, left), (bottom, right) = near.min(axis=0).astype(int), near.max(axis=0).astype(int) + 12
    here = (slice(top, bottom), slice(left, right))
    full = wide.shape
    colour, wide, fine = colour[here], wide[here], fine[here]
    shape = wide.shape
    ragged = fractal(rng, shape, 30 / gsd_m, octaves=4)
    sea = sea[here] + 2.5 * ragged + 5 * fractal(rng, shape, 110 / gsd_m, octaves=3)
    port = resize(layout.inside_m(PORT), full)[here]
    rocky = smoothstep(0.1, 0.7, fractal(rng, shape, float(0.2 * size) / gsd_m, octaves=4) - 0.35)
    inland = -sea

    # Dunes, sand and wet sand; rocks where the shore is rocky.
    dunes = smoothstep(-0.058, -0.02, sea / size + 0.012 * wide)
    hummocks = smoothstep(-0.3, 0.9, ragged + 0.6 * fine - inland / np.float32(0.02 * size))
    blend(colour, (176, 164, 128), dunes * hummocks)
    sand = 1 - smoothstep(0.0, 8.0, inland - np.float32(0.011 * size) * (1 + 0.45 * wide))
    beach = np.empty_like(colour)
    beach[:] = (208, 193, 160)
    beach *= (1 + 0.025 * fine)[..., None]
    blend(beach, (150, 133, 108), 1 - smoothstep(2.0, 9.0, inland + 1.5 * ragged))
    blend(colour, beach, sand * (1 - rocky))
    crest = 0.8 - np.abs(ragged)
    light = 1 + 0.28 * (np.roll(crest, -1, (0, 1)) - np.roll(crest, 1, (0, 1))) * np.float32(
        gsd_m * 4
    )
    cliff = np.empty_like(colour)
    cliff[:] = (118, 110, 99)
    cliff *= np.clip(light + 0.06 * fine, 0.45, 1.6)[..., None]
    blend(colour, cliff, rocky * (1 - smoothstep(6.0, 14.0, inland - 5 * wide)))

    # Water over sand, reefs and weed in the shallows, then the deep.
    water = np.empty_like(colour)
    dredged = smoothstep(30, -60, port)
    shallow = dredged * np.exp(
        -np.clip(sea, 0, None) / np.float32(0.016 * size) * (1 + 0.15 * wide)
    )
    water[:] = (27, 62, 80)
    blend(water, (48, 104, 112), np.exp(-np.clip(sea, 0, None) / np.float32(0.075 * size)))
    blend(water, (142, 172, 152), 0.85 * shallow)
    blend(water, (44, 74, 76), 0.6 * (1 - dredged))
    weed = smoothstep(0.35, 1.0, wide * 0.6 + ragged * 0.7) * np.exp(
        -(((sea - 0.035 * size) / (0.03 * size)) ** 2)
    )
    blend(water, (30, 72, 74), 0.5 * weed)
    water += (_swell(rng, sea, shape, gsd_m) * (0.8 + 2.2 * shallow))[..., None]
    foam = _foam(rng, sea, ragged, rocky, port, shape, gsd_m)
    blend(water, (232, 236, 234), foam)
    blend(colour, water, smoothstep(-0.8, 1.2, sea))


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
        line = np.exp(
            -np.abs(ahead) / np.where(ahead < 0, np.float32(0.45 * width), np.float32(2.4 * width))
        )
        foam += line * smoothstep(-0.5, 0.5, along + np.float32(0.35 - distance / 50))
    foam += rocky * np.exp(-np.abs(sea - 3) / 5) * smoothstep(-0.2, 0.8, ragged)
    foam *= smoothstep(0.1, 0.75, lace + 0.55 * np.clip(foam, 0, 1))
    return np.asarray(np.clip(foam, 0, 0.95) * smoothstep(20, -30, port), np.float32)
