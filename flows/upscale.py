"""Flow `upscale`: a region and a model in, a Cloud-Optimized GeoTIFF or Zarr out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import upscale_region, upscale_work
from flows.artifacts import progress_teller, publish_table
from flows.console import say
from flows.upscale_region import PlannedRegion
from flows.upscale_work import WorkDone


@dataclass(frozen=True, kw_only=True)
class UpscaleFlowConfig:
    """Parameters of the flow.

    Parameters
    ----------
    source : str
        Raster, STAC item, collection, API, GeoParquet of items or folder.
    output : str
        COG to write, or Zarr if the name ends in ``.zarr``.
    model : str
        ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID/generator``, a folder, or
        ``nearest``, ``bicubic``, ``lanczos``.
    scale : int, optional
        For the built-in methods, 4 by default; a network has its own.
    bands : list of str, optional
    aoi : str, optional
        GeoJSON file or ``west,south,east,north``.
    start, end : str, optional
        Days, for a collection; `end` is not in it.
    near : str, optional
        Day: of several scenes as clear, those near to it come first.
    max_cloud : float
        Most cloud over the area, 0 to 1, of a scene that is used.
    crs : str, optional
        Of the output, for several scenes; by default that of most of them.
    balance : bool
        Bring the colours of several scenes to those of the best one.
    block : int, optional
        LR pixels on a side of a block; by default what memory allows.
    dtype : str, optional
        Of the output; the source's by default.
    compression : str
        Of a COG: ``deflate``, ``zstd`` or ``none``.
    precision : str
        Of a network: ``float32``, ``bfloat16`` or ``auto``.
    ensemble : bool
        Mean of eight turned and mirrored answers, and their spread as one more band.
    consistency : bool
        Make the mean over each LR pixel equal the LR image.
    memory_mb : int
        For the blocks that all workers of a machine are working on.
    restart : bool
        Begin anew, whatever was finished before.
    dry_run : bool
        Only say what would be done.
    workers : int, optional
        Threads of the embedded Dask cluster.
    """

    source: str
    output: str
    model: str
    scale: int | None = None
    bands: list[str] | None = None
    aoi: str | None = None
    start: str | None = None
    end: str | None = None
    near: str | None = None
    max_cloud: float = 1.0
    crs: str | None = None
    balance: bool = False
    block: int | None = None
    dtype: str | None = None
    compression: str = "deflate"
    precision: str = "float32"
    ensemble: bool = False
    consistency: bool = False
    memory_mb: int = 1500
    restart: bool = False
    dry_run: bool = False
    workers: int | None = None


@flow(name="upscale", description="Upscale a region to a Cloud-Optimized GeoTIFF or Zarr.")
def upscale(config: UpscaleFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale upscale --json`` prints."""
    started = time.monotonic()
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
        return facts | {"dry_run": True, "megabytes": round(plan.profile.pixel_bytes / 1e6, 1)}
    say(
        f"upscale: {plan.width} x {plan.height} px to {megapixels:.1f} Mpx in "
        f"{len(plan.blocks)} blocks with {config.model}"
    )
    work = run_blocks(planned, config)
    finishing = time.monotonic()
    shares, item = finish_region(planned, config)
    seconds = time.monotonic() - started
    result = facts | {
        "item": item,
        "provenance": shares,
        "blocks_done_before": work.done_before,
        "seconds": seconds,
        "seconds_in_stages": work.seconds | {"finish": time.monotonic() - finishing},
        "output_megapixels_per_second": megapixels / seconds,
    }
    publish_table("upscale", result, title="Upscaled region")
    return result


@task(name="plan region", cache_policy=NO_CACHE)
def plan_region(config: UpscaleFlowConfig) -> PlannedRegion:
    """Decide everything from headers and a glance."""
    return upscale_region.plan_region(config)


@task(name="run blocks", cache_policy=NO_CACHE)
def run_blocks(planned: PlannedRegion, config: UpscaleFlowConfig) -> WorkDone:
    """Run the blocks that are not done."""
    return upscale_work.run_blocks(
        planned.plan,
        planned.request,
        workers=config.workers,
        restart=config.restart,
        tell=progress_teller("upscale-progress", title="Blocks of the region"),
    )


@task(name="finish region", cache_policy=NO_CACHE)
def finish_region(
    planned: PlannedRegion, config: UpscaleFlowConfig
) -> tuple[list[dict[str, Any]], str | None]:
    """Complete the output and describe it: shares of scenes, and the path of its STAC item."""
    from geo.upscale import finish, provenance

    shares = provenance(planned.plan)
    tags = dict(planned.tags)
    if used := upscale_region.scenes_used(planned.region.scenes, shares):
        tags |= {
            "SKYSCALE_ITEM": ",".join(scene.id for scene in used),
            "SKYSCALE_TIME": used[0].time.isoformat(),
        }
    finish(planned.plan, tags)
    item = upscale_region.write_item(planned, config, shares)
    return shares, None if item is None else str(item)
