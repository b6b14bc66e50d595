"""How much detail an image has that the satellite cannot see."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def hf_power(image: npt.NDArray[np.float64], counted: npt.NDArray[np.bool_], scale: int) -> float:
    """Power of an image beyond the LR Nyquist frequency, summed over bands.

    Parameters
    ----------
    image : array, [C, H, W]
    counted : array of bool, [H, W]
        The rectangle of pixels to look at.
    scale : int
        HR pixels along an LR pixel.

    Returns
    -------
    float
        In squared DN, per value. NaN where `counted` is not a rectangle of 16 pixels and more a
        side: a hole has edges, and edges have power at all frequencies.

    Notes
    -----
    The mean of each band is taken off and a Hann window laid over it, so that the ends of the
    tile, which do not meet, do not count as detail. Frequencies beyond 1 / (2 scale) cycles for
    each HR pixel in either direction count. The ratio of two images' powers says how much of the
    detail is there, not whether it is right: that is what PSNR and SSIM are for.
    """
    rows, cells = np.flatnonzero(counted.any(axis=1)), np.flatnonzero(counted.any(axis=0))
    if min(len(rows), len(cells)) < 16:
        return math.nan
    inner = np.s_[rows[0] : rows[-1] + 1, cells[0] : cells[-1] + 1]
    if not counted[inner].all():
        return math.nan
    tile = image[:, *inner]
    height, width = tile.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = np.fft.rfft2((tile - tile.mean(axis=(1, 2), keepdims=True)) * window)
    fine = (np.abs(np.fft.fftfreq(height))[:, None] > 0.5 / scale) | (
        np.fft.rfftfreq(width) > 0.5 / scale
    )
    twice = np.full(spectrum.shape[-1], 2.0)  # a real image's spectrum is symmetric
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = (np.abs(spectrum) ** 2 * twice)[:, fine].sum() / (height * width)
    return float(power / (np.square(window).sum() * len(tile)))
