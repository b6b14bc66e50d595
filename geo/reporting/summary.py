"""Many tiles in a few honest numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geo.reporting.map_scores import MAP_SCORES
from geo.reporting.notes import notes
from geo.reporting.plan import ReportPlan
from geo.reporting.use import pooled_maps, summarise_use
from geo.scores import pair
from geo.scores.pixels import psnr_of
from geo.scores.pooling import bootstrap_interval, group_places

Rows = Sequence[dict[str, Any]]

# Names of scores that every image may have; sums for pooling are none.
SCORES = tuple(
    n for n in (*pair.NAMES, "lpips", *MAP_SCORES) if n not in ("squared_error", "hf_power")
)
_WHO = {"sr": "", "bicubic": "bicubic_", "other": "other_"}
# Upper ends of groups, and what they are called.
_GAPS = ((1, "up to 1 day"), (3, "1 to 3 days"), (7, "3 to 7 days"), (30, "7 to 30 days"))
_RESIDUALS = ((0.1, "up to 0.1 LR px"), (0.25, "0.1 to 0.25 LR px"), (0.5, "0.25 to 0.5 LR px"))
_BEYOND = {"gap_days": "over 30 days", "registration_residual_px": "over 0.5 LR px"}
_MEANS = ("ssim", "cpsnr_db", "sam_deg", "detail", "hallucination", "lr_consistency")


def summarise(
    rows: Rows, plan: ReportPlan, seams: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What ``summary.json`` holds.

    The headline pools the tiles of held-out test ground where a split rule is known, else all.

    Parameters
    ----------
    seams : mapping, optional
        What `geo.reporting.seams.seam_score` says.
    """
    scope, chosen = headline_rows(rows)
    data_range = plan.data_range
    use = summarise_use(chosen, plan)
    summary = {
        "scope": scope,
        **pool(chosen, data_range),
        "scores": score_table(chosen, data_range, pooled_maps(use)),
        "data_range": data_range,
        "crop_px": 0,
        "mask": _mask(plan),
        "scale": plan.scale,
        "bands": list(plan.bands),
        "model": plan.sr.model,
        "model_version": plan.sr.model_version,
        "other": plan.other and Path(plan.other.href).name,
        "other_model": plan.other and (plan.other.model_version or plan.other.model),
        "store_version": plan.store_version,
        "reference": _names([r.scene.id for r in plan.references]),
        "gap_days": _middle(chosen, "gap_days"),
        "tiles_all": len(rows),
        "tiles_without_reference": sum(row["psnr_db"] is None for row in rows),
        "tiles_seen": sum(bool(row["seen_fraction"]) for row in rows),
        "tiles_unread": sum(row["error"] is not None for row in rows),
        "alignment": _alignment(rows, plan),
        "references": _references(rows, plan),
        "references_refused": [
            {"scene": r.id, "reason": r.reason, "detail": r.detail} for r in plan.refused
        ],
        "seams": seams,
        "use": use,
        "by_split": _by(rows, "split", data_range),
        "by_category": _by(chosen, "category", data_range),
        "by_gap": _by_size(chosen, "gap_days", _GAPS, data_range),
        "by_registration_residual": _by_size(
            chosen, "registration_residual_px", _RESIDUALS, data_range
        ),
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
    side, places = group_places([("", row["row"], row["col"]) for row in compared])
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
            f"{who}{name}": _mean(rows, f"{who}{name}")
            for name in _MEANS
            for who in ("", "bicubic_")
        },
        "registration_residual_px": _mean(rows, "registration_residual_px"),
    }


