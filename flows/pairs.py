"""Looking into a store, and the shift between two rasters: commands that need no flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def describe_store(
    path: Path, *, version: int | None, rejected: bool, export_png: Path | None
) -> dict[str, Any]:
    """What ``skyscale pairs`` prints."""
    from geo.pairstore.store import PairStore

    store = PairStore.open(path)
    result = store.summary(version)
    if rejected:
        wanted = ("satellite_id", "aerial_id", "row", "col", "reason", "value", "limit", "detail")
        table = store.rows(kind="rejection", version=version, columns=wanted)
        result["rejections"] = table.select(wanted).to_pylist()
    if export_png is not None:
        result["pictures"] = _export_png(store, export_png, version)
    return result


def _export_png(store: Any, folder: Path, version: int | None) -> int:
    """Write a strip of LR, bicubic and HR for each pair, named by where it lies."""
    from geo.hrefs import safe_name
    from geo.pictures import pair_strip

    folder.mkdir(parents=True, exist_ok=True)
    reader = store.reader(version=version)
    for index in range(len(reader)):
        [pair] = reader.read([index])
        row = reader.row(index)
        place = f"{row['split']}_{row['row']}_{row['col']}"
        # Ids are strangers' text: they may try to lead out of the folder.
        scenes = f"{safe_name(row['satellite_id'])}_{safe_name(row['aerial_id'])}"
        file = folder / f"{place}_{scenes}.png"
        file.write_bytes(pair_strip(pair.lr, pair.hr, pair.valid, bands=store.config.bands))
    return len(reader)


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
