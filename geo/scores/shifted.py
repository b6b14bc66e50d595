"""cPSNR: PSNR that forgives a shift of a few pixels and a difference of brightness."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import fft

from geo.scores.pixels import Image, Mask, psnr_of, without_holes

CPSNR_RADIUS_PX = 3
# Fewer pixels than this, and a shift with its own mean difference fits them by chance.
_MIN_PX = 64


def cpsnr_db(
    sr: Image, hr: Image, valid: Mask, data_range: float, radius: int = CPSNR_RADIUS_PX
) -> float:
    """PSNR after the best whole-pixel shift and with the mean difference of each band removed.

    Notes
    -----
    The rule of the PROBA-V challenge (Maertens et al., 2019): shifts of -3 to 3 HR pixels by one
    in both directions, `sr` cropped by 3. Here both images have holes, so a pixel counts where
    it is valid in `sr` and, moved, in `hr`; a shift that leaves less than half of the pixels to
    compare does not compete, and NaN is returned where fewer than 64 are left without a shift.
    """
    return ShiftSearch(hr, valid, data_range, radius).psnr_db(sr)


class ShiftSearch:
    """`cpsnr_db` of many images against one truth.

    The squared error of a shift is made of sums of squares, of products and of values, and each
    of these, for all shifts at once, is a correlation: a product of Fourier transforms. The best
    shift's error is then summed again from differences, free of their cancellation.

    Parameters
    ----------
    hr : array, [C, H, W]
    valid : array of bool, [H, W]
    data_range : float
    radius : int
        HR pixels.
    """

    def __init__(
        self, hr: Image, valid: Mask, data_range: float, radius: int = CPSNR_RADIUS_PX
    ) -> None:
        height, width = valid.shape
        self._core = np.s_[radius : height - radius, radius : width - radius]
        self._lags = 2 * radius + 1
        self._range = data_range
        self._hr, self._valid, self._inner = hr, valid, valid[self._core]
        self._known = np.count_nonzero(valid) > 0 and self._inner.size > 0
        if not self._known:
            return
        self._mean = hr[:, valid].mean(axis=1)[:, None, None]  # of each band: less cancellation
        moved = without_holes(hr - self._mean, valid)
        self._size = tuple(fft.next_fast_len(n, real=True) for n in valid.shape)
        terms = np.concatenate([moved, np.square(moved).sum(axis=0)[None], valid[None]])
        here = self._transform(self._inner[None]).conj()
        there = self._transform(terms)
        self._fine, self._mask = there[:-2], there[-1:]
        sums = self._at_lags(there * here)
        self._sums, self._squares, counts = sums[:-2], sums[-2], sums[-1]
        self._counts = np.rint(counts)

    def psnr_db(self, sr: Image) -> float:
        """Of one image, [C, H, W]."""
        if not self._known:
            return math.nan
        enough = max(_MIN_PX, np.count_nonzero(self._inner) / 2)
        competing = self._counts >= enough
        if not competing.any():
            return math.nan
        inner = without_holes(sr[:, *self._core] - self._mean, self._inner)
        flat = inner.reshape(-1)
        if self._valid.all():  # all shifts then see the same pixels of `sr`
            here = self._transform(inner).conj()
            sums, squares = inner.sum(axis=(1, 2))[:, None, None], flat @ flat
            cross = self._at_lags((self._fine * here).sum(axis=0)[None])[0]
        else:
            terms = np.concatenate([inner, np.square(inner).sum(axis=0)[None]])
            here = self._transform(terms).conj()
            product = (self._fine * here[:-1]).sum(axis=0)[None]
            found = self._at_lags(np.concatenate([here * self._mask, product]))
            sums, squares, cross = found[:-2], found[-2], found[-1]
        counts = np.maximum(self._counts, 1)
        bias = np.square(self._sums - sums).sum(axis=0) / counts
        error = np.where(competing, (self._squares + squares - 2 * cross - bias) / counts, math.inf)
        return self._exactly(inner, *np.unravel_index(int(error.argmin()), error.shape))

    def _exactly(self, inner: Image, dy: Any, dx: Any) -> float:
        height, width = self._inner.shape
        window = np.s_[dy : dy + height, dx : dx + width]
        good = self._valid[window] & self._inner
        difference = without_holes(self._hr[:, *window] - self._mean - inner, good)
        flat = difference.reshape(len(inner), -1)
        count = int(np.count_nonzero(good))
        squares = np.einsum("ij,ij->i", flat, flat) - flat.sum(axis=1) ** 2 / count
        return psnr_of(max(0.0, float(squares.sum())), count * len(flat), self._range)

    def _transform(self, images: Any) -> Any:
        return fft.rfft2(np.asarray(images, np.float64), s=self._size)

    def _at_lags(self, spectra: Any) -> Any:
        return fft.irfft2(spectra, s=self._size)[:, : self._lags, : self._lags]
