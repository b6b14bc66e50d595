"""Many tiles in a few honest numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from geo.reporting.plan import ReportPlan
from geo.scoring import bootstrap_interval, psnr_of

Rows = Sequence[dict[str, Any]]

# Sides of a place in tiles, and how many places an interval should rest on. Neighbouring tiles
# resemble each other: drawn one by one they make the interval about half too narrow (measured on
# 529 tiles), so the widest places of which there are enough are drawn.
_PLACE_SIDES = (8, 4, 2, 1)
_MIN_PLACES = 10
# A tile of mostly holes is neither a best nor a worst example of anything.
_MIN_SHOWN = 0.5


def summarise(rows: Rows, plan: ReportPlan) -> dict[str, Any]:
    """What ``summary.json`` holds.

    The headline pools the tiles of held-out test ground where a split rule is known, else all.
    """
    scope, chosen = headline_rows(rows)
    summary = {
        "scope": scope,
        **pool(chosen, plan.data_range),
        "data_range": plan.data_range,
        "crop_px": 0,
        "mask": "SR, reference and satellite scene valid; no cloud",
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
    gains = [row["gain_db"] for row in compared]
    finite = [gain for gain in gains if math.isfinite(gain)]
    side, places = _places(compared)
    interval = bootstrap_interval(
        [row["squared_error"] for row in compared],
        [row["bicubic_squared_error"] for row in compared],
        places=places,
    )
    return {
        "tiles": len(scored),
        "psnr_db": mine,
        "bicubic_psnr_db": plain,
        "gain_db": _difference(mine, plain),
        "gain_db_interval": interval,
        "interval_places": len(set(places)),
        "interval_place_tiles": side,
        "mean_psnr_db": _mean(scored, "psnr_db"),
        "mean_bicubic_psnr_db": _mean(compared, "bicubic_psnr_db"),
        "mean_gain_db": float(np.mean(finite)) if finite else None,
        "median_gain_db": float(np.median(finite)) if finite else None,
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
                "bicubic_sam_deg",
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
    if summary["gain_db_interval"] is not None:
        side = summary["interval_place_tiles"]
        told.append(
            f"Interval of the gain: 95 % of bootstrap draws of {summary['interval_places']} places "
            f"of {side} x {side} tiles, because neighbouring tiles resemble each other. It says "
            "nothing about other regions or dates."
        )
    if summary["scope"] == "test":
        told.insert(
            0,
            "Headline numbers are of held-out test ground only: no chip of it, nor of "
            "a rim around it, was trained on.",
        )
    elif plan.split_rule is not None:
        told.insert(
            0,
            "None of these tiles is held-out test ground: the generator may have been trained on "
            "them, so the numbers flatter it.",
        )
    if plan.lr is None:
        told.append("No LR raster was given: bicubic and LR consistency are unknown.")
    return told


def _by(rows: Rows, key: str, data_range: float) -> dict[str, dict[str, Any]]:
    names = sorted({str(row[key]) for row in rows if row[key] is not None})
    return {n: pool([r for r in rows if str(r[key]) == n], data_range) for n in names}


def _places(rows: Rows) -> tuple[int, list[tuple[int, int]]]:
    """Side of a place in tiles, and the place of each row."""
    for side in _PLACE_SIDES:
        places = [(row["row"] // side, row["col"] // side) for row in rows]
        if len(set(places)) >= _MIN_PLACES:
            break
    return side, places


def _pooled(rows: Rows, key: str, data_range: float) -> float | None:
    if not rows:
        return None
    count = int(sum(row["values"] for row in rows))
    return psnr_of(math.fsum(row[key] for row in rows), count, data_range)


def _mean(rows: Rows, key: str) -> float | None:
    values = [row[key] for row in rows if _finite(row[key])]
    return float(np.mean(values)) if values else None


def _difference(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 0.0 if a == b == math.inf else a - b


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def rank_tiles(rows: Rows, count: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Best, median and worst tiles by gain over bicubic (by PSNR where that is unknown).

    No tile is shown twice: of few tiles, each rank gets fewer.
    """
    name = "psnr_db" if all(row["gain_db"] is None for row in rows) else "gain_db"
    known = [row for row in rows if _finite(row[name])]
    full = [row for row in known if row["valid_fraction"] >= _MIN_SHOWN] or known
    ranked = sorted(full, key=lambda row: float(row[name]))
    count = min(count, max(1, len(ranked) // 3))
    worst, rest = ranked[:count], ranked[count:]
    best, middle = rest[::-1][:count], rest[: max(0, len(rest) - count)]
    start = (len(middle) - count) // 2
    return {"best": best, "median": middle[max(0, start) : start + count], "worst": worst}
