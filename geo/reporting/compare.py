"""Two models on the same tiles: differences tile by tile, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.place_draws import draw_places, interval_95
from geo.reporting.scored import Columns, ScoredTiles
from geo.reporting.tile_match import MatchedTiles, match_tiles
from geo.scores.pixels import psnr_of
from geo.scores.pooling import group_places

_Floats = npt.NDArray[np.float64]
# One number for several pooled scores: ``squared_error``, ``values``, ``hf_power_ratio``.
Merit = Callable[[Mapping[str, float]], float]

# Scores whose mean over tiles is compared, and which way is better.
BETTER = {
    "ssim": "higher",
    "cpsnr_db": "higher",
    "sam_deg": "lower",
    "ergas": "lower",
    "lr_consistency": "lower",
    "detail": "nearer 1",
    "improvement": "higher",
    "omission": "lower",
    "hallucination": "lower",
    "lpips": "lower",
    "fcn_mean_iou": "higher",
    "fcn_same_mean_iou": "higher",
}
_LISTED = 20  # names of tiles that were left out, beside their number


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two reports compared.

    Parameters
    ----------
    summary : dict
        Numbers, ready for JSON; see `compare`.
    matched : MatchedTiles
        All tiles that are in both, of any split.
    """

    summary: dict[str, Any]
    matched: MatchedTiles


def compare(a: ScoredTiles, b: ScoredTiles, *, merit: Merit | None = None) -> Comparison:
    """Compare A with B, tile by tile; every difference is A less B.

    Held-out test ground alone is compared where a report knows of it.

    Parameters
    ----------
    a, b : ScoredTiles
    merit : callable, optional
        A number to choose by, of pooled scores; its difference is told as well.

    Returns
    -------
    Comparison
        Its summary holds ``scope`` (``test`` or ``all``), ``tiles``, ``only_in_a``,
        ``only_in_b`` and ``other_pixels`` (how many, and the first names in ``left_out``);
        ``psnr_db`` (pooled) with ``a``, ``b``, ``difference`` and its 95 % ``interval`` over
        ``places`` of ``place_tiles`` tiles a side, None where there are fewer than two of them;
        ``bicubic_psnr_db`` of both, which should agree; ``share_a_worse``, ``share_equal``;
        ``hf_power_ratio`` and ``merit_db`` likewise; ``correctness``, improvement's part of
        improvement and hallucination, with ``bicubic``'s; ``scores``, means over the tiles that
        have them; ``by_category``; ``verdict``: ``better``, ``worse`` or ``undecided`` by PSNR.

    Raises
    ------
    ReportError
        If they cannot be compared; see `match_tiles`.
    """
    matched = match_tiles(a, b)
    scope, chosen = _scope(matched)
    pair = _Pair(matched, chosen, a.data_range)
    psnr = pair.psnr()
    summary = {
        "a": a.name,
        "b": b.name,
        "scope": scope,
        "tiles": pair.scored,
        "only_in_a": len(matched.only_a),
        "only_in_b": len(matched.only_b),
        "other_pixels": len(matched.other_pixels),
        "left_out": {
            name: getattr(matched, name)[:_LISTED] for name in ("only_a", "only_b", "other_pixels")
        },
        "places": len(set(pair.places)),
        "place_tiles": pair.side,
        "data_range": a.data_range,
        "psnr_db": psnr,
        "bicubic_psnr_db": pair.bicubic(),
        **pair.shares(),
        "hf_power_ratio": pair.detail(),
        "correctness": pair.correctness(),
        "merit_db": None if merit is None else pair.merit(merit),
        "scores": pair.means(),
        "by_category": _by_category(matched, chosen, a.data_range),
        "verdict": verdict(psnr),
    }
    return Comparison(summary=summary, matched=matched)


