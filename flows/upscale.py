"""Flow `upscale`: a scene and a model in, a Cloud-Optimized GeoTIFF out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import publish_table
from flows.console import Progress, say
from flows.errors import UsageError
from flows.registry import ModelSource, find_model
from flows.runtime import dask_client, run_all

if TYPE_CHECKING:
    from geo.upsampler import Upsampler
    from geo.upscale import UpscalePlan

# Blocks of one Dask task: small enough for progress, large enough to dwarf the bookkeeping.
_BLOCKS_A_TASK = 4


@dataclass(frozen=True, kw_only=True)
class UpscaleFlowConfig:
    """Parameters of the flow.

    Parameters
    ----------
    source : str
        Raster, STAC item, or a collection that `start` and `end` narrow down to one scene.
    output : str
        COG to write.
    model : str
        ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID/generator``, a folder, or
        ``nearest``, ``bicubic``, ``lanczos``.
    scale : int
        For the built-in methods.
    bands : list of str, optional
    start, end : str, optional
        Days, for a collection; `end` is not in it.
    block : int
        LR pixels on a side of a block.
    dry_run : bool
        Only say what would be done.
    workers : int, optional
        Threads of the embedded Dask cluster.
    """

    source: str
    output: str
    model: str
    scale: int = 4
    bands: list[str] | None = None
    start: str | None = None
    end: str | None = None
    block: int = 256
    dry_run: bool = False
    workers: int | None = None


@flow(name="upscale", description="Upscale a region to a Cloud-Optimized GeoTIFF.")
def upscale(config: UpscaleFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale upscale --json`` prints."""
    started = time.monotonic()
    model = find_model(config.model)
    plan, tags = plan_region(config, model)
    megapixels = plan.profile.height * plan.profile.width / 1e6
    facts = {
        "output": plan.output,
        "model": config.model,
        "blocks": len(plan.blocks),
        "output_megapixels": megapixels,
    }
    if config.dry_run:
        return facts | {"dry_run": True, "megabytes": round(plan.profile.pixel_bytes / 1e6, 1)}
    say(
        f"upscale: {plan.width} x {plan.height} px to {megapixels:.1f} Mpx in "
        f"{len(plan.blocks)} blocks with {config.model}"
    )
    done_before = run_blocks(plan, model, config)
    finish_region(plan, tags)
    seconds = time.monotonic() - started
    result = facts | {
        "blocks_done_before": done_before,
        "seconds": seconds,
        "output_megapixels_per_second": megapixels / seconds,
    }
    publish_table("upscale", result, title="Upscaled region")
    return result


@task(name="plan region", cache_policy=NO_CACHE)
def plan_region(
    config: UpscaleFlowConfig, model: ModelSource
) -> tuple[UpscalePlan, dict[str, str]]:
    """Decide everything from headers; also tags that say where the output comes from."""
    from geo.catalog.folder import RASTER_SUFFIXES
    from geo.catalog.sources import read_scenes
    from geo.upscale import UpscaleConfig, plan_upscale

    try:
        settings = UpscaleConfig(block_lr_px=config.block)
        upsampler = upsampler_of(model, config.scale)
    except ValueError as error:
        raise UsageError(str(error)) from error
    tags = {"SKYSCALE_MODEL_URI": config.model}
    output = Path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    if Path(config.source).suffix.lower() in RASTER_SUFFIXES:
        plan = plan_upscale(config.source, output, upsampler, settings, bands=config.bands)
        # The date in its name or tags, if there is one, lets a report find the aerial scene of it.
        dated, _ = read_scenes(config.source)
        return plan, tags | ({"SKYSCALE_TIME": dated[0].time.isoformat()} if dated else {})
    scene = pick_scene(config.source, config.start, config.end)
    names = tuple(config.bands or upsampler.bands or scene.band_names())
    plan = plan_upscale(scene.band_refs(names), output, upsampler, settings, bands=names)
    return plan, tags | {"SKYSCALE_ITEM": scene.id, "SKYSCALE_TIME": scene.time.isoformat()}


def pick_scene(source: str, start: str | None = None, end: str | None = None) -> Any:
    """The one scene of a source.

    Raises
    ------
    UsageError
        If there is none, or more than one.
    """
    from geo.catalog.sources import read_scenes
    from geo.match import parse_day

    scenes, refusals = read_scenes(source)
    try:
        first = parse_day(start, "start") if start else None
        last = parse_day(end, "end") if end else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    kept = [s for s in scenes if (not first or s.time >= first) and (not last or s.time < last)]
    if len(kept) == 1:
        return kept[0]
    if not kept:
        refused = f"; refused: {refusals[0].detail}" if refusals else ""
        raise UsageError(f"{source}: no scene in the time window ({len(scenes)} in all{refused})")
    listed = ", ".join(f"{s.id} ({s.time:%Y-%m-%d})" for s in kept[:6])
    raise UsageError(
        f"{source}: {len(kept)} scenes ({listed}); name one item, or narrow down by --start, --end"
    )


@lru_cache(maxsize=8)
def _load(folder: str, threads: int) -> Upsampler:
    from models.predict import Predictor

    return Predictor.load(folder, threads=threads)


def upsampler_of(model: ModelSource, scale: int) -> Upsampler:
    """The function that upsamples; a network is loaded once in each process.

    One thread of torch each, since blocks already run side by side on all cores.
    """
    if model.folder is not None:
        return _load(model.folder, 1)
    from geo.upsampler import BuiltinUpsampler

    return BuiltinUpsampler(model.uri, scale)  # type: ignore[arg-type]  # checked by find_model


@dataclass(frozen=True, kw_only=True)
class _Batch:
    plan: UpscalePlan
    blocks: tuple[int, ...]
    model: ModelSource
    scale: int


def _run_batch(batch: _Batch) -> int:
    from geo.upscale import run_block

    upsampler = upsampler_of(batch.model, batch.scale)
    for index in batch.blocks:
        run_block(batch.plan, batch.plan.blocks[index], upsampler)
    return len(batch.blocks)


@task(name="run blocks", cache_policy=NO_CACHE)
def run_blocks(plan: UpscalePlan, model: ModelSource, config: UpscaleFlowConfig) -> int:
    """Run the blocks that are not done; returns how many were done before."""
    from geo.upscale import begin

    beginning = begin(plan)
    todo = [block.index for block in plan.blocks if block.index not in beginning.finished]
    if beginning.finished:
        say(f"upscale: going on; {len(beginning.finished)} blocks are done already")
    progress = Progress("upscale", len(todo), "blocks")
    with dask_client(config.workers) as client:
        batches = (
            _Batch(plan=plan, blocks=tuple(indexes), model=model, scale=config.scale)
            for indexes in _chunks(todo, _BLOCKS_A_TASK)
        )
        for count in run_all(client, _run_batch, batches):
            progress.add(count)
    return len(beginning.finished)


def _chunks(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


@task(name="finish region", cache_policy=NO_CACHE)
def finish_region(plan: UpscalePlan, tags: dict[str, str]) -> str:
    """Build the COG."""
    from geo.upscale import finish

    return str(finish(plan, tags))
