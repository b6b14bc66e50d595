"""Flow `upscale`: a region and a model in, a Cloud-Optimized GeoTIFF or Zarr out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import upscale_region, upscale_work
from flows.artifacts import embed_picture, progress_teller, publish_markdown, publish_result
from flows.console import say
from flows.errors import UsageError
from flows.forms import form
from flows.notices import HOOKS
from flows.report import ReportFlowConfig, report
from flows.report_artifacts import publish_way
from flows.stage import masked, stage
from flows.transient import TRIED_AGAIN
from flows.upscale_region import PlannedRegion
from flows.upscale_work import WorkDone


@form
@dataclass(frozen=True, kw_only=True)
class UpscaleFlowConfig:
    """What to upscale, by which model, and where to.

    Parameters
    ----------
    source : str
        Raster, STAC item, collection, API, GeoParquet of items or folder.
    output : str
        COG to write, or Zarr if the name ends in ``.zarr``.
    model : str
        ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID/generator``, a folder, or
        ``nearest``, ``bicubic``, ``lanczos``.
    reference : str, optional
        Aerial imagery to score the output by: a report is made in the same run.
    report : str, optional
        Folder of the report, which is made without a reference, too; beside the output by default.
    aoi : str, optional
        Area of interest: GeoJSON file, or ``west,south,east,north`` in degrees; all by default.
    start : str, optional
        First day of scenes, for example 2024-06-01.
    end : str, optional
        The day after the last one, for example 2024-07-01.
    days : int, optional
        Instead of `start`: only scenes of the last so many days.
    near : str, optional
        Day: of several scenes that are as clear, those near to it come first.
    newest : bool
        Later scenes come first: each pixel is the last that was seen clear.
    max_cloud : float
        Most cloud over the area, 0 to 1, of a scene that is used.
    crs : str, optional
        Of the output, for several scenes; by default that of most of them.
    balance : bool
        Bring the colours of several scenes to those of the best one.
    scale : int, optional
        For the built-in methods, 4 by default; a network has its own.
    bands : list of str, optional
        Names; by default those of the model, or all of the source.
    block : int, optional
        LR pixels on a side of a block; by default what memory allows.
    dtype : str, optional
        Of the output: uint8, int8, uint16, int16 or float32; the source's by default.
    compression : {"deflate", "zstd", "none"}
        Of a COG; zstd is smaller and faster, but older programs cannot read it.
    precision : {"float32", "bfloat16", "auto"}
        That a network computes with.
    ensemble : bool
        Mean of eight turned and mirrored answers, and their spread as one more band.
    draws : int, optional
        Of a network with dropout: mean of so many thinned networks, 2 or more, and their spread as
        one more band; as many times the time. With `ensemble`, eight answers of each.
    consistency : bool
        Make the mean over each LR pixel equal the LR image.
    memory_mb : int
        For the blocks that all workers of a machine are working on.
    update : bool
        Of an output that is there, draw only blocks whose source shows something else since.
    restart : bool
        Begin anew, whatever was finished before.
    dry_run : bool
        Only say what would be done.
    workers : int, optional
        Threads of the embedded Dask cluster; one for each core by default.
    """

    source: str
    output: str
    model: str
    reference: str | None = None
    report: str | None = None
    aoi: str | None = None
    start: str | None = None
    end: str | None = None
    days: int | None = None
    near: str | None = None
    newest: bool = False
    max_cloud: float = 1.0
    crs: str | None = None
    balance: bool = False
    scale: int | None = None
    bands: list[str] | None = None
    block: int | None = None
    dtype: str | None = None
    compression: str = "deflate"
    precision: str = "float32"
    ensemble: bool = False
    draws: int | None = None
    consistency: bool = False
    memory_mb: int = 1500
    update: bool = False
    restart: bool = False
    dry_run: bool = False
    workers: int | None = None


@flow(name="upscale", description="Upscale a region to a Cloud-Optimized GeoTIFF or Zarr.", **HOOKS)
@stage("upscale", upscale_work.closing)
def upscale(config: UpscaleFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale upscale --json`` prints."""
    started = time.monotonic()
    _report_folder(config)
    planned = plan_region(config)
    plan, region = planned.plan, planned.region
    megapixels = plan.profile.height * plan.profile.width / 1e6
    facts = plan.summary() | {
        "model": config.model,
        "upsampler": plan.upsampler.name,
        "output_megapixels": megapixels,
        "scenes": [scene.id for scene in region.scenes],
        "refused": [
            {"scene": refusal.id, "reason": refusal.reason, "detail": refusal.detail}
            for refusal in region.refusals
        ],
    }
    if config.dry_run:
        return facts | _foreseen(planned)
    if planned.is_up_to_date:
        say(f"upscale: {config.output} is up to date: no scene has come, gone or changed")
        result = facts | {"up_to_date": True, "seconds": time.monotonic() - started}
        publish_result("upscale", result, f"Nothing to draw: {config.output} is up to date")
        if (folder := _report_folder(config)) is not None and not _is_reported(config, folder):
            result["report"] = _report(config, folder)
        return result
    say(
        f"upscale: {plan.width} x {plan.height} px to {megapixels:.1f} Mpx in "
        f"{_count(len(plan.blocks))} with {config.model}"
    )
    work = run_blocks(planned, config)
    finishing = time.monotonic()
    shares, item = finish_region(planned, config)
    seconds = time.monotonic() - started
    result = facts | {
        "up_to_date": False,
        "item": item,
        "provenance": shares,
        "blocks_done_before": work.done_before,
        "blocks_kept": work.kept,
        "seconds": seconds,
        "seconds_in_stages": work.seconds | {"finish": time.monotonic() - finishing},
        "output_megapixels_per_second": megapixels / seconds,
    }
    publish_result(
        "upscale",
        result,
        f"Drew {megapixels:.1f} Mpx with {config.model} in {seconds:.0f} s, "
        f"{_count(len(plan.blocks))}: {config.output}",
    )
    if plan.format == "cog":
        _publish_picture(config.output)
    folder = _report_folder(config)
    if folder is not None:
        result["report"] = _report(config, folder)
    return result


