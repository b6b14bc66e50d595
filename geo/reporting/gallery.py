"""Pictures of a report: the region small, and a chosen few tiles in full."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.class_colours import paint_map
from geo.pictures import encode_jpeg, encode_png, stretch_limits, to_rgb8
from geo.region_picture import draw_region
from geo.reporting.plan import ReportPlan
from geo.reporting.ramps import VIRIDIS, paint
from geo.reporting.segmenter import Segmenter
from geo.reporting.summary import Rows, headline_rows
from geo.reporting.tiles import TilePixels, read_tiles

_Stack = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
_Picture = npt.NDArray[np.uint8]

# Characters for all pictures of tiles together; past it, fewer tiles are shown.
BUDGET = 8_000_000
TILES_A_RANK = 6  # so 24 tiles at most
_OVERVIEW_PX = 900
_TILE_PX = 512  # of larger tiles the middle is shown
# A tile of mostly holes is neither a best nor a worst example of anything.
_MIN_SHOWN = 0.5
_MAPS = {
    "labels": "labels",
    "real": "aerial map",
    "sr": "SR map",
    "bicubic": "bicubic map",
    "other": "other map",
}


def draw_overview(plan: ReportPlan) -> dict[str, Any]:
    """A small picture of the region and where it lies on the tile lattice, in tiles."""
    picture = draw_region(plan.sr.href, plan.bands, longest_px=_OVERVIEW_PX)
    origin = plan.lattice.window(plan.cells[0], plan.lr_geobox)
    size = plan.lattice.lr_size
    return {
        "image": _jpeg(picture),
        "top": plan.cells[0].row - origin[0].start / size,
        "left": plan.cells[0].col - origin[1].start / size,
        "height": plan.lr_geobox.shape.y / size,
        "width": plan.lr_geobox.shape.x / size,
    }


def choose_tiles(rows: Rows, count: int = TILES_A_RANK) -> dict[str, Rows]:
    """Best, median and worst tiles by gain over bicubic, and the most uncertain ones.

    Where the gain is unknown, PSNR ranks, else LR consistency. No tile is shown twice: of few
    tiles, each rank gets fewer. Ranks without tiles are absent.
    """
    name, sign = next(
        (
            (name, sign)
            for name, sign in (("gain_db", 1), ("psnr_db", 1), ("lr_consistency", -1))
            if any(_known(row, name) for row in rows)
        ),
        ("valid_fraction", 1),
    )
    known = [row for row in rows if _known(row, name)]
    full = [row for row in known if _share(row) >= _MIN_SHOWN] or known
    ranked = sorted(full, key=lambda row: sign * float(row[name]))
    shares = 4 if any(_known(row, "uncertainty") for row in rows) else 3
    each = min(count, max(1, len(ranked) // shares))
    worst, rest = ranked[:each], ranked[each:]
    best, middle = rest[::-1][:each], rest[: max(0, len(rest) - each)]
    start = max(0, (len(middle) - each) // 2)
    ranks: dict[str, Rows] = {
        "best": best,
        "median": middle[start : start + each],
        "worst": worst,
    }
    shown = {row["tile"] for chosen in ranks.values() for row in chosen}
    doubtful = [r for r in rows if _known(r, "uncertainty") and r["tile"] not in shown]
    doubtful.sort(key=lambda row: -float(row["uncertainty"]))
    ranks["most uncertain"] = doubtful[:each]
    return {rank: chosen for rank, chosen in ranks.items() if chosen}


def _known(row: dict[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is not None and math.isfinite(value)


def _share(row: dict[str, Any]) -> float:
    shares = (row.get(name) for name in ("valid_fraction", "seen_fraction"))
    return next((float(share) for share in shares if share is not None), 1.0)


def draw_tiles(
    plan: ReportPlan, rows: Rows, budget: int = BUDGET, segmenter: Segmenter | None = None
) -> list[dict[str, Any]]:
    """The chosen tiles of the ground that the headline is about, with their images.

    Parameters
    ----------
    segmenter : callable, optional
        The one that the plan is for; without it there are no pictures of maps.

    Returns
    -------
    list of dict
        ``rank``, ``tile``, ``images`` (name to data URI) and ``error_dn``, the DN at the end of the
        ramp of its error pictures (None without reference).
    """
    drawn: list[dict[str, Any]] = []
    size = 0
    for rank, row in _by_turns(choose_tiles(headline_rows(rows)[1])):
        [tile] = read_tiles(plan, plan.batch_of(row["tile"]), segmenter)
        images, error_dn = draw_tile(tile, plan.bands)
        if plan.segmenter is not None:
            images |= draw_maps(tile, len(plan.segmenter.classes))
        size += sum(map(len, images.values()))
        if drawn and size > budget:
            break
        drawn.append({"rank": rank, "tile": row["tile"], "images": images, "error_dn": error_dn})
    order = {entry["rank"]: place for place, entry in reversed(list(enumerate(drawn)))}
    return sorted(drawn, key=lambda entry: order[entry["rank"]])


def _by_turns(ranks: dict[str, Rows]) -> Iterator[tuple[str, dict[str, Any]]]:
    """First of every rank, then second: where pictures are large, each rank still has some."""
    for place in range(max(map(len, ranks.values()), default=0)):
        for rank, chosen in ranks.items():
            if place < len(chosen):
                yield rank, chosen[place]


def draw_tile(tile: TilePixels, bands: tuple[str, ...]) -> tuple[dict[str, str], float | None]:
    """Images of a tile under one stretch: that of the reference, else that of SR."""
    middle = _middle(tile.sr.shape[-2:], tile.sr.shape[-1], 1)
    judged = tile.valid if tile.hr is not None and tile.valid is not None else None
    if tile.hr is not None and judged is not None and judged.any():
        limits = stretch_limits(tile.hr, judged)
    else:
        limits = stretch_limits(tile.sr, tile.seen)
    shown: dict[str, str] = {}
    if tile.lr is not None:
        # At its own size: the page shows its pixels as squares.
        scale = tile.sr.shape[-1] // tile.lr.shape[-1]
        coarse = _middle(tile.lr.shape[-2:], tile.sr.shape[-1], scale)
        shown["LR"] = _png(to_rgb8(tile.lr[coarse], limits, bands))
    for name, image in (("bicubic", tile.bicubic), ("SR", tile.sr), ("other", tile.other)):
        if image is not None:
            shown[name] = _jpeg(to_rgb8(image[middle], limits, bands))
    if tile.hr is None or judged is None:
        return shown, None
    shown["aerial"] = _jpeg(to_rgb8(tile.hr[middle], limits, bands, judged[middle]))
    if not judged.any():
        return shown, None
    errors = {"SR error": _error(tile.sr, tile.hr)}
    for name, image in (("bicubic error", tile.bicubic), ("other error", tile.other)):
        if image is not None:
            errors[name] = _error(image, tile.hr)
    # One ramp for all errors of a tile, else they could not be compared.
    limit = max(float(np.percentile(error[judged], 98)) for error in errors.values())
    for name, error in errors.items():
        shown[name] = _jpeg(_ramp(error[middle] / max(limit, 1e-6), judged[middle]))
    return shown, limit


def draw_maps(tile: TilePixels, classes: int) -> dict[str, str]:
    """Images of the maps of a tile; see `geo.class_colours`."""
    middle = _middle(tile.sr.shape[-2:], tile.sr.shape[-1], 1)
    return {
        title: _png(paint_map(tile.maps[name][middle], classes))
        for name, title in _MAPS.items()
        if name in tile.maps
    }


def _middle(shape: tuple[int, ...], full_px: int, scale: int) -> tuple[Any, ...]:
    """The part of a tile that is shown, on a grid `scale` times coarser than SR's."""
    if full_px <= _TILE_PX:
        return np.s_[..., :, :]
    side = _TILE_PX // scale
    y, x = ((n - side) // 2 for n in shape)
    return np.s_[..., y : y + side, x : x + side]


def _error(image: _Stack, hr: _Stack) -> _Stack:
    """Root mean square over bands of the difference, DN [H, W]."""
    return np.asarray(np.sqrt(np.square(image - hr).mean(axis=0)), np.float32)


def _ramp(share: _Stack, valid: _Mask) -> _Picture:
    return paint(np.where(valid, share, np.nan), VIRIDIS)


def _jpeg(picture: _Picture) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture)).decode()


def _png(picture: _Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode()
