"""Randomness for made ground: named streams, and noise with structure at all scales."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Independent random numbers for one purpose.

    Each purpose has its own stream, so that one more tree in the suburb moves no boat in the port.
    """
    keys = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng([seed, *keys])


def value_noise(rng: np.random.Generator, shape: tuple[int, int], wavelength_px: float) -> Field:
    """Smooth noise: random values on a lattice, interpolated by cubics.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (h, w)
    wavelength_px : float
        Spacing of the lattice in pixels, at least 1.

    Returns
    -------
    array of float32, [h, w]
        Mean about 0, standard deviation about 0.6.
    """
    h, w = shape
    rows, cols = int(h / wavelength_px) + 5, int(w / wavelength_px) + 5
    lattice = rng.standard_normal((rows, cols), dtype=np.float32)
    oy, ox = rng.uniform(1, 2, size=2)
    box = (ox, oy, ox + w / wavelength_px, oy + h / wavelength_px)
    image = Image.fromarray(lattice)
    return np.asarray(image.resize((w, h), Image.Resampling.BICUBIC, box=box), np.float32)


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    wavelength_px: float,
    *,
    octaves: int = 5,
    gain: float = 0.55,
    finest_px: float = 2.0,
) -> Field:
    """Fractal noise: octaves of `value_noise`, each half as long and `gain` times as strong.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (h, w)
    wavelength_px : float
        Longest wavelength in pixels.
    octaves : int
    gain : float
    finest_px : float
        Octaves shorter than this are left out: they would be white noise.

    Returns
    -------
    array of float32, [h, w]
        Mean about 0, standard deviation about 1.
    """
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        wavelength = wavelength_px / 2**octave
        if octave and wavelength < finest_px:
            break
        amplitude = gain**octave
        total += np.float32(amplitude) * value_noise(rng, shape, max(wavelength, 1.0))
        power += amplitude**2
    total *= np.float32(1 / (0.6 * np.sqrt(power)))
    return total


def resize(field: Field, shape: tuple[int, int], *, smooth: bool = True) -> Field:
    """Bring a field onto another number of pixels over the same ground."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    image = Image.fromarray(np.ascontiguousarray(field, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), how), np.float32)


def smoothstep(low: float, high: float, x: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between (Hermite)."""
    t = np.subtract(x, np.float32(low), dtype=np.float32)
    t *= np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    rest = t * np.float32(-2)
    rest += 3
    rest *= t
    rest *= t
    return rest


def blend(base: Field, over: npt.ArrayLike, share: Field) -> None:
    """Mix `over` into `base` in place, band by band."""
    over = np.asarray(over, np.float32)
    for band in range(3):
        plane = base[..., band]
        plane += (over[..., band] - plane) * share
