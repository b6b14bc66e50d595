"""Where pixels can be trusted: clouds by masks, saturation and emptiness by the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.catalog.asset import MaskKind
from geo.catalog.scene import Mask
from geo.warp import warp_to

_Mask = npt.NDArray[np.bool_]

# Classes of Sentinel-2's scene classification (Sentinel-2 L2A ATBD, table 3).
NO_DATA, SATURATED, CLOUD_SHADOW = 0, 1, 3
CLOUD_CLASSES = (8, 9, 10)  # medium probability, high probability, thin cirrus
_BAD_CLASSES = (SATURATED, CLOUD_SHADOW, *CLOUD_CLASSES)

# Masks draw clouds tight; their soft rim reaches further.
RIM_PX = 2
# Saturation comes in patches; a single pixel at the top of the range is the brightest, no more.
_PATCH = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True)
class Screen:
    """What masks say of a piece of a scene, each [h, w].

    Parameters
    ----------
    clear : array of bool
        Neither cloud nor shadow nor saturated, and two pixels away from any of them.
    cloudy : array of bool
        Cloud as the mask draws it, without the rim.
    known : array of bool
        The masks say something here, and it is not "no data".
    """

    clear: _Mask
    cloudy: _Mask
    known: _Mask


def screen_masks(masks: Sequence[Mask], geobox: GeoBox) -> Screen:
    """Read all masks of a scene for a piece of it; what one of them finds bad is bad.

    Parameters
    ----------
    masks : sequence of Mask
        On any grids.
    geobox : GeoBox
        The satellite grid, ``h`` by ``w``.

    Raises
    ------
    SourceError
        If a mask cannot be read.
    """
    # A cloud just outside reaches in with its rim.
    wide = geobox.pad(RIM_PX)
    inner = (slice(RIM_PX, -RIM_PX), slice(RIM_PX, -RIM_PX))
    bad = np.zeros(wide.shape.yx, dtype=np.bool_)
    cloudy = np.zeros_like(bad)
    known = np.ones_like(bad)
    for mask in masks:
        there = warp_to(mask.href, wide, resampling="nearest")
        judged = judge_mask(mask.kind, there.data[0], there.valid)
        cloudy |= judged.cloudy
        bad |= judged.bad
        known &= judged.known
    return Screen(~_grow(bad)[inner], cloudy[inner], known[inner])


class JudgedMask(NamedTuple):
    """What the values of one mask mean, each as they lie.

    Parameters
    ----------
    bad : array of bool
        Cloud, shadow or saturated.
    cloudy : array of bool
    known : array of bool
        The mask says something here, and it is not "no data".
    """

    bad: _Mask
    cloudy: _Mask
    known: _Mask


def judge_mask(kind: MaskKind, values: npt.NDArray[Any], valid: _Mask) -> JudgedMask:
    """Read values of a mask of any kind; `valid` is where the file has values."""
    if kind == "scl":
        return JudgedMask(
            bad=np.isin(values, _BAD_CLASSES) & valid,
            cloudy=np.isin(values, CLOUD_CLASSES) & valid,
            known=valid & (values != NO_DATA),
        )
    if kind == "cloud":
        # Nodata of a cloud mask often is its 0, which means clear.
        cloudy = (values != 0) & valid
        return JudgedMask(bad=cloudy, cloudy=cloudy, known=np.ones_like(valid))
    nothing = np.zeros_like(valid)
    return JudgedMask(bad=nothing, cloudy=nothing, known=valid & (values != 0))


def _grow(bad: _Mask) -> _Mask:
    return ndimage.binary_dilation(bad, iterations=RIM_PX) if bad.any() else bad


def find_saturated(data: npt.NDArray[Any], valid: _Mask) -> _Mask:
    """Pixels of a sensor's own image that lie in patches at the top of its range.

    Parameters
    ----------
    data : array, [C, h, w]
        Raw DN.
    valid : array of bool, [h, w]

    Returns
    -------
    array of bool, [h, w]
        Saturated in any band: at the largest number of an integer type, or at a smaller ceiling
        that shows as a pile of pixels with one value at the very top.
    """
    saturated = np.zeros(valid.shape, dtype=np.bool_)
    for plane in data:
        if valid.any() and (ceiling := _ceiling(plane, valid)) is not None:
            saturated |= find_patches((plane >= ceiling) & valid)
    return saturated


def find_empty(data: npt.NDArray[Any], valid: _Mask) -> _Mask:
    """Pixels beyond the edge of an image whose file does not say so: patches of 0 in all bands.

    Parameters
    ----------
    data : array, [C, h, w]
        Raw DN.
    valid : array of bool, [h, w]
    """
    if data.dtype.kind not in "iu":
        return np.zeros_like(valid)
    return find_patches((data == 0).all(axis=0) & valid)


def find_patches(top: _Mask) -> _Mask:
    """What remains of a mask without the pieces that hold no 3 by 3 pixels."""
    if np.count_nonzero(top) < _PATCH.size:
        return np.zeros_like(top)
    return np.asarray(ndimage.binary_opening(top, _PATCH))


def type_maximum(dtype: npt.DTypeLike) -> float | None:
    """Largest number of an integer type; None for others."""
    wanted = np.dtype(dtype)
    return float(np.iinfo(wanted).max) if wanted.kind in "iu" else None


def _ceiling(plane: npt.NDArray[Any], valid: _Mask) -> float | None:
    highest = float(plane[valid].max())
    if highest == type_maximum(plane.dtype):
        return highest
    if np.count_nonzero((plane == highest) & valid) < _PATCH.size:
        return None
    # The tail of an image thins out towards its top; a clipped one piles up there, far from what
    # is common (the flat of a still lake is a pile too, but not a bright one).
    values = plane[valid].astype(np.float64)
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    below = values >= highest - 0.05 * (highest - median)
    pile = np.count_nonzero(values == highest)
    clipped = highest > median + 3 * spread and pile > np.count_nonzero(below) - pile
    return highest if clipped else None
