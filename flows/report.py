"""Flow `report`: an upscaled region and aerial reference in, scores on a map out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import tracking
from flows.artifacts import publish_markdown
from flows.console import Progress, say
from flows.errors import UsageError
from flows.runtime import dask_client, run_all

if TYPE_CHECKING:
    from geo.catalog.scene import Mask, Scene
    from geo.raster_io import RasterInfo, Source
    from geo.reporting.plan import ReportPlan


@dataclass(frozen=True, kw_only=True)
class ReportFlowConfig:
    """Parameters of the flow.

    Parameters
    ----------
    sr : str
        The upscaled raster.
    reference : str
        Aerial raster, STAC item, or a collection: then the scene nearest in time is taken.
    out : str
        Folder to write.
    lr : str, optional
        Satellite raster or STAC item that `sr` was made from; by default the one that its tags
        name.
    store : str, optional
        Pair store: tiles lie on its lattice, and the headline numbers are of its test ground.
    landcover : str, optional
        GeoJSON of polygons with the property ``category``.
    tile : int
        LR pixels on a side of a tile, where there is no store.
    run_id : str, optional
        MLflow run to log to; a new one by default.
    workers : int, optional
        Threads of the embedded Dask cluster.
    """

    sr: str
    reference: str
    out: str
    lr: str | None = None
    store: str | None = None
    landcover: str | None = None
    tile: int = 32
    run_id: str | None = None
    workers: int | None = None


@flow(name="report", description="Score every tile against aerial reference and bicubic.")
def report(config: ReportFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``summary.json`` holds."""
    from geo.reporting.table import write_report

    plan = plan_tiles(config)
    rows = score_tiles(plan, config.workers)
    summary, files = write_report(plan, rows, Path(config.out))
    run_id = config.run_id or tracking.start_run(
        f"report {Path(config.sr).name}", {"stage": "report"}, {"sr": config.sr}
    )
    log_report(run_id, summary, files)
    if not config.run_id:
        tracking.end_run(run_id)
    publish_markdown("report", _markdown(summary), title="Scores")
    return {**summary, "files": {name: str(path) for name, path in files.items()}}


@task(name="plan tiles", cache_policy=NO_CACHE)
def plan_tiles(config: ReportFlowConfig) -> ReportPlan:
    """Find the scenes, register and harmonise the reference once, lay out the tiles."""
    from geo.landcover import LandCover
    from geo.pairstore.store import PairStore
    from geo.raster_io import inspect_raster
    from geo.reporting.plan import plan_report

    info = inspect_raster(config.sr)
    store = PairStore.open(config.store) if config.store else None
    lr, masks, lr_time = _lr(config, info)
    reference, gap_days, reference_id = _reference(
        config.reference, info, _time_of(info) or lr_time
    )
    plan = plan_report(
        config.sr,
        reference,
        lr=lr,
        masks=masks,
        tile_lr=store.config.lr_size if store else config.tile,
        data_range=store.config.data_range if store else None,
        split_rule=store.config.split if store else None,
        landcover=LandCover.read(config.landcover) if config.landcover else None,
        gap_days=gap_days,
        reference_id=reference_id,
    )
    shift = plan.alignment
    say(
        f"report: reference {reference_id} registered, shift {shift.dy_px:+.2f}, "
        f"{shift.dx_px:+.2f} LR px, reliability {shift.reliability:.2f}"
    )
    return plan


def _time_of(info: RasterInfo) -> datetime | None:
    stamp = info.tags.get("SKYSCALE_TIME")
    return datetime.fromisoformat(stamp) if stamp else None


def _reference(
    source: str, info: RasterInfo, time: datetime | None
) -> tuple[Source, float | None, str]:
    """Bands of the reference, its distance in days, its name."""
    from geo.catalog.folder import RASTER_SUFFIXES

    if Path(source).suffix.lower() in RASTER_SUFFIXES:
        return _bands_of_raster(source, info.bands), None, Path(source).name
    scene = _nearest(source, info, time)
    gap = None if time is None else abs((scene.time - time).total_seconds()) / 86400
    return scene.band_refs(info.bands), gap, scene.id


def _bands_of_raster(source: str, wanted: Sequence[str]) -> Source:
    """Bands by name where the raster has them, else all in their order."""
    from geo.raster_io import inspect_raster

    there = inspect_raster(source)
    return there.refs(wanted if set(wanted) <= set(there.bands) else None)


