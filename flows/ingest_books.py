"""Who waits for whom: the best dates of each aerial chip, and shifts borrowed from neighbours."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from geo.alignment import Alignment
from geo.borrow import may_borrow
from geo.colour_fit import ColourFit
from geo.decisions import scenes_digest
from geo.pairstore.rows import scenes_identity

if TYPE_CHECKING:
    from geo.chips import Cell
    from geo.decisions import PairingRules
    from geo.match import Candidate
    from geo.pairstore.rows import Row
    from geo.pairstore.store import PairStore

_Place = tuple[str, str, int, int]  # aerial scene, CRS, row and column on the lattice
# Rank of pairs whose satellite scene is not asked for in this run: they are there, so they count.
_FIRST = -1
_SHIFT_COLUMNS = (
    *("dy_px", "dx_px", "reliability", "residual_px", "shift_origin", "colours"),
    "cloud_fraction",
)


class DateBook:
    """Counts, for each aerial chip, the pairs of better dates.

    Parameters
    ----------
    store : PairStore
    candidates : sequence of Candidate
        Best first: the place in this list is the rank.
    rules : PairingRules
    dates_per_chip : int, optional
        Without it every date is wanted, and nobody waits for anybody.

    Notes
    -----
    A chip is left out when the store holds `dates_per_chip` pairs of it whose dates rank before
    its own. That is known once those dates are cut, whoever cuts them and whenever, so a second
    run, or one that was killed and started again, decides the same.
    """

    def __init__(
        self,
        store: PairStore,
        candidates: Sequence[Candidate],
        rules: PairingRules,
        dates_per_chip: int | None,
    ) -> None:
        self._store, self._rules, self._most = store, rules, dates_per_chip
        self._candidates = candidates
        self._ranks: dict[_Place, list[int]] = {}
        self._before: dict[int, int] = {}
        self._after: dict[int, int] = {}
        if dates_per_chip is not None:
            last: dict[str, int] = {}
            for index, candidate in enumerate(candidates):
                # Each waits for the one before it, which has waited for all others.
                if (before := last.get(candidate.aerial.id)) is not None:
                    self._before[index], self._after[before] = before, index
                last[candidate.aerial.id] = index
            self._read()

    def _read(self) -> None:
        columns = ("satellite_id", "aerial_id", "crs", "row", "col", "settings_digest")
        ranks = {(c.satellite.id, c.aerial.id): i for i, c in enumerate(self._candidates)}
        table = self._store.rows(kind="pair", columns=columns, where="derived IS NULL")
        values = (table[name].to_pylist() for name in columns)
        for satellite, aerial, crs, row, col, digest in zip(*values, strict=True):
            rank = ranks.get((satellite, aerial), _FIRST)
            # Pairs made by other settings will be decided anew before anybody asks.
            if rank == _FIRST or digest == self._rules.digest:
                self._ranks.setdefault((aerial, crs, row, col), []).append(rank)

    def better(self, index: int) -> list[int]:
        """Candidates that have to be cut before this one."""
        return [self._before[index]] if index in self._before else []

    def waiting_for(self, index: int) -> list[int]:
        """Candidates that may be cut after this one."""
        return [self._after[index]] if index in self._after else []

    def add(self, index: int, rows: Sequence[Row]) -> None:
        """Count new pairs."""
        if self._most is None:
            return
        for row in rows:
            if row["kind"] == "pair":
                place = (row["aerial_id"], row["crs"], row["row"], row["col"])
                self._ranks.setdefault(place, []).append(index)

    def wanted(self, index: int, cells: Sequence[Cell], crs: str) -> list[Cell]:
        """Cells that do not have enough pairs of better dates."""
        if self._most is None:
            return list(cells)
        aerial = self._candidates[index].aerial.id
        return [
            cell
            for cell in cells
            if sum(r < index for r in self._ranks.get((aerial, crs, cell.row, cell.col), ()))
            < self._most
        ]

    def digest_of(self, index: int) -> str:
        """Digest of all that decides which chips a scene pair gives."""
        digest = scenes_digest(self._candidates[index], self._rules)
        if self._most is None:
            return digest
        return hashlib.sha256(f"{digest} {self._most} dates".encode()).hexdigest()[:16]


def decided_scenes(
    store: PairStore, candidates: Sequence[Candidate], dates: DateBook
) -> dict[int, dict[str, Any]]:
    """Rows of the candidates that were decided by these settings, paired or refused.

    What could not be read is not among them: it is tried again.
    """
    columns = ("kind", "settings_digest", "reason", *_SHIFT_COLUMNS)
    scenes = store.rows(columns=columns, where='"row" IS NULL')
    rows = {row["identity"]: row for row in scenes.to_pylist()}
    found = {}
    for index, candidate in enumerate(candidates):
        row = rows.get(scenes_identity(candidate.satellite.id, candidate.aerial.id))
        if row is not None and row["settings_digest"] == dates.digest_of(index):
            found[index] = row
    return found


def alignment_of_row(row: dict[str, Any]) -> Alignment:
    """As much of an alignment as neighbours may borrow."""
    colours = row["colours"]
    return Alignment(
        **{name: row[name] for name in ("dy_px", "dx_px", "reliability", "residual_px")},
        accepted=row["kind"] == "scenes",
        reason=row["reason"],
        value=None,
        limit=None,
        colours=None if colours is None else ColourFit.from_dict(json.loads(colours)),
        cloud_fraction=row["cloud_fraction"],
        origin=row["shift_origin"],
    )


class ShiftBook:
    """Who has been aligned, for those that have to borrow a shift.

    A scene pair that shows nothing to register on waits until all others of its satellite scene
    are aligned, so what it borrows does not depend on who was faster. Those decided by an earlier
    run count as well.
    """

    def __init__(self, candidates: Sequence[Candidate], *, borrow: bool) -> None:
        self._candidates, self._borrow = candidates, borrow
        self._missing = Counter(c.satellite.id for c in candidates)
        self._found: dict[str, list[tuple[int, Alignment]]] = {}
        self._waiting: dict[str, list[int]] = {}
        self._asked: set[int] = set()

    def is_final(self, alignment: Alignment) -> bool:
        """Whether an earlier decision stands: with new neighbours a borrower may do better."""
        return not (self._borrow and may_borrow(alignment))

    def add(self, index: int, alignment: Alignment | None) -> list[int]:
        """Note an alignment (None where it failed); returns who needs to wait no longer."""
        satellite = self._candidates[index].satellite.id
        self._missing[satellite] -= 1
        if alignment is not None:
            self._found.setdefault(satellite, []).append((index, alignment))
        return [] if self._missing[satellite] else self._waiting.pop(satellite, [])

    def wants(self, index: int, alignment: Alignment) -> bool:
        """Whether a scene pair should borrow and has not tried."""
        return self._borrow and index not in self._asked and may_borrow(alignment)

    def neighbours(self, index: int) -> list[tuple[Candidate, Alignment]] | None:
        """What others of the satellite scene found, or None while some are not aligned yet."""
        satellite = self._candidates[index].satellite.id
        if self._missing[satellite]:
            self._waiting.setdefault(satellite, []).append(index)
            return None
        self._asked.add(index)
        found = sorted(self._found.get(satellite, ()), key=lambda pair: pair[0])
        return [(self._candidates[i], a) for i, a in found if a.accepted]
