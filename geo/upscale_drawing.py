"""What is drawn of a block: holes filled before, pixels cropped and rounded after the upsampler."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.errors import UpscaleError
from geo.nodata import step_off
from geo.tiling import Block, stretch_mask
from geo.upsampler import Upsampler, draw_strips
from geo.upscale_plan import UpscalePlan


def fill_invalid(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Give every invalid pixel [C, h, w] the value of the nearest valid one."""
    if valid.all():
        return data
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(data[:, nearest[0], nearest[1]])


def draw_block(
    plan: UpscalePlan,
    block: Block,
    upsampler: Upsampler,
    lr: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
) -> Iterator[npt.NDArray[Any]]:
    """HR pixels of a block in strips [C, rows, W], in the output's dtype, holes as nodata.

    Parameters
    ----------
    plan : UpscalePlan
    block : Block
    upsampler : Upsampler
    lr : array, [C, h + 2 halo, w + 2 halo]
        Without holes.
    valid : array of bool, [h, w]

    Raises
    ------
    UpscaleError
        If the upsampler fails or gives nonsense; it names the block.
    """
    try:
        yield from _rounded_strips(plan, block, upsampler, lr, valid)
    except UpscaleError as error:
        raise UpscaleError(
            f"{error.message}, at {block}", **error.facts | {"block": block.index}
        ) from error
    except NotFiniteError as error:
        raise UpscaleError(
            f"{upsampler.name} made NaN or infinite values at {block}", block=block.index
        ) from error
    except (OSError, ValueError) as error:  # not the disk's, which takes the strips
        raise UpscaleError(
            f"{upsampler.name} failed at {block}: {error}", block=block.index
        ) from error


def _rounded_strips(
    plan: UpscalePlan,
    block: Block,
    upsampler: Upsampler,
    lr: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
) -> Iterator[npt.NDArray[Any]]:
    scale = plan.upsampler.scale
    height, width = block.scaled(scale).shape
    all_valid, done = bool(valid.all()), 0
    for rows, sr in draw_strips(upsampler, lr, plan.upsampler.halo):
        wanted = (plan.profile.bands, rows.stop - rows.start, width)
        if rows.start != done or rows.stop > height or sr.shape != wanted:
            raise UpscaleError(
                f"{upsampler.name} made a strip of shape {sr.shape} for rows {rows.start} to "
                f"{rows.stop}; wanted {wanted} from row {done} on, of {height}"
            )
        strip = np.empty(wanted, plan.profile.dtype)
        round_into(strip, sr, plan.profile.nodata)
        if not all_valid:
            strip[:, ~stretch_mask(valid, scale, rows)] = plan.profile.fill
        yield strip
        done = rows.stop
    if done != height:
        raise UpscaleError(f"{upsampler.name} made {done} of {height} rows")


class NotFiniteError(ValueError):
    """Values that are NaN or infinite."""


# Bytes that are rounded at a time: what fits the caches is passed over several times at no cost.
_STRIP_BYTES = 1 << 18


def round_into(out: npt.NDArray[Any], sr: npt.NDArray[np.float32], nodata: float | None) -> None:
    """Round and clip [C, H, W] to a dtype; a value that would read as nodata moves to the next one.

    Parameters
    ----------
    out : array, [C, H, W]
        Filled.
    sr : array, [C, H, W]
    nodata : float or None
        Of `out`.

    Raises
    ------
    NotFiniteError
        If a value is not finite.
    """
    rows = max(1, _STRIP_BYTES // max(1, sr[:, :1].nbytes))
    for top in range(0, sr.shape[1], rows):
        strip, place = sr[:, top : top + rows], out[:, top : top + rows]
        low, high = float(strip.min()), float(strip.max())
        if not math.isfinite(low + high):
            raise NotFiniteError("values that are not finite")
        if out.dtype.kind != "f":
            limits = np.iinfo(out.dtype)
            strip = np.rint(strip)
            if low < limits.min or high > limits.max:
                np.clip(strip, limits.min, limits.max, out=strip)
        place[...] = strip
        step_off(place, nodata)