def _nearest(source: str, info: RasterInfo, time: datetime | None) -> Scene:
    """The scene that covers the region best and, among equals, lies nearest in time."""
    from geo.catalog.folder import lonlat_footprint
    from geo.catalog.sources import read_scenes

    scenes, _ = read_scenes(source)
    region = lonlat_footprint(info.geobox, info.href)
    covering = [(s.footprint.intersection(region).area / region.area, s) for s in scenes]
    covering = [(round(share, 2), s) for share, s in covering if share > 0]
    if not covering:
        raise UsageError(f"{source}: none of its {len(scenes)} scenes covers {info.href}")
    best = max(share for share, _ in covering)
    near = [s for share, s in covering if share >= 0.9 * best]
    if len(near) > 1 and time is None:
        listed = ", ".join(f"{s.id} ({s.time:%Y-%m-%d})" for s in near[:6])
        raise UsageError(
            f"{source}: {len(near)} scenes cover {info.href} ({listed}) and nothing says when that "
            "was taken; name one of them as the reference, or the dated LR scene by --lr"
        )
    return min(near, key=lambda s: abs((s.time - time).total_seconds()) if time else 0.0)


def _lr(
    config: ReportFlowConfig, info: RasterInfo
) -> tuple[Source | None, tuple[Mask, ...], datetime | None]:
    """LR bands, their masks and their time: as told, or as the tags of SR say."""
    from geo.catalog.folder import RASTER_SUFFIXES

    lr = config.lr or info.tags.get("SKYSCALE_SOURCE", "")
    if not lr or ("," in lr and not config.lr):
        say("report: no LR raster given, so there is no bicubic beside the scores (--lr)")
        return None, (), None
    if Path(lr).suffix.lower() in RASTER_SUFFIXES:
        if not config.lr and not Path(lr).exists():
            say(f"report: {lr}, which SR was made from, is gone; no bicubic beside the scores")
            return None, (), None
        return _bands_of_raster(lr, info.bands), (), None
    scene = _one_scene(lr)
    return scene.band_refs(info.bands), scene.masks, scene.time


def _one_scene(source: str) -> Scene:
    """The one scene of a source.

    Raises
    ------
    UsageError
        If there is none, or more than one.
    """
    from geo.catalog.sources import read_scenes

    scenes, refusals = read_scenes(source)
    if len(scenes) == 1:
        return scenes[0]
    if not scenes:
        refused = f"; refused: {refusals[0].detail}" if refusals else ""
        raise UsageError(f"{source}: no scene{refused}")
    listed = ", ".join(f"{s.id} ({s.time:%Y-%m-%d})" for s in scenes[:6])
    raise UsageError(f"{source}: {len(scenes)} scenes ({listed}); name one item")


@task(name="score tiles", cache_policy=NO_CACHE)
def score_tiles(plan: ReportPlan, workers: int | None) -> list[dict[str, Any]]:
    """Score all tiles on Dask."""
    from geo.reporting.tiles import score_batch

    progress = Progress("report", plan.tiles, "tiles")
    rows: list[dict[str, Any]] = []
    with dask_client(workers) as client:
        for scored in run_all(client, _Scorer(plan, score_batch), plan.batches()):
            rows += scored
            progress.add(len(scored))
    return sorted(rows, key=lambda row: row["tile"])


class _Scorer:
    """A picklable call of ``score_batch`` with the plan filled in."""

    def __init__(self, plan: ReportPlan, work: Any) -> None:
        self._plan, self._work = plan, work

    def __call__(self, batch: Any) -> list[dict[str, Any]]:
        return self._work(self._plan, batch)


@task(name="log report", cache_policy=NO_CACHE)
def log_report(run_id: str, summary: dict[str, Any], files: dict[str, Path]) -> None:
    """Log scores and files to MLflow."""
    names = ("psnr_db", "bicubic_psnr_db", "gain_db", "mean_gain_db", "share_worse", "tiles")
    scores = {f"report/{n}": summary[n] for n in names if summary.get(n) is not None}
    tracking.log_metrics(run_id, scores)
    for path in files.values():
        tracking.log_files(run_id, {"report": path})


def _markdown(summary: dict[str, Any]) -> str:
    """A small table of the headline numbers and the categories."""
    lines = ["| score | value |", "|---|---|"]
    for name in ("tiles", "scope", "psnr_db", "bicubic_psnr_db", "gain_db", "mean_gain_db"):
        value = summary.get(name)
        lines.append(f"| {name} | {f'{value:.3f}' if isinstance(value, float) else value} |")
    return "\n".join(lines)
