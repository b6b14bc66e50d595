"""Looking into a store, and the shift between two rasters: commands that need no flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def describe_store(
    path: Path, *, version: int | None, rejected: bool, export_png: Path | None
) -> dict[str, Any]:
    """What ``skyscale pairs`` prints."""
    from geo.pairstore.exports import export_png as export_png_of
    from geo.pairstore.store import PairStore

    store = PairStore.open(path)
    result = store.summary(version)
    if rejected:
        wanted = ("satellite_id", "aerial_id", "row", "col", "reason", "value", "limit", "detail")
        table = store.rows(kind="rejection", version=version, columns=wanted)
        result["rejections"] = table.select(wanted).to_pylist()
    if export_png is not None:
        result["pictures"] = export_png_of(store, export_png, version=version)
    return result


def measure_shift(reference: str, target: str, *, max_shift: float) -> dict[str, Any]:
    """What ``skyscale coregister`` prints."""
    from geo.alignment import AlignRules
    from geo.coregister import RegistrationRules
    from geo.raster_shift import align_rasters

    rules = AlignRules(registration=RegistrationRules(max_shift_px=max_shift))
    alignment, metres_yx = align_rasters(reference, target, rules=rules)
    return {
        "dy_px": alignment.dy_px,
        "dx_px": alignment.dx_px,
        "dy_m": alignment.dy_px * metres_yx[0],
        "dx_m": alignment.dx_px * metres_yx[1],
        "reliability": alignment.reliability,
        "accepted": alignment.accepted,
        "reason": alignment.reason,
        "residual_px": alignment.residual_px,
        "correlation": alignment.correlation,
    }
