"""Mountains: land that rises and is carved by its own rivers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.scenes.layout import MOUNTAIN, Layout
from geo.scenes.noise import Field, fractal, resize, smoothstep, stream

_STEPS = 40


def carve_mountains(layout: Layout, seed: int) -> Field:
    """Heights of the land on the layout's grid: mountains with valleys, nothing elsewhere.

    Land rises step by step and rivers cut it down, the more the more land they drain: the stream
    power law, solved implicitly along the flow (Braun and Willett 2013, doi:10.1016/
    j.geomorph.2012.10.008). Both the drained area and the implicit solution are recurrences along
    the flow, so pointer doubling does them without a loop over cells.

    Returns
    -------
    array of float32, [gh, gw]
        Metres.
    """
    inside = layout.inside_m(MOUNTAIN)
    if inside.max() <= 0:
        return np.zeros(inside.shape, np.float32)
    rng = stream(seed, "mountains")
    shape = inside.shape
    cells = max(shape)
    # Softer and harder rock, and a rise towards the middle of the range.
    rough = fractal(rng, shape, 0.2 * cells, octaves=6, gain=0.6)
    rise = smoothstep(-0.02 * layout.size_m, 0.12 * layout.size_m, inside)
    uplift = (rise * np.exp(0.45 * rough)).ravel().astype(np.float64)
    fixed = (inside < -0.03 * layout.size_m).ravel()
    height = 0.3 * rise.ravel() + 0.02 * np.abs(rng.standard_normal(uplift.size))
    height[fixed] = 0
    for _ in range(_STEPS):
        height[~fixed] += uplift[~fixed]
        receiver, distance = _downhill(height.reshape(shape))
        area = _drained(receiver)
        factor = 0.09 * np.sqrt(area) / distance
        height = _settled(height, factor, receiver)
    land = ndimage.gaussian_filter(height.reshape(shape), 0.7)
    return np.asarray(land * (0.13 * layout.size_m / np.quantile(land, 0.999)), np.float32)


def _downhill(
    height: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Lowest neighbour of each cell (itself in a pit) and the distance to it in cells, flat."""
    h, w = height.shape
    index = np.arange(h * w).reshape(h, w)
    best = np.zeros((h, w))
    receiver, distance = index.copy(), np.ones((h, w))
    padded = np.pad(height, 1, constant_values=np.inf)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == 0 and dx == 0:
                continue
            run = float(np.hypot(dy, dx))
            drop = (height - padded[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]) / run
            steeper = drop > best
            best[steeper] = drop[steeper]
            receiver[steeper] = index[steeper] + dy * w + dx
            distance[steeper] = run
    return receiver.ravel(), distance.ravel()


def _drained(receiver: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Number of cells whose water passes each cell."""
    count = receiver.size
    nowhere = count  # pits hand nothing on
    jump = np.where(receiver == np.arange(count), nowhere, receiver)
    jump = np.append(jump, nowhere)
    area = np.append(np.ones(count), 0.0)
    while (jump[:-1] != nowhere).any():
        area[:-1] += np.bincount(jump, area, count + 1)[:-1]
        jump = jump[jump]
    return area[:-1]


def _settled(
    height: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
    receiver: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Solve ``new = (height + factor * new[receiver]) / (1 + factor)``; pits stay."""
    pit = receiver == np.arange(receiver.size)
    share = np.where(pit, 0.0, factor / (1 + factor))
    own = np.where(pit, height, height / (1 + factor))
    jump = receiver
    while share.any():
        own = own + share * own[jump]
        share = share * share[jump]
        share[share < 1e-9] = 0
        jump = jump[jump]
    return own


def slopes(height: Field, shape: tuple[int, int], seed: int, gsd_m: float) -> Field:
    """Slopes of the land at full resolution, with the roughness that the coarse grid lacks.

    Parameters
    ----------
    height : array, [gh, gw]
        From `carve_mountains`, over the same ground as `shape`.
    shape : (H, W)
    seed : int
    gsd_m : float
        Metres of a pixel at full resolution.

    Returns
    -------
    array of float32, [H, W, 2]
        Rise per metre along x and y.
    """
    rng = stream(seed, "crags")
    land = resize(height, shape)
    steep = np.clip(land * np.float32(0.03), 0, 1)
    crags = np.zeros(shape, np.float32)
    for wavelength_m, strength in ((70.0, 8.0), (30.0, 3.6), (13.0, 1.5), (6.0, 0.55)):
        wave = fractal(rng, shape, max(wavelength_m / gsd_m, 2.0), octaves=1)
        crags += strength * (0.8 - np.abs(wave))  # sharp crests
    land = land + crags * steep
    dy, dx = np.gradient(land, gsd_m)
    return np.asarray(np.stack([dx, dy], axis=-1), np.float32)