def score_table(
    rows: Rows, data_range: float, maps: Mapping[tuple[str, str], float] | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Every score of every image that is known of any tile: pooled where it can be, mean, median.

    Parameters
    ----------
    maps : mapping of (score, image) to float, optional
        What `geo.reporting.use.pooled_maps` says.

    Returns
    -------
    dict
        Score to ``sr``, ``bicubic`` and ``other``, each with ``mean`` and ``median`` over tiles,
        and ``pooled`` for PSNR (by summed errors), the gain over bicubic, the detail (by summed
        powers), and the agreement of maps (by summed confusions).
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in (*SCORES, "gain_db"):
        for who, prefix in _WHO.items():
            column = f"{prefix}{name}"
            known = [row for row in rows if _finite(row.get(column))]
            if not known:
                continue
            values = [row[column] for row in known]
            told = {"mean": float(np.mean(values)), "median": float(np.median(values))}
            if name in MAP_SCORES:
                whole = (maps or {}).get((name, who))
            else:
                whole = _whole(rows, name, prefix, data_range)
            table.setdefault(name, {})[who] = (
                {"pooled": whole} if whole is not None else {}
            ) | told
    return table


def _whole(rows: Rows, name: str, prefix: str, data_range: float) -> float | None:
    """A score of all tiles as if they were one, where it has a meaning."""
    if name == "detail":
        known = [row for row in rows if _finite(row.get(f"{prefix}detail"))]
        real = math.fsum(row["real_hf_power"] for row in known)
        return math.fsum(row[f"{prefix}hf_power"] for row in known) / real if real > 0 else None
    known = [row for row in rows if row.get(f"{prefix}psnr_db") is not None]
    if name == "psnr_db":
        return _pooled(known, f"{prefix}squared_error", data_range)
    if name == "gain_db":
        both = [row for row in known if row["bicubic_psnr_db"] is not None]
        mine, plain = (
            _pooled(both, f"{who}squared_error", data_range) for who in (prefix, "bicubic_")
        )
        return _difference(mine, plain)
    return None


def _mask(plan: ReportPlan) -> str:
    other = " other model," if plan.other else ""
    if not plan.references:
        return f"SR,{other} satellite scene valid; no cloud"
    return f"SR,{other} reference and satellite scene valid; no cloud"


def _names(names: Sequence[str]) -> str | None:
    if len(names) < 2:
        return names[0] if names else None
    return f"{len(names)} aerial scenes"


def _alignment(rows: Rows, plan: ReportPlan) -> dict[str, Any] | None:
    """Of the reference that most tiles are judged by."""
    used = _tiles_of(rows)
    if not plan.references:
        return None
    first = max(plan.references, key=lambda r: used[r.scene.id])
    return first.alignment.to_dict()


def _references(rows: Rows, plan: ReportPlan) -> list[dict[str, Any]]:
    used = _tiles_of(rows)
    return [
        {
            "scene": r.scene.id,
            "gap_days": r.scene.gap_days,
            "tiles": used[r.scene.id],
            "shift_px": [r.alignment.dy_px, r.alignment.dx_px],
            "reliability": r.alignment.reliability,
            "correlation": r.alignment.correlation,
        }
        for r in plan.references
    ]


def _tiles_of(rows: Rows) -> Counter[str]:
    return Counter(row["aerial_id"] for row in rows)


def _by(rows: Rows, key: str, data_range: float) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row[key] is not None:
            groups.setdefault(str(row[key]), []).append(row)
    return _pool_groups(dict(sorted(groups.items())), data_range)


def _by_size(
    rows: Rows, key: str, steps: Sequence[tuple[float, str]], data_range: float
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {
        name: [] for name in (*(name for _, name in steps), _BEYOND[key])
    }
    for row in rows:
        if _finite(row[key]):
            name = next((name for end, name in steps if row[key] <= end), _BEYOND[key])
            groups[name].append(row)
    return _pool_groups(groups, data_range)


def _pool_groups(groups: Mapping[str, Rows], data_range: float) -> dict[str, dict[str, Any]]:
    """Pooled numbers of each group in which a tile has a reference."""
    pooled = {name: pool(chosen, data_range) for name, chosen in groups.items()}
    return {name: told for name, told in pooled.items() if told["tiles"]}


def _middle(rows: Rows, key: str) -> float | None:
    values = [row[key] for row in rows if _finite(row[key])]
    return float(np.median(values)) if values else None


def _pooled(rows: Rows, key: str, data_range: float) -> float | None:
    if not rows:
        return None
    count = int(sum(row["values"] for row in rows))
    return psnr_of(math.fsum(row[key] for row in rows), count, data_range)


def _mean(rows: Rows, key: str) -> float | None:
    values = [row[key] for row in rows if _finite(row.get(key))]
    return float(np.mean(values)) if values else None


def _difference(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 0.0 if a == b == math.inf else a - b


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