def verdict(difference: Mapping[str, Any] | None) -> str:
    """Which way an interval lies: ``better``, ``worse``, or ``undecided`` where it holds 0."""
    interval = None if difference is None else difference["interval"]
    if interval is None:
        return "undecided"
    low, high = interval
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def _scope(matched: MatchedTiles) -> tuple[str, npt.NDArray[np.intp]]:
    """Tiles to compare: what every report that knows of splits calls test ground."""
    none = np.full(len(matched.a["tile"]), None, object)
    splits = [side.get("split", none) for side in (matched.a, matched.b)]
    known = [split for split in splits if any(name is not None for name in split)]
    if not known:
        return "all", np.arange(len(none))
    test = np.flatnonzero(np.all([split == "test" for split in known], axis=0))
    return ("test", test) if len(test) else ("all", np.arange(len(none)))


def _by_category(
    matched: MatchedTiles, chosen: npt.NDArray[np.intp], data_range: float
) -> dict[str, dict[str, Any]]:
    names = matched.a.get("category", np.full(len(matched.a["tile"]), None, object))[chosen]
    found = {}
    for name in sorted({str(n) for n in names if n is not None}):
        pair = _Pair(matched, chosen[names == name], data_range)
        found[name] = {"tiles": pair.scored, "psnr_db": pair.psnr(), **pair.shares()}
    return found