def _foreseen(planned: PlannedRegion) -> dict[str, Any]:
    """What a run would come to."""
    plan, earlier = planned.plan, planned.earlier
    facts = {
        "dry_run": True,
        "up_to_date": planned.is_up_to_date,
        "megabytes": round(plan.profile.pixel_bytes / 1e6, 1),
    }
    if earlier is not None:
        facts["blocks_with_other_scenes"] = len(plan.blocks) - len(earlier.untouched(plan))
    return facts


def _count(blocks: int) -> str:
    return f"{blocks} block" if blocks == 1 else f"{blocks} blocks"


def _report(config: UpscaleFlowConfig, folder: str) -> dict[str, Any]:
    """Score the output as it stands on the disk.

    Not block by block while it is drawn: tiles lie on a lattice of their own and straddle blocks,
    and reading them again costs little beside scoring them.
    """
    settings = ReportFlowConfig(
        sr=config.output,
        reference=config.reference,
        out=folder,
        restart=config.restart,
        workers=config.workers,
    )
    try:
        told = report(settings)
    except BaseException:
        against = f" {config.reference}" if config.reference else ""
        say(
            f"upscale: {config.output} is whole; go on with its report by: skyscale report "
            f"{config.output}{against} --out {folder}"
        )
        raise
    publish_way(told, Path(told["files"]["page"]), told["run_id"])
    return told


def _is_reported(config: UpscaleFlowConfig, folder: str) -> bool:
    page = Path(folder) / "report.html"
    return page.exists() and page.stat().st_mtime_ns > Path(config.output).stat().st_mtime_ns


def _publish_picture(output: str) -> None:
    from geo.pictures import encode_jpeg
    from geo.region_picture import draw_region

    picture = encode_jpeg(draw_region(output, longest_px=700))
    text = embed_picture(picture, "the region", kind="jpeg")
    publish_markdown("region", f"{text}\n\n`{output}`", title="A small picture of the region")


def _report_folder(config: UpscaleFlowConfig) -> str | None:
    """Where a report was asked for; None where none was."""
    if config.reference is None and config.report is None:
        return None
    if config.output.endswith(".zarr"):
        raise UsageError(
            f"{config.output}: a report reads a GeoTIFF, got Zarr; name the output .tif or leave "
            "out --reference and --report"
        )
    output = Path(config.output)
    return config.report or str(output.with_name(f"{output.stem}-report"))


@task(name="plan region", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def plan_region(config: UpscaleFlowConfig) -> PlannedRegion:
    """Decide everything from headers and a glance."""
    return upscale_region.plan_region(config)


@task(name="run blocks", cache_policy=NO_CACHE)
@masked
def run_blocks(planned: PlannedRegion, config: UpscaleFlowConfig) -> WorkDone:
    """Run the blocks that are not done."""
    return upscale_work.run_blocks(
        planned.plan,
        planned.request,
        earlier=planned.earlier,
        workers=config.workers,
        restart=config.restart,
        tell=progress_teller("upscale-progress", title="Blocks of the region"),
    )


@task(name="finish region", cache_policy=NO_CACHE)
@masked
def finish_region(
    planned: PlannedRegion, config: UpscaleFlowConfig
) -> tuple[list[dict[str, Any]], str | None]:
    """Complete the output and describe it: shares of scenes, and the path of its STAC item."""
    from geo.region_sidecar import write_source
    from geo.upscale import finish, provenance

    shares = provenance(planned.plan)
    tags = dict(planned.tags)
    if used := upscale_region.scenes_used(planned.region.scenes, shares):
        tags |= {
            "SKYSCALE_ITEM": ",".join(scene.id for scene in used),
            "SKYSCALE_TIME": used[0].time.isoformat(),
        }
    output = finish(planned.plan, tags, record=config.update)
    if planned.plan.format == "cog":
        write_source(planned.plan.source, output)
    item = upscale_region.write_item(planned, config, shares)
    return shares, None if item is None else str(item)
