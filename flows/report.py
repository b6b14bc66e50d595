"""Flow `report`: an upscaled region and, where there is any, its truth in; scores on a map out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import report_log, report_work, tracking
from flows.artifacts import progress_teller
from flows.forms import form
from flows.notices import HOOKS
from flows.report_artifacts import publish_report
from flows.report_sources import find_references, find_satellite, time_of
from flows.report_work import Scored
from flows.stage import masked, stage
from flows.transient import TRIED_AGAIN
from flows.work_key import work_key

if TYPE_CHECKING:
    from geo.reporting.plan import ReportPlan


@form
@dataclass(frozen=True, kw_only=True)
class ReportFlowConfig:
    """Which region is scored, by what, and where the report goes.

    Parameters
    ----------
    sr : str
        The upscaled raster that is scored.
    out : str
        Folder of the report.
    reference : str, optional
        Aerial raster, STAC item, collection, API or folder: each tile is judged by the scene
        nearest in time of those that show it. Without it, only what needs no truth is scored.
    lr : str, optional
        Satellite raster or STAC item that it was made from; by default what its tags name.
    other : str, optional
        The same region upscaled by another model, judged beside it.
    store : str, optional
        Pair store: tiles lie on its lattice, and the headline numbers are of its test ground.
    landcover : str, optional
        GeoJSON of polygons with the property ``category``.
    lpips : str, optional
        File of LPIPS weights; without it there is no LPIPS.
    segmenter : str, optional
        Network that makes maps of the images, to see whether SR serves as well as the real one:
        models:/NAME@ALIAS, runs:/ID/segmenter, a folder with segmenter.json, or an ONNX file.
    labels : str, optional
        What those maps are held against beside the map of the real image: GeoJSON of polygons with
        the property ``category``, or a label raster.
    tile : int
        LR pixels on a side of a tile, where there is no store.
    block_px : int, optional
        Edge in HR pixels of the blocks that `sr` was computed in, for the seam score; by default
        what its tags say.
    run_id : str, optional
        MLflow run to log to; a new one by default.
    restart : bool
        Begin anew, whatever was scored before.
    workers : int, optional
        Threads of the embedded Dask cluster; one for each core by default.
    """

    sr: str
    out: str
    reference: str | None = None
    lr: str | None = None
    other: str | None = None
    store: str | None = None
    landcover: str | None = None
    lpips: str | None = None
    segmenter: str | None = None
    labels: str | None = None
    tile: int = 32
    block_px: int | None = None
    run_id: str | None = None
    restart: bool = False
    workers: int | None = None


@flow(name="report", description="Score every tile against aerial reference and bicubic.", **HOOKS)
@stage("report", report_work.closing)
def report(config: ReportFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``summary.json`` holds."""
    from geo.reporting.table import write_report

    maps = report_work.find_maps(config.segmenter, config.labels)
    plan = plan_tiles(config, maps)
    scored = score_tiles(plan, config, maps)
    summary, files = write_report(
        plan,
        scored.rows,
        Path(config.out),
        seams=scored.seams,
        segmenter=None if maps is None else report_work.load_maps(maps),
    )
    scored.kept.remove()
    run_id = config.run_id or tracking.start_run(
        f"report {Path(config.sr).name}",
        {"stage": "report"},
        {"sr": config.sr},
        work=work_key("report", config),
    )
    log_report(run_id, summary, files, config.store)
    if not config.run_id:
        tracking.end_run(run_id)
    publish_report(summary, files, run_id)
    return {
        **summary,
        "run_id": run_id,
        "tiles_scored_before": scored.done_before,
        "files": {name: str(path) for name, path in files.items()},
    }


@task(name="plan tiles", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def plan_tiles(config: ReportFlowConfig, maps: str | None = None) -> ReportPlan:
    """Find the scenes, register and harmonise each reference once, lay out the tiles.

    Parameters
    ----------
    maps : str, optional
        Where `config.segmenter` is on this machine.
    """
    from geo.labels import open_labels
    from geo.landcover import LandCover
    from geo.pairstore.store import PairStore
    from geo.raster_io import inspect_raster
    from geo.reporting.plan import UNCERTAINTY, Drawn, plan_report
    from geo.reporting.segmenter import SegmenterFacts

    report_work.check_lpips(config.lpips)
    info = inspect_raster(config.sr)
    bands = tuple(name for name in info.bands if name != UNCERTAINTY)
    store = PairStore.open(config.store) if config.store else None
    lr = find_satellite(config.lr, info, bands)
    time = time_of(info) or (lr.time if lr else None)
    references, refused = find_references(config.reference, info, bands, time)
    with report_work.mapper(len(references), config.workers) as run:
        plan = plan_report(
            Drawn.of(info),
            references,
            lr=lr,
            other=Drawn.of(inspect_raster(config.other)) if config.other else None,
            tile_lr=store.config.lr_size if store else config.tile,
            data_range=store.config.data_range if store else None,
            block_px=config.block_px,
            split_rule=store.config.split if store else None,
            landcover=LandCover.read(config.landcover) if config.landcover else None,
            store_version=str(store.version) if store else None,
            refused=refused,
            segmenter=None if maps is None else SegmenterFacts.of(report_work.load_maps(maps)),
            labels=open_labels(config.labels) if config.labels else None,
            run=run,
        )
    report_work.tell_plan(plan)
    return plan


@task(name="score tiles", cache_policy=NO_CACHE)
@masked
def score_tiles(plan: ReportPlan, config: ReportFlowConfig, maps: str | None = None) -> Scored:
    """Score the tiles that are not scored yet, and the edges of blocks."""
    return report_work.score_tiles(
        plan,
        Path(config.out),
        lpips=config.lpips,
        segmenter=maps,
        restart=config.restart,
        workers=config.workers,
        tell=progress_teller("report-progress", title="Tiles of the report"),
    )


@task(name="log report", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def log_report(
    run_id: str, summary: dict[str, Any], files: dict[str, Path], store: str | None = None
) -> None:
    """Log scores, files, data and links to MLflow."""
    report_log.log_report(run_id, summary, files, store=store)
