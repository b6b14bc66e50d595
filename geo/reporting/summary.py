"""Many tiles in a few honest numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from geo.reporting.plan import ReportPlan
from geo.scoring import bootstrap_interval, psnr_of

Rows = Sequence[dict[str, Any]]


def summarise(rows: Rows, plan: ReportPlan) -> dict[str, Any]:
    """What ``summary.json`` holds.

    The headline pools the tiles of held-out test ground where a split rule is known, else all.
    """
    scope, chosen = headline_rows(rows)
    summary = {
        "scope": scope,
        **pool(chosen, plan.data_range),
        "data_range": plan.data_range,
        "scale": plan.scale,
        "bands": list(plan.bands),
        "model": plan.model,
        "reference": plan.reference_id,
        "gap_days": plan.gap_days,
        "tiles_all": len(rows),
        "tiles_without_reference": sum(row["psnr_db"] is None for row in rows),
        "alignment": plan.alignment.to_dict(),
        "by_split": _by(rows, "split", plan.data_range),
        "by_category": _by(chosen, "category", plan.data_range),
    }
    summary["notes"] = notes(summary, plan)
    return summary


def headline_rows(rows: Rows) -> tuple[str, Rows]:
    """Tiles that the headline is about, and what they are called."""
    test = [row for row in rows if row["split"] == "test"]
    return ("test", test) if test else ("all", rows)


def pool(rows: Rows, data_range: float) -> dict[str, Any]:
    """Pooled and mean scores; identical tiles are infinite, so they are counted, not averaged."""
    scored = [row for row in rows if row["psnr_db"] is not None]
    compared = [row for row in scored if row["bicubic_psnr_db"] is not None]
    mine = _pooled(scored, "squared_error", data_range)
    plain = _pooled(compared, "bicubic_squared_error", data_range)
    gains = [row["gain_db"] for row in compared if _finite(row["gain_db"])]
    interval = bootstrap_interval(
        [row["squared_error"] for row in compared],
        [row["bicubic_squared_error"] for row in compared],
        places=[row["tile"] for row in compared],
    )
    return {
        "tiles": len(scored),
        "psnr_db": mine,
        "bicubic_psnr_db": plain,
        "gain_db": _difference(mine, plain),
        "gain_db_interval": interval,
        "mean_psnr_db": _mean(scored, "psnr_db"),
        "mean_bicubic_psnr_db": _mean(compared, "bicubic_psnr_db"),
        "mean_gain_db": float(np.mean(gains)) if gains else None,
        "median_gain_db": float(np.median(gains)) if gains else None,
        "share_worse": float(np.mean([g < 0 for g in gains])) if gains else None,
        "identical_tiles": sum(row["psnr_db"] == math.inf for row in scored),
        **{
            name: _mean(scored, name)
            for name in (
                "ssim",
                "bicubic_ssim",
                "cpsnr_db",
                "bicubic_cpsnr_db",
                "sam_deg",
                "lr_consistency",
                "bicubic_lr_consistency",
                "registration_residual_px",
            )
        },
    }


def notes(summary: dict[str, Any], plan: ReportPlan) -> list[str]:
    """How the numbers came about, in sentences for readers of the report."""
    shift = plan.alignment
    told = [
        f"PSNR = 20 log10(MAX) - 10 log10(MSE) over all bands, MAX = {plan.data_range:g} DN; "
        "pooled over tiles by their summed squared errors.",
        "Pixels count where SR, reference and the satellite scene are all valid (no nodata, "
        "no cloud); nothing is cropped, for SR and bicubic both saw beyond the tile.",
        f"The reference was moved by ({shift.dy_px:+.2f}, {shift.dx_px:+.2f}) LR px (down, right) "
        f"and brought to the satellite's colours by one gain and offset a band, for the whole "
        f"scene (correlation {shift.correlation:.3f}).",
        "Bicubic: Keys kernel, a = -0.5, on the same tiles under the same mask.",
        "cPSNR: best of shifts of -3 to 3 HR px with the mean difference of each band removed, "
        "cropped by 3 px; the same search for bicubic.",
        "LR consistency: RMSE between the satellite image and SR seen by its sensor (Gaussian, "
        "MTF 0.3 at Nyquist, area mean), in units of MAX; lower is better and needs no reference.",
        "PSNR prefers blur: look at the pictures and at LR consistency before you judge by it.",
    ]
    if summary["scope"] == "test":
        told.insert(
            0,
            "Headline numbers are of held-out test ground only: no chip of it, nor of "
            "a rim around it, was trained on.",
        )
    if plan.lr is None:
        told.append("No LR raster was given: bicubic and LR consistency are unknown.")
    return told


def _by(rows: Rows, key: str, data_range: float) -> dict[str, dict[str, Any]]:
    names = sorted({str(row[key]) for row in rows if row[key] is not None})
    return {n: pool([r for r in rows if str(r[key]) == n], data_range) for n in names}


def _pooled(rows: Rows, key: str, data_range: float) -> float | None:
    if not rows:
        return None
    count = int(sum(row["values"] for row in rows))
    return psnr_of(math.fsum(row[key] for row in rows), count, data_range)


def _mean(rows: Rows, key: str) -> float | None:
    values = [row[key] for row in rows if _finite(row[key])]
    return float(np.mean(values)) if values else None


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or math.isinf(b) else a - b


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def rank_tiles(rows: Rows, count: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Best, median and worst tiles by gain over bicubic (by PSNR where that is unknown)."""
    key: Callable[[dict[str, Any]], float | None] = lambda row: (  # noqa: E731 - one expression
        row["gain_db"] if row["gain_db"] is not None else row["psnr_db"]
    )
    scored = sorted((row for row in rows if _finite(key(row))), key=key)  # type: ignore[arg-type]  # none is None here
    middle = max(0, (len(scored) - count) // 2)
    return {
        "best": scored[::-1][:count],
        "median": scored[middle : middle + count],
        "worst": scored[:count],
    }