class _Pair:
    """The arithmetic on tiles that are in both."""

    def __init__(
        self, matched: MatchedTiles, chosen: npt.NDArray[np.intp], data_range: float
    ) -> None:
        self._a, self._b = (
            {name: column[chosen] for name, column in side.items()}
            for side in (matched.a, matched.b)
        )
        self._data_range = data_range
        lattices = self._a.get("crs", np.full(len(chosen), "", object))
        cells = zip(lattices, self._a["row"], self._a["col"], strict=True)
        self.side, self.places = group_places(
            [(str(x), int(row), int(col)) for x, row, col in cells]
        )
        values = _of(self._a, "values")
        errors = [_of(side, "squared_error") for side in (self._a, self._b)]
        self._counted = np.flatnonzero(
            np.isfinite(errors[0]) & np.isfinite(errors[1]) & (values > 0)
        )

    @property
    def scored(self) -> int:
        """Tiles with a reference in both."""
        return len(self._counted)

    def psnr(self) -> dict[str, Any] | None:
        """Pooled PSNR."""
        return self._pooled("squared_error")

    def bicubic(self) -> dict[str, Any] | None:
        """Bicubic's, which no model has a part in."""
        return self._pooled("bicubic_squared_error")

    def _pooled(self, name: str) -> dict[str, Any] | None:
        errors = [_of(side, name)[self._counted] for side in (self._a, self._b)]
        if not self.scored or not np.isfinite(errors).all():
            return None
        count = round(math.fsum(_of(self._a, "values")[self._counted]))
        a, b = (psnr_of(math.fsum(error), count, self._data_range) for error in errors)
        drawn = self._draw(errors, self._counted)
        return _difference(a, b, None if drawn is None else _gain_db(drawn[:, 0], drawn[:, 1]))

    def shares(self) -> dict[str, float | None]:
        """On how many of the tiles A is worse, and on how many it is the same."""
        if not self.scored:
            return {"share_a_worse": None, "share_equal": None}
        a, b = (_of(side, "squared_error")[self._counted] for side in (self._a, self._b))
        return {"share_a_worse": float(np.mean(a > b)), "share_equal": float(np.mean(a == b))}

    def means(self) -> dict[str, dict[str, Any]]:
        """Mean of each score over the tiles where both have it, bicubic's beside."""
        found = {}
        for name, better in BETTER.items():
            a, b = _of(self._a, name), _of(self._b, name)
            there = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
            if not len(there):
                continue
            drawn = self._draw([a[there] - b[there], np.ones(len(there))], there)
            plain = _of(self._a, f"bicubic_{name}")[there]
            plain = plain[np.isfinite(plain)]
            found[name] = {
                **_difference(
                    float(a[there].mean()),
                    float(b[there].mean()),
                    None if drawn is None else drawn[:, 0] / drawn[:, 1],
                ),
                "bicubic": float(plain.mean()) if len(plain) else None,
                "better": better,
                "tiles": len(there),
            }
        return found

    def detail(self) -> dict[str, Any] | None:
        """Power of fine detail against the reference's, pooled; NaN tiles (holes) left out."""
        sums = self._detail_sums()
        if sums is None:
            return None
        a, b, real = sums.sum(axis=0)
        drawn = self._draw(list(sums.T), np.arange(len(sums)))
        shown = None if drawn is None else (drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]
        return {**_difference(a / real, b / real, shown), "better": "nearer 1"}

    def _detail_sums(self) -> _Floats | None:
        """Power of A, B and reality by tile, 0 where one of them is unknown, [tiles, 3]."""
        sums = np.stack(
            [_of(self._a, "hf_power"), _of(self._b, "hf_power"), _of(self._a, "real_hf_power")], 1
        )
        sums[~np.isfinite(sums).all(axis=1)] = 0
        return sums if sums[:, 2].sum() > 0 else None

    def correctness(self) -> dict[str, Any] | None:
        """Improvement's part of improvement and hallucination, each summed over the tiles."""
        parts = ("improvement", "hallucination")
        columns = [_of(side, name) for side in (self._a, self._b) for name in parts]
        plain = [_of(self._a, f"bicubic_{name}") for name in parts]
        there = np.flatnonzero(np.isfinite(columns).all(axis=0))
        if not len(there):
            return None
        a, b = _parts(np.array([[column[there].sum() for column in columns]]))
        drawn = self._draw([column[there] for column in columns], there)
        known = there[np.isfinite(plain)[:, there].all(axis=0)]
        right, wrong = (float(column[known].sum()) for column in plain)
        return {
            **_difference(a[0], b[0], None if drawn is None else np.subtract(*_parts(drawn))),
            "bicubic": right / (right + wrong) if right + wrong > 0 else None,
            "better": "higher",
            "tiles": len(there),
        }

    def merit(self, merit: Merit) -> dict[str, Any] | None:
        """Difference of a number of pooled scores."""
        if not self.scored:
            return None
        detail = self._detail_sums()
        columns = [_of(side, "squared_error")[self._counted] for side in (self._a, self._b)]
        columns.append(_of(self._a, "values")[self._counted])
        if detail is not None:
            columns += list(detail[self._counted].T)

        def of(sums: _Floats, which: int) -> float:
            scores = {"squared_error": sums[which], "values": sums[2]}
            if len(sums) > 3:
                if sums[5] <= 0:  # a draw of tiles with holes alone
                    return math.nan
                scores["hf_power_ratio"] = sums[3 + which] / sums[5]
            return float(merit({name: float(value) for name, value in scores.items()}))

        def gain(sums: _Floats) -> float:
            # What is the same stays the same, also where its merit is infinite or unknown.
            same = sums[0] == sums[1] and (len(sums) < 4 or sums[3] == sums[4])
            return 0.0 if same else of(sums, 0) - of(sums, 1)

        whole = np.array([math.fsum(column) for column in columns])
        drawn = self._draw(columns, self._counted)
        told = _difference(
            of(whole, 0),
            of(whole, 1),
            None if drawn is None else np.array([gain(sums) for sums in drawn]),
        )
        return {**told, "difference": gain(whole)}

    def _draw(self, columns: list[_Floats], rows: npt.NDArray[np.intp]) -> _Floats | None:
        return draw_places(np.stack(columns, axis=1), [self.places[row] for row in rows])


def _of(side: Columns, name: str) -> _Floats:
    """A column of numbers; NaN where there is none."""
    if name not in side:
        return np.full(len(side["tile"]), np.nan)
    return np.asarray(side[name], np.float64)


def _gain_db(a: _Floats, b: _Floats) -> _Floats:
    """How much less error A has than B, in dB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == b, 0.0, 10 * np.log10(b / a))


def _parts(sums: _Floats) -> tuple[_Floats, _Floats]:
    """First of first and second, of A and of B; of sums [n, 4]."""
    with np.errstate(invalid="ignore"):
        return sums[:, 0] / (sums[:, 0] + sums[:, 1]), sums[:, 2] / (sums[:, 2] + sums[:, 3])


def _difference(a: float, b: float, drawn: _Floats | None) -> dict[str, Any]:
    return {
        "a": float(a),
        "b": float(b),
        "difference": 0.0 if a == b else float(a - b),
        "interval": None if drawn is None else interval_95(drawn),
    }
