"""Which tiles of two reports are the same ground, looked at through the same mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geo.errors import ReportError
from geo.reporting.scored import Columns, ScoredTiles

# What would make two PSNRs of one tile differ without any model having a part in it.
_RULES = {
    "data_range": "data range",
    "scale": "scale",
    "bands": "bands",
    "crop_px": "pixels cropped",
    "mask": "mask",
}
# What is of the ground, not of a model.
_GROUND = ("tile", "crs", "row", "col", "geometry", "category", "split", "values")
_DEGREE_DIGITS = 6  # a tenth of a metre
# The reference is registered and harmonised once for a region, so its pixels follow the region's
# extent by a trifle: bicubic's error and the reference's detail tell. 1 % of it are 0.04 dB.
_SAME = 0.01


@dataclass(frozen=True, kw_only=True)
class MatchedTiles:
    """Tiles of two reports.

    Parameters
    ----------
    a, b : dict of str to array, [tiles]
        The tiles that are in both, in the same order.
    only_a, only_b : list of str
        Tiles that one of them has alone.
    other_pixels : list of str
        Tiles that both have, but scored on other pixels: another mask or another reference image
        after registration.
    """

    a: Columns
    b: Columns
    only_a: list[str]
    only_b: list[str]
    other_pixels: list[str]


def match_tiles(a: ScoredTiles, b: ScoredTiles) -> MatchedTiles:
    """Match by tile name, outline and reference.

    Raises
    ------
    ReportError
        If they were scored by different rules or against different references, if a tile stands
        twice in one of them, or if they share none.
    """
    refuse_other_rules(a, b)
    place_a, place_b = _places(a), _places(b)
    shared = [key for key in place_a if key in place_b]
    if not shared:
        raise ReportError(_nothing_shared(a, b, place_a, place_b))
    rows_a = np.array([place_a[key] for key in shared], np.intp)
    rows_b = np.array([place_b[key] for key in shared], np.intp)
    same = _same_pixels(a.picked(rows_a), b.picked(rows_b))
    if not same.any():
        raise ReportError(
            f"{a.name} and {b.name} share {len(shared)} tiles, but none was scored on the same "
            "pixels: bicubic's error, the reference's detail or the number of valid pixels "
            "differs; wanted reports of the same satellite image (--lr), reference and masks"
        )
    return MatchedTiles(
        a=a.picked(rows_a[same]),
        b=b.picked(rows_b[same]),
        only_a=sorted(key[0] for key in place_a if key not in place_b),
        only_b=sorted(key[0] for key in place_b if key not in place_a),
        other_pixels=sorted(str(tile) for tile in a.columns["tile"][rows_a[~same]]),
    )


def refuse_other_rules(a: ScoredTiles, b: ScoredTiles) -> None:
    """Refuse what was not scored by the same rules.

    Raises
    ------
    ReportError
        It names every rule that differs, with both values.
    """
    differing = [
        f"{label} {a.facts.get(key)!r} against {b.facts.get(key)!r}"
        for key, label in _RULES.items()
        if a.facts.get(key) != b.facts.get(key)
    ]
    if differing:
        raise ReportError(
            f"{a.name} and {b.name} cannot be compared: {'; '.join(differing)}; wanted reports "
            "made by the same rules"
        )


def side_by_side(matched: MatchedTiles) -> Columns:
    """What both are about once, and the scores of both: ``a_psnr_db``, ``b_psnr_db``."""
    shared = [name for name in _GROUND if name in matched.a]
    scores = [
        name
        for name, column in matched.a.items()
        if name not in shared and name in matched.b and column.dtype.kind == "f"
    ]
    return {name: matched.a[name] for name in shared} | {
        f"{which}_{name}": side[name]
        for name in scores
        for which, side in (("a", matched.a), ("b", matched.b))
    }


_Key = tuple[str, tuple[float, ...], str]


def _places(side: ScoredTiles) -> dict[_Key, int]:
    """Row of each tile by what it is."""
    found: dict[_Key, int] = {}
    keys = zip(side.columns["tile"], _outlines(side), _references(side), strict=True)
    for row, (tile, outline, reference) in enumerate(keys):
        key = (str(tile), outline, reference)
        if key in found:
            raise ReportError(
                f"{side.name}: tile {tile} stands twice against reference {reference!r}; wanted "
                "one row for each tile"
            )
        found[key] = row
    return found


def _outlines(side: ScoredTiles) -> list[tuple[float, ...]]:
    """Corners in lon/lat; nothing where the name alone says which tile it is."""
    if "geometry" not in side.columns:
        return [()] * len(side)
    bounds = shapely.bounds(shapely.from_wkb(side.columns["geometry"]))
    return [tuple(row) for row in (np.round(bounds, _DEGREE_DIGITS) + 0.0).tolist()]


def _references(side: ScoredTiles) -> list[str]:
    """What each tile was scored against."""
    whole = str(side.facts.get("reference") or "")
    return [whole if name is None else str(name) for name in side.text("aerial_id")]


def _nothing_shared(
    a: ScoredTiles, b: ScoredTiles, place_a: dict[_Key, int], place_b: dict[_Key, int]
) -> str:
    ground_a, ground_b = ({key[:2] for key in places} for places in (place_a, place_b))
    if ground_a & ground_b:
        references = [sorted({key[2] for key in places}) for places in (place_a, place_b)]
        told = " against ".join(", ".join(names[:4]) or "none" for names in references)
        return (
            f"{a.name} and {b.name} cannot be compared: other references for the same tiles "
            f"({told}); wanted both scored against the same aerial image"
        )
    return (
        f"{a.name} ({len(a)} tiles) and {b.name} ({len(b)} tiles) have no tile in common: other "
        "ground, or tiles of another size; wanted reports of the same region"
    )


def _same_pixels(a: Columns, b: Columns) -> npt.NDArray[np.bool_]:
    """Whether the models have met the same pixels of the same image: all else must agree."""
    same = np.ones(len(a["tile"]), np.bool_)
    for name, tolerance in (
        ("values", 0.0),
        ("real_hf_power", _SAME),
        ("bicubic_squared_error", _SAME),
    ):
        if name in a and name in b:
            same &= np.isclose(a[name], b[name], rtol=tolerance, atol=0, equal_nan=True)
    return same
