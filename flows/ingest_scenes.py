"""Scene pairs go through the workers: aligned ahead, cut in blocks, committed from one place.

While the blocks of one scene pair are cut, the next ones are aligned already, so that no worker
waits. What is stored depends neither on the number of workers nor on who is faster: a block is a
pure function of its scenes, and rows are ordered by identity, not by arrival.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flows.console import LOGGER, say
from flows.ingest_books import DateBook, ShiftBook, alignment_of_row, decided_scenes
from geo.errors import GeoError, StoreError

if TYPE_CHECKING:
    from geo.alignment import Alignment
    from geo.decisions import PairingRules
    from geo.landcover import LandCover
    from geo.match import Candidate
    from geo.pairing import BlockJob, ScenePair
    from geo.pairrow import Row
    from geo.pairstore import PairStore

# Rows committed at once: few versions, little to do again after a crash.
_ROWS_A_COMMIT = 1024
# Pieces of work for each thread: while rows are committed here, the workers have enough to do.
_AHEAD = 3
# Number of the alignment among the pieces of work of a scene pair; blocks count from 0.
_ALIGNMENT = -1
# Retries are for workers that die; what is wrong with a file comes back as a result.
_RETRIES = 2


@dataclass(kw_only=True)
class Outcome:
    """What became of a scene pair.

    Parameters
    ----------
    candidate : Candidate
    state : {"paired", "known", "refused", "failed"}
        ``failed``: a file could not be read or a block could not be cut.
    counts : Counter
        Chips: ``pairs``, each reason of refusal, and ``enough_dates`` for those left out because
        better dates of the same place are in the store.
    alignment : Alignment or None
    reason, value, limit, detail
        Of a scene pair that was refused or failed.
    """

    candidate: Candidate
    state: str = "paired"
    counts: Counter[str] = field(default_factory=Counter)
    alignment: Alignment | None = None
    reason: str | None = None
    value: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(kw_only=True)
class _Work:
    """A scene pair on its way: coming, aligning, aligned, borrowing, cutting, finished."""

    outcome: Outcome
    stage: str = "coming"
    pair: ScenePair | None = None
    jobs: deque[tuple[int, BlockJob]] = field(default_factory=deque)
    blocks: int = 0
    blocks_done: int = 0
    chips: int = 0
    errors: dict[int, GeoError] = field(default_factory=dict)  # by block; alignment is -1


class PairingLine:
    """Takes scene pairs through alignment, cutting and commit; iterate to get their outcomes.

    Parameters
    ----------
    client : distributed.Client
    store : PairStore
        Its path has to be absolute: workers may stand elsewhere.
    candidates : sequence of Candidate
        Best first. Outcomes come in this order.
    rules : PairingRules
    landcover : LandCover or None
    run_name : str
    dates_per_chip : int, optional
        Most satellite dates for each aerial chip; the first ones of `candidates` win.
    borrow_shift : bool
        Scenes with nothing to register on take the shift of their neighbours, once these are
        all aligned.
    """

    def __init__(
        self,
        client: Any,
        store: PairStore,
        candidates: Sequence[Candidate],
        rules: PairingRules,
        *,
        landcover: LandCover | None,
        run_name: str,
        dates_per_chip: int | None = None,
        borrow_shift: bool = False,
    ) -> None:
        from distributed import as_completed

        self._client, self._store, self._rules = client, store, rules
        self._run_name = run_name
        self._landcover = None if landcover is None else client.scatter(landcover, broadcast=True)
        self._dates = DateBook(store, candidates, rules, dates_per_chip)
        self._shifts = ShiftBook(candidates, borrow=borrow_shift)
        self._work = [_Work(outcome=Outcome(candidate=candidate)) for candidate in candidates]
        self._known = store.known(rules.digest)
        for index, row in decided_scenes(store, candidates, self._dates).items():
            alignment = alignment_of_row(row)
            if self._shifts.is_final(alignment):
                self._work[index].outcome.state = "known"
                self._work[index].stage = "finished"
                self._shifts.add(index, alignment)
        self._flight = as_completed()
        self._doing: dict[str, tuple[int, int]] = {}
        self._threads = max(1, sum(client.nthreads().values()))
        self._next = 0
        self._busy: list[int] = []  # aligning, borrowing or cutting, best first
        self._ready: deque[int] = deque()  # those that may have become able to go on
        self._rows: list[Row] = []
        done = [work.stage == "finished" for work in self._work]
        self._progress = _Progress(candidates, done)

    def __iter__(self) -> Iterator[Outcome]:
        """Outcomes in the order of the candidates; rows may still wait for `flush`."""
        for work in self._work:
            while work.stage != "finished":
                self._fill()
                future = next(self._flight)
                index, block = self._doing.pop(future.key)
                self._take(index, block, _result_of(future))
                future.release()
            yield work.outcome

    def flush(self) -> None:
        """Commit what waits."""
        if self._rows:
            self._store.commit(self._rows, self._run_name)
            self._rows = []

    def _fill(self) -> None:
        """Hand out work: blocks of what is aligned first, then the next scene pair to align."""
        while len(self._doing) < _AHEAD * self._threads and (
            self._cut_next() or self._align_next()
        ):
            pass

    def _cut_next(self) -> bool:
        for index in self._busy:
            if jobs := self._work[index].jobs:
                number, job = jobs.popleft()
                self._submit(index, number, _cut, job, self._landcover)
                return True
        return False

    def _align_next(self) -> bool:
        while self._next < len(self._work) and self._work[self._next].stage == "finished":
            self._next += 1
        if self._next == len(self._work) or len(self._busy) > 2 * self._threads:
            return False
        index, self._next = self._next, self._next + 1
        self._begin(index, "aligning")
        candidate, dtype = self._work[index].outcome.candidate, self._store.config.dtype
        self._submit(index, _ALIGNMENT, _align, candidate, self._rules, dtype)
        return True

    def _begin(self, index: int, stage: str) -> None:
        self._work[index].stage = stage
        insort(self._busy, index)

    def _submit(self, index: int, block: int, work: Any, *arguments: Any) -> None:
        # What comes first in the list is worked on first.
        future = self._client.submit(
            work, *arguments, pure=False, retries=_RETRIES, priority=-index
        )
        self._doing[future.key] = (index, block)
        self._flight.add(future)

    def _take(self, index: int, block: int, result: Any) -> None:
        """Note what a worker brings, and see who can go on."""
        work = self._work[index]
        if isinstance(result, GeoError):
            work.errors[block] = result
        elif block == _ALIGNMENT:
            work.pair, work.outcome.alignment = result
        else:
            self._rows += result
            self._dates.add(index, result)
            work.outcome.counts.update(row.get("reason") or "pairs" for row in result)
        if block == _ALIGNMENT:
            self._busy.remove(index)
            borrowed = work.stage == "borrowing"
            work.stage = "aligned"
            self._ready.append(index)
            if not borrowed:
                self._ready.extend(self._shifts.add(index, work.outcome.alignment))
        else:
            work.blocks_done += 1
            self._progress.block_done(index, work)
            if work.blocks_done == work.blocks:
                self._finish(index)
        while self._ready:
            self._go_on(self._ready.popleft())
        if len(self._rows) >= _ROWS_A_COMMIT:
            self.flush()

    def _go_on(self, index: int) -> None:
        """Take an aligned scene pair further, if nobody has to be waited for."""
        work, alignment = self._work[index], self._work[index].outcome.alignment
        if work.stage != "aligned":
            return
        if work.pair is None or alignment is None:
            self._finish(index)
        elif self._shifts.wants(index, alignment):
            if (neighbours := self._shifts.neighbours(index)) is not None:
                self._begin(index, "borrowing")
                self._submit(
                    index, _ALIGNMENT, _borrow, work.pair, alignment, neighbours, self._rules
                )
        elif not alignment.accepted:
            self._finish(index)
        elif all(self._work[other].stage == "finished" for other in self._dates.better(index)):
            self._plan_blocks(index, work, work.pair, alignment)
            if not work.blocks:
                self._finish(index)

    def _plan_blocks(self, index: int, work: _Work, pair: ScenePair, alignment: Alignment) -> None:
        from geo.pairing import BlockJob, blocks_of, unknown_cells

        self._begin(index, "cutting")
        cells = unknown_cells(pair, self._rules, self._known)
        wanted = self._dates.wanted(index, cells, str(pair.geobox.crs))
        if left_out := len(cells) - len(wanted):
            work.outcome.counts["enough_dates"] = left_out
        for number, block in enumerate(blocks_of(wanted)):
            job = BlockJob(
                pair=pair,
                alignment=alignment,
                rules=self._rules,
                cells=tuple(block),
                store=str(self._store.path),
                split_rule=self._store.config.split,
                landcover=None,
                run_name=self._run_name,
            )
            work.jobs.append((number, job))
        work.blocks, work.chips = len(work.jobs), len(wanted)

    def _finish(self, index: int) -> None:
        """Say in a last row that all chips are there, or why not."""
        from geo.decisions import failed_row, scenes_row

        work = self._work[index]
        outcome = work.outcome
        if work.errors:  # chips of blocks that could be read stay
            error = work.errors[min(work.errors)]
            row = failed_row(outcome.candidate, error, self._rules, self._run_name)
            outcome.state, outcome.detail = "failed", error.message
            outcome.reason = row["reason"]
        else:
            assert outcome.alignment is not None
            row = scenes_row(outcome.candidate, outcome.alignment, self._rules, self._run_name)
            row["settings_digest"] = self._dates.digest_of(index)
            if not outcome.alignment.accepted:
                outcome.state, outcome.reason = "refused", row["reason"]
        outcome.value, outcome.limit = row.get("value"), row.get("limit")
        self._rows.append(row)
        if work.stage == "cutting":
            self._busy.remove(index)
        work.stage, work.pair = "finished", None
        self._ready.extend(self._dates.waiting_for(index))
        self._progress.scenes_done(index, work.chips)


def _align(
    candidate: Candidate, rules: PairingRules, dtype: str
) -> tuple[ScenePair, Alignment] | GeoError:
    """Register and harmonise, on a worker."""
    from geo.pairing import align_pair, inspect_pair

    try:
        pair = inspect_pair(candidate, rules)
        if pair.dtype != dtype:
            raise GeoError(
                f"{candidate.satellite.id} holds {pair.dtype}; the store holds {dtype}",
                cause="other_dtype",
            )
        return pair, align_pair(pair, rules)
    except GeoError as error:
        return error


def _borrow(
    pair: ScenePair,
    refused: Alignment,
    neighbours: Sequence[tuple[Candidate, Alignment]],
    rules: PairingRules,
) -> tuple[ScenePair, Alignment] | GeoError:
    """Align by what the neighbours found, on a worker."""
    from geo.pairing import borrow_alignment

    try:
        return pair, borrow_alignment(pair, refused, neighbours, rules)
    except GeoError as error:
        return error


def _cut(job: BlockJob, landcover: LandCover | None) -> list[Row] | GeoError:
    """Cut a block into the store, on a worker."""
    from geo.pairing import pair_block

    try:
        return pair_block(replace(job, landcover=landcover))
    except StoreError:
        raise
    except GeoError as error:
        return error


def _result_of(future: Any) -> Any:
    """Result of a worker; what nobody foresaw is the failure of one scene pair, not of the run."""
    try:
        return future.result()
    except (StoreError, CancelledError):
        raise  # no scene's fault
    except Exception as error:
        LOGGER.warning("ingest: unexpected %s", type(error).__name__, exc_info=error)
        return GeoError(f"{type(error).__name__}: {error}", cause="failed")


class _Progress:
    """How far the whole run is, by ground: chips of scenes not yet looked at are unknown."""

    def __init__(self, candidates: Sequence[Candidate], known: Sequence[bool]) -> None:
        self._ground = [
            0.0 if skip else _ground_size(c) for c, skip in zip(candidates, known, strict=True)
        ]
        self._done = [0.0] * len(candidates)
        self._total = sum(self._ground) or 1.0
        self._scenes, self._chips = sum(known), 0
        self._start = self._last = time.monotonic()

    def block_done(self, index: int, work: _Work) -> None:
        self._done[index] = self._ground[index] * work.blocks_done / max(work.blocks, 1)
        self._tell(round(work.chips * work.blocks_done / max(work.blocks, 1)))

    def scenes_done(self, index: int, chips: int) -> None:
        self._done[index] = self._ground[index]
        self._scenes += 1
        self._chips += chips
        self._tell(0)

    def _tell(self, chips: int, every_s: float = 5.0) -> None:
        now = time.monotonic()
        if now - self._last < every_s:
            return
        self._last = now
        share, seconds = sum(self._done) / self._total, now - self._start
        chips += self._chips
        left = "" if share < 0.01 else f", about {_duration(seconds * (1 / share - 1))} to go"
        say(
            f"ingest: {share:.0%} of the ground, {self._scenes} of {len(self._ground)} scene "
            f"pairs, {chips} chips, {chips / seconds:.0f} a second{left}"
        )


def _ground_size(candidate: Candidate) -> float:
    """Square degrees at the equator."""
    south, north = candidate.ground.bounds[1::2]
    return float(candidate.ground.area) * max(0.01, math.cos(math.radians((south + north) / 2)))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
