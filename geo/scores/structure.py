"""SSIM: likeness of structure in small windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from geo.scores.pixels import Image, Mask, rectangle, without_holes

Plane = npt.NDArray[np.float64]  # [H, W]

_SIGMA, _RADIUS = 1.5, 5  # an 11 x 11 window, truncated at 3.5 sigma


def ssim(sr: Image, hr: Image, valid: Mask, data_range: float) -> float:
    """Structural similarity, mean over bands and over windows that are wholly valid.

    Notes
    -----
    Wang et al., IEEE TIP 13, 600 (2004): Gaussian window (sigma 1.5, 11 x 11), K1 0.01, K2 0.03,
    population covariance; equal to scikit-image with ``gaussian_weights=True`` and
    ``use_sample_covariance=False``.
    """
    return Structure(hr, valid, data_range).ssim(sr)


class Structure:
    """`ssim` of many images against one truth.

    Blurred by Fourier transforms: what wraps round an edge reaches only windows that are not
    wholly inside, which do not count.

    Parameters
    ----------
    hr : array, [C, H, W]
    valid : array of bool, [H, W]
    data_range : float
    """

    def __init__(self, hr: Image, valid: Mask, data_range: float) -> None:
        self._valid = valid
        self._c1, self._c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        whole = ndimage.minimum_filter(
            valid.view(np.uint8), 2 * _RADIUS + 1, mode="constant", cval=0
        )
        self._box = rectangle(whole > 0)
        if self._box is None:
            return
        self._inside = whole[self._box] > 0
        self._size = tuple(fft.next_fast_len(n, real=True) for n in valid.shape)
        rows, cells = (_answer(n) for n in self._size)
        self._window = rows[:, None] * cells[: self._size[1] // 2 + 1]
        # A constant shift changes no variance and keeps the sums of squares exact.
        self._ground = float(hr[:, valid].mean())
        self._y = without_holes(hr - self._ground, valid)
        self._mean_y = self._blur(self._y)

    def ssim(self, sr: Image) -> float:
        """Of one image, [C, H, W]; NaN where no window is whole."""
        if self._box is None:
            return math.nan
        total = 0.0
        # Band by band: the images of one fit into a core's cache.
        for band, y, mean_y in zip(sr, self._y, self._mean_y, strict=True):
            x = without_holes(band - self._ground, self._valid)
            mean_x, squares, products = self._blur(np.stack([x, x * x + y * y, x * y]))
            index = self._index(mean_x, mean_y, squares, products)
            total += float(index.mean() if self._inside.all() else index[self._inside].mean())
        return total / len(sr)

    def _index(self, mean_x: Plane, mean_y: Plane, squares: Plane, products: Plane) -> Plane:
        """SSIM of each window, from means of values, of ``x^2 + y^2`` and of ``x y``."""
        product = mean_x * mean_y
        square = mean_x**2 + mean_y**2
        # Both were moved by `ground`, which the luminance has to get back.
        back = self._ground * (mean_x + mean_y) + self._ground**2
        index = 2 * (products - product) + self._c2
        index /= squares - square + self._c2
        index *= 2 * (product + back) + self._c1
        index /= square + 2 * back + self._c1
        return index

    def _blur(self, images: Image) -> Any:
        spectrum = fft.rfft2(images, s=self._size)
        spectrum *= self._window
        blurred = fft.irfft2(spectrum, s=self._size)
        assert self._box is not None
        return blurred[:, *self._box]


def _answer(length: int) -> Any:
    """What the window's profile does to each frequency of a line of that length."""
    kernel = np.zeros(length)
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    np.add.at(kernel, offsets % length, weights / weights.sum())
    return fft.fft(kernel).real  # symmetric, hence real
