"""Scene pairs go through the workers: aligned ahead, cut in blocks, committed from one place.

While the blocks of one scene pair are cut, the next ones are aligned already, so that no worker
waits. What is stored depends neither on the number of workers nor on who is faster: a block is a
pure function of its scenes, and rows are ordered by identity, not by arrival.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.ingest_books import DateBook, ShiftBook, alignment_of_row, decided_scenes
from flows.ingest_progress import IngestProgress
from flows.ingest_work import Block, align, borrow, cut, result_of
from flows.progress import Pace
from geo.errors import GeoError

if TYPE_CHECKING:
    from geo.alignment import Alignment
    from geo.decisions import PairingRules
    from geo.landcover import LandCover
    from geo.match import Candidate
    from geo.pairing import ScenePair
    from geo.pairstore.rows import Row
    from geo.pairstore.store import PairStore

# Rows committed at once: few versions, little to do again after a crash.
_ROWS_A_COMMIT = 1024
# Pieces of work for each thread: while rows are committed here, the workers have enough to do.
_AHEAD = 3
# Where the error of an alignment stands among those of blocks, which count from 0.
_ALIGNMENT = -1
# Blocks of one piece of work, at most: while one is written, the next is cut.
_MOST_BLOCKS = 4
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
    jobs: deque[list[Block]] = field(default_factory=deque)
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
    tell : callable, optional
        Told how far the work is, see `flows.artifacts.progress_teller`.
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
        tell: Callable[[Pace], None] | None = None,
    ) -> None:
        from distributed import as_completed

        self._client, self._store, self._rules = client, store, rules
        self._run_name = run_name
        self._landcover = None if landcover is None else client.scatter(landcover, broadcast=True)
        self._dates = DateBook(store, candidates, rules, dates_per_chip)
        self._shifts = ShiftBook(candidates, borrow=borrow_shift)
        self._work = [_Work(outcome=Outcome(candidate=candidate)) for candidate in candidates]
        for index, row in decided_scenes(store, candidates, self._dates).items():
            alignment = alignment_of_row(row)
            if self._shifts.is_final(alignment):
                self._work[index].outcome.state = "known"
                self._work[index].stage = "finished"
                self._shifts.add(index, alignment)
        self._flight = as_completed()
        self._doing: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._threads = max(1, sum(client.nthreads().values()))
        self._next = 0
        self._busy: list[int] = []  # aligning, borrowing or cutting, best first
        self._ready: deque[int] = deque()  # those that may have become able to go on
        self._rows: list[Row] = []
        done = [work.stage == "finished" for work in self._work]
        self._progress = IngestProgress([c.ground for c in candidates], done, tell)

    def __iter__(self) -> Iterator[Outcome]:
        """Outcomes in the order of the candidates; rows may still wait for `flush`."""
        for work in self._work:
            while work.stage != "finished":
                self._fill()
                future = next(self._flight)
                index, blocks = self._doing.pop(future.key)
                self._take(index, blocks, result_of(future))
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
                blocks = jobs.popleft()
                numbers = tuple(number for number, _ in blocks)
                self._submit(index, numbers, cut, blocks, self._landcover)
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
        self._submit(index, (), align, candidate, self._rules, dtype)
        return True

    def _begin(self, index: int, stage: str) -> None:
        self._work[index].stage = stage
        insort(self._busy, index)

    def _submit(self, index: int, blocks: tuple[int, ...], work: Any, *arguments: Any) -> None:
        """Give a worker the alignment of a scene pair, or some of its blocks."""
        # What comes first in the list is worked on first.
        future = self._client.submit(
            work, *arguments, pure=False, retries=_RETRIES, priority=-index
        )
        self._doing[future.key] = (index, blocks)
        self._flight.add(future)

    def _take(self, index: int, blocks: tuple[int, ...], result: Any) -> None:
        """Note what a worker brings, and see who can go on."""
        if not blocks:
            self._take_alignment(index, self._work[index], result)
        elif isinstance(result, GeoError):  # nobody foresaw it, so it stopped all of them
            self._take_blocks(index, self._work[index], [(n, result) for n in blocks])
        else:
            self._take_blocks(index, self._work[index], result)
        while self._ready:
            self._go_on(self._ready.popleft())
        if len(self._rows) >= _ROWS_A_COMMIT:
            self.flush()

    def _take_alignment(self, index: int, work: _Work, result: Any) -> None:
        if isinstance(result, GeoError):
            work.errors[_ALIGNMENT] = result
        else:
            work.pair, work.outcome.alignment = result
        self._busy.remove(index)
        borrowed = work.stage == "borrowing"
        work.stage = "aligned"
        self._ready.append(index)
        if not borrowed:
            self._ready.extend(self._shifts.add(index, work.outcome.alignment))

    def _take_blocks(
        self, index: int, work: _Work, result: Sequence[tuple[int, list[Row] | GeoError]]
    ) -> None:
        for number, rows in result:
            if isinstance(rows, GeoError):
                work.errors[number] = rows
                continue
            self._rows += rows
            self._dates.add(index, rows)
            work.outcome.counts.update(row.get("reason") or "pairs" for row in rows)
        work.blocks_done += len(result)
        self._progress.blocks_done(index, work.blocks_done / work.blocks, work.chips)
        if work.blocks_done == work.blocks:
            self._finish(index)

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
                self._submit(index, (), borrow, work.pair, alignment, neighbours, self._rules)
        elif not alignment.accepted:
            self._finish(index)
        elif all(self._work[other].stage == "finished" for other in self._dates.better(index)):
            self._plan_blocks(index, work, work.pair, alignment)
            if not work.blocks:
                self._finish(index)

    def _plan_blocks(self, index: int, work: _Work, pair: ScenePair, alignment: Alignment) -> None:
        from geo.chips import blocks_of
        from geo.pairblock import BlockJob
        from geo.pairing import unknown_cells

        self._begin(index, "cutting")
        satellite, aerial = pair.candidate.satellite.id, pair.candidate.aerial.id
        known = self._store.known(self._rules.digest, satellite, aerial)
        cells = unknown_cells(pair, self._rules, known)
        wanted = self._dates.wanted(index, cells, str(pair.geobox.crs))
        if left_out := len(cells) - len(wanted):
            work.outcome.counts["enough_dates"] = left_out
        jobs = [
            BlockJob(
                pair=pair,
                alignment=alignment,
                rules=self._rules,
                cells=tuple(block),
                store=self._store.url,
                split_rule=self._store.config.split,
                landcover=None,
                run_name=self._run_name,
            )
            for block in blocks_of(wanted)
        ]
        size = min(_MOST_BLOCKS, max(1, len(jobs) // (2 * self._threads)))  # some for everybody
        numbered = list(enumerate(jobs))
        work.jobs.extend(numbered[i : i + size] for i in range(0, len(jobs), size))
        work.blocks, work.chips = len(jobs), len(wanted)

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
