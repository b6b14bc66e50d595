"""Reports of made regions: their plan and their rows, by files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from geo.catalog.footprint import lonlat_footprint
from geo.raster_io import inspect_raster
from geo.region_source import raster_source
from geo.reporting.plan import Drawn, ReportPlan, plan_report
from geo.reporting.references import AerialScene
from geo.reporting.rows import score_batch, with_outlines
from geo.reporting.satellite import SatelliteView


def aerial(path: str, name: str | None = None, gap_days: float | None = None) -> AerialScene:
    info = inspect_raster(path)
    footprint = lonlat_footprint(info.geobox, path)
    scene_id = Path(path).name if name is None else name
    return AerialScene(source=path, id=scene_id, footprint=footprint, gap_days=gap_days)


def satellite(path: str) -> SatelliteView:
    return SatelliteView(source=raster_source(path), id=Path(path).stem)


def drawn(path: str) -> Drawn:
    return Drawn.of(inspect_raster(path))


def plan_of(
    sr: str,
    reference: str | AerialScene | None = None,
    *,
    lr: str | None = None,
    other: str | None = None,
    **settings: Any,
) -> ReportPlan:
    scene = aerial(reference) if isinstance(reference, str) else reference
    return plan_report(
        drawn(sr),
        [] if scene is None else [scene],
        lr=None if lr is None else satellite(lr),
        other=None if other is None else drawn(other),
        **settings,
    )


def score(plan: ReportPlan) -> list[dict[str, Any]]:
    """Rows as workers make them, from a plan that travelled."""
    sent = pickle.loads(pickle.dumps(plan.for_workers()))
    rows = [row for batch in plan.batches() for row in score_batch(sent, batch)]
    return with_outlines(plan, rows)
