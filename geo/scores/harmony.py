"""What opensr-test takes off an image before it judges its detail: colours, and a shift.

The same steps as scikit-image's ``match_histograms`` and ``phase_cross_correlation`` and OpenCV's
``warpAffine`` take, here with holes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

Plane = npt.NDArray[np.float32]  # [H, W]
Images = npt.NDArray[np.float32]  # [C, H, W]
Mask = npt.NDArray[np.bool_]

_STEPS = 50  # of a pixel, in which a shift is found
_EPS = np.float32(100 * np.finfo(np.float32).eps)


class Palette:
    """The histogram of each band of an image, to be given to other images.

    Parameters
    ----------
    image : array of float32, [C, H, W]
    valid : array of bool, [H, W]
        Where both that image and those to come are good.
    """

    def __init__(self, image: Images, valid: Mask) -> None:
        self._valid = valid
        self._whole = bool(valid.all())
        values = image.reshape(len(image), -1) if self._whole else image[:, valid]
        self._targets = [_quantiles(np.sort(band)) for band in values]

    def matched(self, image: Images) -> Images:
        """`image` with that histogram in each band; as it was where it is not valid."""
        if self._whole:
            bands = [_give(b.ravel(), t) for b, t in zip(image, self._targets, strict=True)]
            return np.stack(bands).reshape(image.shape)
        found = image.copy()
        for band, target in zip(found, self._targets, strict=True):
            band[self._valid] = _give(band[self._valid], target)
        return found


def _quantiles(ordered: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The value at each rank 1 to n: between values that repeat, on the line that joins them."""
    last = _ends(ordered)
    if len(last) == len(ordered):
        return ordered
    ranks = np.arange(len(ordered))
    return np.interp(ranks, last, ordered[last]).astype(np.float32)


def _give(
    values: npt.NDArray[np.float32], target: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    order = _order(np.ascontiguousarray(values, np.float32))
    last = _ends(values[order])
    found = np.empty_like(values)
    if len(last) == len(values):
        found[order] = target
    else:  # equal values stay equal: all have the rank of the last
        found[order] = np.repeat(target[last], np.diff(last, prepend=-1))
    return found


def _order(values: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """What sorts them, by two rounds of 16 bits: numpy has a radix sort for those alone."""
    bits = values.view(np.int32)
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # whole numbers in the order of the values
    order = np.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    return order[np.argsort((keys >> 16).astype(np.int16)[order], kind="stable")]


def _ends(ordered: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Where runs of equal values end."""
    ends = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=ends[:-1])
    return np.flatnonzero(ends)


class PhaseCompass:
    """Shifts of images against one reference, by the phases of their spectra.

    Kuglin and Hines, 1975; refined to 1/50 px as Guizar-Sicairos et al., Optics Letters 33, 156
    (2008) do. Holes have edges, which never move, so that beside them it leans towards no shift.

    Parameters
    ----------
    image : array of float32, [C, H, W]
        Reflectances; the mean of all bands is looked at.
    valid : array of bool, [H, W]
    """

    def __init__(self, image: Images, valid: Mask) -> None:
        self._valid = valid
        self._spectrum = self._transform(image)

    def shift(self, image: Images) -> tuple[float, float]:
        """Rows and columns by which `image` has to be moved to lie on the reference."""
        product = self._spectrum * self._transform(image).conj()
        product /= np.maximum(np.abs(product), _EPS)
        found = np.abs(fft.ifft2(product))
        peak = np.unravel_index(int(found.argmax()), found.shape)
        coarse = [int(p) - n * (p > n // 2) for p, n in zip(peak, found.shape, strict=True)]
        # The transform itself, at fiftieths of a pixel around that peak.
        reach = math.ceil(_STEPS * 1.5)
        offsets = np.arange(reach) - reach // 2
        rows, cells = (
            np.exp(2j * np.pi * (at + offsets / _STEPS)[:, None] * fft.fftfreq(n)).astype(
                np.complex64
            )
            for at, n in zip(coarse, found.shape, strict=True)
        )
        fine = np.abs(rows @ product @ cells.T)
        dy, dx = np.unravel_index(int(fine.argmax()), fine.shape)
        return tuple(  # type: ignore[return-value]  # of two
            float(at + offsets[step] / _STEPS) for at, step in zip(coarse, (dy, dx), strict=True)
        )

    def _transform(self, image: Images) -> Any:
        plane = image.mean(axis=0)
        if not self._valid.all():
            plane = np.where(self._valid, plane, plane[self._valid].mean())
        return fft.fft2(plane)


def moved(images: Images, dy: float, dx: float) -> Images:
    """Images moved down and right, linearly interpolated; edge pixels are repeated outwards."""
    for axis, by in ((-2, dy), (-1, dx)):
        if by:
            whole = math.floor(-by)
            part = np.float32(-by - whole)
            at = np.arange(images.shape[axis])
            last = images.shape[axis] - 1
            near = images.take(np.clip(at + whole, 0, last), axis=axis)
            if part:
                far = images.take(np.clip(at + whole + 1, 0, last), axis=axis)
                far -= near
                far *= part
                near += far
            images = near
    return images
