"""A whole region upscaled block by block: plan, begin, run every block, finish.

>>> plan = plan_upscale("scene.tif", Path("out.tif"), BuiltinUpsampler("bicubic", 4))
>>> beginning = begin(plan)
>>> for block in plan.blocks:
...     if block.index not in beginning.finished:
...         run_block(plan, block, upsampler)
>>> finish(plan)

Blocks are independent: any number of workers may run them, in any order, and a plan travels to
them as data. Each output pixel is computed once, from all the pixels that it depends on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.errors import UpscaleError
from geo.mosaic import MosaicSource
from geo.nodata import step_off
from geo.raster_io import Pixels
from geo.regionstore import Beginning, RegionStore, begin_region
from geo.tiling import Block, HaloWindow, halo_window
from geo.upsampler import BuiltinUpsampler, Upsampler, UpsamplerFacts, draw_strips
from geo.upscale_plan import FileStamp, UpscaleConfig, UpscalePlan, plan_upscale

__all__ = [
    "Beginning",
    "Block",
    "BlockResult",
    "BuiltinUpsampler",
    "Upsampler",
    "UpsamplerFacts",
    "UpscaleConfig",
    "UpscalePlan",
    "begin",
    "finish",
    "finished_blocks",
    "plan_upscale",
    "provenance",
    "run_block",
]


def begin(plan: UpscalePlan, *, restart: bool = False) -> Beginning:
    """Make the working folder, or take up what a run of the same plan has left in it.

    Raises
    ------
    UpscaleError
        If the folder cannot be written.
    """
    return begin_region(plan.folder, plan.sink, plan.facts, restart=restart)


def finished_blocks(plan: UpscalePlan) -> frozenset[int]:
    """Indexes of blocks that are done.

    Raises
    ------
    UpscaleError
        If the run has not begun.
    """
    return _store(plan).finished()


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """What became of a block.

    Parameters
    ----------
    index : int
    valid_fraction : float
        Of its LR pixels; a block with none was not computed.
    read_s, infer_s, write_s : float
        Seconds.
    """

    index: int
    valid_fraction: float
    read_s: float
    infer_s: float
    write_s: float


def run_block(plan: UpscalePlan, block: Block, upsampler: Upsampler) -> BlockResult:
    """Read a block and its halo, upscale, crop, store, mark as finished.

    Raises
    ------
    SourceError
        If the source cannot be read.
    UpscaleError
        If the upsampler is not the planned one or gives nonsense, or the disk is full.
    """
    if (facts := UpsamplerFacts.of(upsampler)) != plan.upsampler:
        raise UpscaleError(f"got the upsampler {facts}; the plan is for {plan.upsampler}")
    store = _store(plan)
    clock = [perf_counter()]
    lr, valid, note = _read_block(plan, block)
    clock.append(perf_counter())
    hr = None if lr is None else _infer(plan, block, upsampler, lr, valid)
    clock.append(perf_counter())
    store.write(block, hr, valid, note)
    clock.append(perf_counter())
    read_s, infer_s, write_s = np.diff(clock)
    return BlockResult(
        index=block.index,
        valid_fraction=float(valid.mean()),
        read_s=float(read_s),
        infer_s=float(infer_s),
        write_s=float(write_s),
    )


def finish(plan: UpscalePlan, tags: Mapping[str, str] | None = None) -> Path:
    """Complete the output, put it under its name, and take the working folder down.

    Parameters
    ----------
    plan : UpscalePlan
    tags : mapping of str to str, optional
        Tags beside the plan's own.

    Raises
    ------
    UpscaleError
        If blocks are missing, the source has changed meanwhile, or the disk is full.
    """
    store = _store(plan)
    missing = len(plan.blocks) - len(store.finished())
    if missing:
        raise UpscaleError(
            f"{missing} of {len(plan.blocks)} blocks of {plan.output} are not done; run them first",
            missing=missing,
        )
    for stamp in plan.stamps:
        if FileStamp.of(stamp.href) != stamp:
            raise UpscaleError(
                f"{stamp.href} has changed while it was upscaled; run again from the beginning",
                href=stamp.href,
            )
    tags = {**(tags or {}), **plan.tags}
    if shares := provenance(plan):
        kept = ("id", "time", "share")
        tags["SKYSCALE_PROVENANCE"] = json.dumps([{k: s[k] for k in kept} for s in shares])
    return store.finish(Path(plan.output), tags)


def provenance(plan: UpscalePlan) -> list[dict[str, Any]]:
    """Which scenes the pixels of a mosaic are of, by what its blocks have noted; else nothing.

    Returns
    -------
    list of dict
        See `MosaicSource.provenance`.
    """
    if not isinstance(plan.source, MosaicSource):
        return []
    counts = np.zeros(len(plan.source.scenes) + 1, np.int64)
    for note in _store(plan).notes():
        counts += note
    return plan.source.provenance(counts)


def fill_invalid(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Give every invalid pixel [C, h, w] the value of the nearest valid one."""
    if valid.all():
        return data
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(data[:, nearest[0], nearest[1]])


