"""Aerial chips screened by the DN that they had: saturation, and nodata that nobody tells of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.colour_fit import ColourFit
from geo.quality import find_patches, type_maximum
from geo.raster_io import Source, inspect_raster

# Pixels as near as this to nodata that was read as ground have a part of it in them.
_CUBIC_REACH_PX = 2

_Mask = npt.NDArray[np.bool_]


def screen_aerial(
    hr: npt.NDArray[np.float32], valid: _Mask, aerial: Source, colours: ColourFit
) -> tuple[_Mask, _Mask]:
    """Good aerial pixels, and those that stood at the top of their range.

    Both are known by the DN that they had, in the colours that they have now.

    Parameters
    ----------
    hr : array, [n, C, H, W]
        Chips in the satellite's colours.
    valid : array of bool, [n, H, W]
        What the file says of them; empty patches are taken out of it.
    aerial : Source
        The file that they are of.
    colours : ColourFit
        What brought its colours over.

    Returns
    -------
    valid, saturated : array of bool, [n, H, W]
    """
    saturated = np.zeros_like(valid)
    href = aerial if isinstance(aerial, str) else aerial[0].href
    info = inspect_raster(href)
    highest = type_maximum(info.dtype)
    if highest is None:
        return valid, saturated
    # A last bit may be lost on the way through the warp.
    ends = np.tile(np.array([1e-3, highest - 1e-3], np.float32), (hr.shape[1], 1))
    dark, bright = colours.apply(ends).T  # [C] each
    top = np.zeros_like(valid)  # [n, H, W]
    for plane, ceiling in zip(hr.swapaxes(0, 1), bright, strict=True):
        if plane.max() >= ceiling:  # seldom
            top |= (plane >= ceiling) & valid
    for i in np.flatnonzero(top.any(axis=(1, 2))):
        saturated[i] = find_patches(top[i])
    if info.nodata is None and not info.has_mask and (hr.min(axis=(0, 2, 3)) <= dark).all():
        # The file may have untold nodata.
        zero = (hr <= dark[:, None, None]).all(axis=1) & valid
        for i in np.flatnonzero(zero.any(axis=(1, 2))):
            empty = find_patches(zero[i])
            valid[i] &= ~ndimage.binary_dilation(empty, iterations=_CUBIC_REACH_PX)
    return valid, saturated
