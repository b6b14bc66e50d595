"""Scenes without partners go through the workers: looked at ahead, cut in blocks, committed here.

What is stored depends neither on the number of workers nor on who is faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.ingest_alone_work import cut, look
from flows.ingest_progress import IngestProgress
from flows.progress import Pace
from flows.runtime import run_all
from geo.errors import GeoError

if TYPE_CHECKING:
    import shapely

    from flows.ingest_derive import Deriver
    from geo.catalog.scene import Scene
    from geo.colour_fit import ColourFit
    from geo.landcover import LandCover
    from geo.lone_cut import LoneJob
    from geo.lone_scene import LoneRules
    from geo.pairstore.rows import Row
    from geo.pairstore.store import PairStore

# Rows committed at once: few versions, little to do again after a crash.
_ROWS_A_COMMIT = 1024


@dataclass(kw_only=True)
class LoneOutcome:
    """What became of a scene.

    Parameters
    ----------
    scene : Scene
    side : {"lr", "hr"}
    ground : geometry
        What is wanted of it, lon/lat.
    state : {"cut", "known", "refused", "failed"}
    counts : Counter
        Chips: ``kept``, and each reason of refusal.
    reason, value, limit, detail
        Of a scene that was refused or failed.
    """

    scene: Scene
    side: str
    ground: shapely.Geometry
    state: str = "cut"
    counts: Counter[str] = field(default_factory=Counter)
    reason: str | None = None
    value: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(kw_only=True)
class _Work:
    """A scene on its way."""

    blocks: int = 0
    blocks_done: int = 0
    chips: int = 0
    error: GeoError | None = None


class LoneLine:
    """Takes scenes through looking, cutting and commit; iterate to get their outcomes.

    Parameters
    ----------
    client : distributed.Client
    store : PairStore
        Its path has to be absolute: workers may stand elsewhere.
    scenes : sequence of (side, Scene, geometry)
        With the ground wanted of each.
    rules : LoneRules
    colours : ColourFit or None
        Of aerial scenes.
    landcover : LandCover or None
    run_name : str
    deriver : Deriver, optional
        Makes LR images of HR ones, which are pairs then.
    tell : callable, optional
        Told how far the work is, see `flows.artifacts.progress_teller`.
    """

    def __init__(
        self,
        client: Any,
        store: PairStore,
        scenes: Sequence[tuple[str, Scene, shapely.Geometry]],
        rules: LoneRules,
        *,
        colours: ColourFit | None,
        landcover: LandCover | None,
        run_name: str,
        deriver: Deriver | None = None,
        tell: Callable[[Pace], None] | None = None,
    ) -> None:
        from geo.lone_rows import decided_alone
        from geo.pairstore.rows import lone_identity

        self._client, self._store, self._rules = client, store, rules
        self._colours, self._run_name, self._deriver = colours, run_name, deriver
        self._landcover = None if landcover is None else client.scatter(landcover, broadcast=True)
        self.outcomes = [LoneOutcome(scene=s, side=side, ground=g) for side, s, g in scenes]
        self._work = [_Work() for _ in scenes]
        decided = decided_alone(store)
        for outcome in self.outcomes:
            name = lone_identity(outcome.side, outcome.scene.id, derived=rules.derived is not None)
            if decided.get(name) == rules.scene_digest(outcome.side, outcome.ground):
                outcome.state = "known"
        self._finished: list[int] = [i for i, o in enumerate(self.outcomes) if o.state == "known"]
        self._rows: list[Row] = []
        self._progress = IngestProgress(
            [outcome.ground for outcome in self.outcomes],
            [outcome.state == "known" for outcome in self.outcomes],
            tell,
            unit="scenes",
        )

    def __iter__(self) -> Iterator[LoneOutcome]:
        """Outcomes as scenes are finished; rows may still wait for `flush`."""
        ahead = 3 * max(1, sum(self._client.nthreads().values()))
        yield from self._hand_out()
        for index, rows in run_all(self._client, cut, self._blocks(ahead), ahead=ahead):
            work, outcome = self._work[index], self.outcomes[index]
            if isinstance(rows, GeoError):
                work.error = work.error or rows
            else:
                self._rows += rows
                outcome.counts.update(row.get("reason") or "kept" for row in rows)
            work.blocks_done += 1
            self._progress.blocks_done(index, work.blocks_done / work.blocks, work.chips)
            if work.blocks_done == work.blocks:
                self._finish(index)
            if len(self._rows) >= _ROWS_A_COMMIT:
                self.flush()
            yield from self._hand_out()
        yield from self._hand_out()

    def flush(self) -> None:
        """Commit what waits."""
        if self._rows:
            self._store.commit(self._rows, self._run_name)
            self._rows = []

    def _hand_out(self) -> Iterator[LoneOutcome]:
        while self._finished:
            yield self.outcomes[self._finished.pop(0)]

    def _blocks(self, ahead: int) -> Iterator[tuple[int, LoneJob, Any, Deriver | None]]:
        """Blocks to cut, of scenes that are looked at a little ahead."""
        jobs = (
            (index, o.scene, o.ground, o.side, self._rules, self._store.config.dtype)
            for index, o in enumerate(self.outcomes)
            if o.state != "known"
        )
        for index, looked in run_all(self._client, look, jobs, ahead=ahead):
            blocks = self._plan(index, looked)
            self._work[index].blocks = len(blocks)
            self._work[index].chips = sum(len(job.cells) for job in blocks)
            if not blocks:
                self._finish(index)
            for job in blocks:
                yield index, job, self._landcover, self._deriver

    def _plan(self, index: int, looked: Any) -> list[LoneJob]:
        """Blocks of a scene; none where it is refused."""
        from geo.chips import blocks_of
        from geo.lone_cut import LoneJob

        outcome = self.outcomes[index]
        if isinstance(looked, GeoError):
            self._work[index].error = looked
            return []
        lone, noise_dn, cloud = looked
        most = self._rules.pairing.align.max_cloud
        if cloud > most:
            outcome.state, outcome.reason = "refused", "cloud"
            outcome.value, outcome.limit = cloud, most
            return []
        digest = self._rules.digest(outcome.side)
        known = self._store.known_alone(digest, outcome.side, outcome.scene.id)
        return [
            LoneJob(
                lone=lone,
                rules=self._rules,
                colours=self._colours,
                noise_dn=self._colours.noise_dn
                if self._colours is not None and outcome.side == "hr"
                else noise_dn,
                cells=tuple(block),
                store=self._store.url,
                dtype=self._store.config.dtype,
                split_rule=self._store.config.split,
                landcover=None,
                run_name=self._run_name,
            )
            for block in blocks_of(lone.unknown_cells(self._rules, known))
        ]

    def _finish(self, index: int) -> None:
        """Say in a last row that all chips are there, or why not."""
        from geo.lone_rows import lone_failure, lone_refusal, lone_row

        outcome, error = self.outcomes[index], self._work[index].error
        row = lone_row(outcome.scene, outcome.side, outcome.ground, self._rules, self._run_name)
        if error is not None:  # chips of blocks that could be read stay
            row = lone_failure(row, error, self._rules)
            outcome.state, outcome.detail = "failed", error.message
            outcome.reason, outcome.value = row["reason"], row["value"]
            outcome.limit = row["limit"]
        elif outcome.state == "refused":
            row = lone_refusal(row, str(outcome.reason), outcome.value, outcome.limit)
        self._rows.append(row)
        self._progress.scenes_done(index, self._work[index].chips)
        self._finished.append(index)