def _store(plan: UpscalePlan) -> RegionStore:
    return RegionStore(plan.folder, plan.sink, plan.fingerprint)


def _read_block(
    plan: UpscalePlan, block: Block
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.bool_], Any]:
    """LR pixels of block and halo without holes (None if all is hole), validity, provenance."""
    pixels, scenes, window = _read_halo(plan, block, margin=0)
    own = (
        slice(block.rows.start - window.rows.start, block.rows.stop - window.rows.start),
        slice(block.cols.start - window.cols.start, block.cols.stop - window.cols.start),
    )
    valid = pixels.valid[own]
    note = None
    if isinstance(plan.source, MosaicSource) and scenes is not None:
        note = plan.source.count_scenes(scenes[own]).tolist()
    if not valid.any():
        return None, valid, note
    if not pixels.valid.all() and plan.upsampler.halo:
        # What fills a hole must not depend on the block that asks. A hole pixel matters where it
        # lies in the halo of a valid pixel, which is then at most halo * sqrt(2) from it; so its
        # nearest valid pixel is no farther, and this margin holds it.
        margin = math.ceil(plan.upsampler.halo * math.sqrt(2))
        pixels, _, window = _read_halo(plan, block, margin)
    filled = fill_invalid(pixels.data, pixels.valid)
    return np.asarray(window.lay_out(filled), np.float32), valid, note


def _read_halo(
    plan: UpscalePlan, block: Block, margin: int
) -> tuple[Pixels, npt.NDArray[np.uint16] | None, HaloWindow]:
    """Pixels around a block; of a mosaic, also which scene each is of."""
    window = halo_window(block, plan.upsampler.halo, plan.height, plan.width, margin)
    if isinstance(plan.source, MosaicSource):
        composite = plan.source.compose(window.rows, window.cols)
        return composite.pixels, composite.scene, window
    return plan.source.read(window.rows, window.cols), None, window


def _infer(
    plan: UpscalePlan,
    block: Block,
    upsampler: Upsampler,
    lr: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
) -> npt.NDArray[Any]:
    """HR pixels of the block, [C, H, W], in the output's dtype, holes as nodata."""
    scale = plan.upsampler.scale
    hr = np.empty((plan.profile.bands, *block.scaled(scale).shape), plan.profile.dtype)
    done = 0
    try:
        for rows, strip in draw_strips(upsampler, lr, plan.upsampler.halo):
            if rows.start != done or strip.shape != hr[:, rows].shape:
                raise UpscaleError(
                    f"{upsampler.name} made a strip of shape {strip.shape} for rows {rows.start} "
                    f"to {rows.stop}; wanted {hr[:, rows].shape} from row {done} on"
                )
            round_into(hr[:, rows], strip, plan.profile.nodata)
            done = rows.stop
    except UpscaleError as error:
        raise UpscaleError(
            f"{error.message}, at {block}", **error.facts | {"block": block.index}
        ) from error
    except NotFiniteError as error:
        raise UpscaleError(
            f"{upsampler.name} made NaN or infinite values at {block}", block=block.index
        ) from error
    if done != hr.shape[1]:
        raise UpscaleError(
            f"{upsampler.name} made {done} of {hr.shape[1]} rows at {block}", block=block.index
        )
    if not valid.all():
        hole = ~valid.repeat(scale, 0).repeat(scale, 1)
        hr[:, hole] = plan.profile.fill
    return hr


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
