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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.errors import UpscaleError
from geo.mosaic import MosaicSource
from geo.raster_io import Pixels
from geo.read_back import ReadBackError
from geo.region_sink import Mover
from geo.region_update import (
    Earlier,
    find_earlier,
    kept_note,
    note_of,
    pixels_digest,
    record_path,
    write_record,
)
from geo.regionstore import Beginning, RegionStore, begin_region
from geo.tiling import Block, HaloWindow, halo_window
from geo.upsampler import BuiltinUpsampler, Upsampler, UpsamplerFacts
from geo.upscale_drawing import draw_block, fill_invalid
from geo.upscale_plan import FileStamp, UpscaleConfig, UpscalePlan, plan_upscale

__all__ = [
    "Beginning",
    "Block",
    "BlockResult",
    "BuiltinUpsampler",
    "Earlier",
    "Upsampler",
    "UpsamplerFacts",
    "UpscaleConfig",
    "UpscalePlan",
    "begin",
    "find_earlier",
    "finish",
    "finished_blocks",
    "is_finished",
    "kept_blocks",
    "mover",
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


def is_finished(plan: UpscalePlan, block: Block) -> bool:
    """Whether one block is done.

    Raises
    ------
    UpscaleError
        If the run has not begun.
    """
    return _store(plan).is_finished(block.index)


def mover(plan: UpscalePlan) -> Mover | None:
    """What may bring finished blocks to their place meanwhile; see `RegionSink.mover`.

    Raises
    ------
    UpscaleError
        If the run has not begun.
    OSError
        If what is there cannot be read.
    """
    return _store(plan).mover()


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """What became of a block.

    Parameters
    ----------
    index : int
    valid_fraction : float
        Of its LR pixels; a block with none was not computed.
    kept : bool
        It is the earlier output's.
    read_s, infer_s, write_s : float
        Seconds.
    """

    index: int
    valid_fraction: float
    kept: bool = False
    read_s: float = 0.0
    infer_s: float = 0.0
    write_s: float = 0.0


def run_block(
    plan: UpscalePlan,
    block: Block,
    upsampler: Upsampler,
    earlier: Earlier | None = None,
    *,
    untouched: bool = False,
) -> BlockResult:
    """Read a block and its halo, upscale, crop, store, mark as finished.

    Parameters
    ----------
    plan : UpscalePlan
    block : Block
    upsampler : Upsampler
    earlier : Earlier, optional
        An output to keep the block of where its source shows the same.
    untouched : bool
        It does, as `Earlier.untouched` says: the source need not be read.

    Raises
    ------
    SourceError
        If the source cannot be read.
    UpscaleError
        If the upsampler is not the planned one or gives nonsense, or the disk is full.
    """
    if (facts := UpsamplerFacts.of(upsampler)) != plan.upsampler:
        raise UpscaleError(f"got the upsampler {facts}; the plan is for {plan.upsampler}")
    store, started = _store(plan), perf_counter()
    if earlier is not None and untouched:
        note = kept_note(plan, earlier, block)
        if (kept := _keep(plan, store, earlier, block, note)) is not None:
            return replace(kept, write_s=perf_counter() - started)
    lr, valid, scenes = _read_block(plan, block)
    pixels, read = pixels_digest(lr, valid), perf_counter()
    if earlier is not None and earlier.pixels_of(block) == pixels:
        note = note_of(pixels, scenes, kept=True)
        if (kept := _keep(plan, store, earlier, block, note)) is not None:
            return replace(kept, read_s=read - started, write_s=perf_counter() - read)
    drawing = None if lr is None else _Timed(draw_block(plan, block, upsampler, lr, valid))
    store.write(block, drawing, valid, note_of(pixels, scenes, kept=False))
    infer_s = 0.0 if drawing is None else drawing.seconds
    return BlockResult(
        index=block.index,
        valid_fraction=float(valid.mean()),
        read_s=read - started,
        infer_s=infer_s,
        write_s=perf_counter() - read - infer_s,
    )


def _keep(
    plan: UpscalePlan, store: RegionStore, earlier: Earlier, block: Block, note: Any
) -> BlockResult | None:
    """Copy a block of the earlier output; None if it cannot be read there."""
    try:
        strips, valid = plan.sink.read_back(Path(earlier.output), block)
        store.write(block, strips, valid, note)
    except ReadBackError:
        return None
    return BlockResult(index=block.index, valid_fraction=float(valid.mean()), kept=True)


class _Timed:
    """Strips, with the time that it takes to draw them."""

    def __init__(self, strips: Iterator[npt.NDArray[Any]]) -> None:
        self._strips = strips
        self.seconds = 0.0

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return self

    def __next__(self) -> npt.NDArray[Any]:
        started = perf_counter()
        try:
            return next(self._strips)
        finally:
            self.seconds += perf_counter() - started


def finish(
    plan: UpscalePlan, tags: Mapping[str, str] | None = None, *, record: bool = False
) -> Path:
    """Complete the output, put it under its name, and take the working folder down.

    Parameters
    ----------
    plan : UpscalePlan
    tags : mapping of str to str, optional
        Tags beside the plan's own.
    record : bool
        Tell beside it what its blocks were drawn from, so that it can be brought up to date.

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
    tags = {**(tags or {}), **plan.tags, "SKYSCALE_BLOCK_LR_PX": str(plan.block_lr_px)}
    if shares := provenance(plan):
        kept = ("id", "time", "share")
        tags["SKYSCALE_PROVENANCE"] = json.dumps([{k: s[k] for k in kept} for s in shares])
    output = store.finish(Path(plan.output), tags)
    if record:
        write_record(plan, list(store.notes()))
    else:
        record_path(output).unlink(missing_ok=True)  # of an older output of this name
    store.remove()
    return output


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
        counts += note["scenes"]
    return plan.source.provenance(counts)


def kept_blocks(plan: UpscalePlan) -> int:
    """How many finished blocks were copied from an earlier output."""
    return sum(note["kept"] for note in _store(plan).notes())


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
        pixels, _, window = _read_halo(plan, block, plan.fill_margin_lr_px)
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
