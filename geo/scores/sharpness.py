"""How much detail an image has that the satellite cannot see."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from geo.scores.pixels import Image, Mask, rectangle


def detail_share(power: float, real_power: float) -> float:
    """How much of the aerial image's detail there is: its power over that of reality.

    1 is as much, bicubic is near 0, noise goes beyond 1: more is not better. The same ratio as
    training's ``hf_power_ratio``, which is of sums over all chips; that of one tile says little
    where there is no detail. NaN without a reference, and where it has none at all.
    """
    return power / real_power if real_power > 0 else math.nan


def hf_power(image: Image, counted: Mask, scale: int) -> float:
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
    inner = rectangle(counted)
    if inner is None or not counted[inner].all():
        return math.nan
    tile = image[:, *inner]
    height, width = tile.shape[1:]
    if min(height, width) < 16:
        return math.nan
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = fft.rfft2((tile - tile.mean(axis=(1, 2), keepdims=True)) * window)
    fine = (np.abs(np.fft.fftfreq(height))[:, None] > 0.5 / scale) | (
        np.fft.rfftfreq(width) > 0.5 / scale
    )
    twice = np.full(spectrum.shape[-1], 2.0)  # a real image's spectrum is symmetric
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = (np.abs(spectrum) ** 2 * twice)[:, fine].sum() / (height * width)
    return float(power / (np.square(window).sum() * len(tile)))
