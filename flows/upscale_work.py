"""Blocks of a region on a Dask cluster: any worker may die, and the scheduler too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import FlowError, UsageError
from flows.memory import keep_freed_memory
from flows.progress import Pace, Progress
from flows.registry import ModelSource
from flows.runtime import ClusterLostError, dask_client, run_all
from flows.settings import read_surroundings

if TYPE_CHECKING:
    from geo.upsampler import Upsampler
    from geo.upscale import Earlier, UpscalePlan

# So many blocks may fail for reasons of their own before the rest is not tried any more.
_MOST_FAILURES = 50
# A cluster that is gone is waited for so long after the last block that came from it.
_PATIENCE_S = 600.0
_PAUSE_S = 3.0
# Finished blocks are moved so often.
_MOVE_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class UpsamplerRequest:
    """What upsamples, as it travels to workers.

    Parameters
    ----------
    model : ModelSource
    scale : int
        For the built-in methods.
    precision : str
        Of a network: ``float32``, ``bfloat16`` or ``auto``.
    ensemble, consistency : bool
        See `geo.ensemble` and `geo.consistency`.
    draws : int, optional
        Thinned networks of a generator with dropout, see `geo.ensemble`.
    """

    model: ModelSource
    scale: int = 4
    precision: str = "float32"
    ensemble: bool = False
    consistency: bool = False
    draws: int | None = None


def load_upsampler(request: UpsamplerRequest) -> Upsampler:
    """The function that upsamples, made once in each process as long as its files stay the same."""
    if request.model.folder is None:
        return _load(request)
    files = sorted(Path(request.model.folder).glob("generator.*"))
    return _load(request, *((file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=8)
def _load(request: UpsamplerRequest, *stamps: tuple[int, int]) -> Upsampler:
    from geo.consistency import ConsistentUpsampler
    from geo.ensemble import EnsembleUpsampler
    from geo.upsampler import BuiltinUpsampler

    upsampler: Upsampler
    draws: tuple[Upsampler, ...] = ()
    if request.model.folder is None:
        if request.draws is not None:
            raise UsageError(
                f"draws is {request.draws}, but {request.model.uri} has no dropout: leave draws "
                "out, or take a network that was trained with dropout"
            )
        upsampler = BuiltinUpsampler(request.model.uri, request.scale)  # type: ignore[arg-type]  # checked by find_model
    else:
        from models.predict import Predictor

        keep_freed_memory()
        # One thread of torch, since blocks already run side by side on all cores.
        network = Predictor.load(request.model.folder, precision=request.precision, threads=1)
        upsampler = network
        if request.draws is not None:
            draws = network.draws(request.draws)
    if request.ensemble or draws:
        upsampler = EnsembleUpsampler(upsampler, draws, turned=request.ensemble)
    if request.consistency:
        upsampler = ConsistentUpsampler(upsampler)
    return upsampler


@dataclass(frozen=True, kw_only=True)
class BlockOutcome:
    """What became of a block.

    Parameters
    ----------
    index : int
    error : str or None
        Why it failed.
    disk : bool
        It failed because the disk does not take it; so would all others.
    seconds : dict of str to float
        Spent reading, inferring, writing.
    """

    index: int
    error: str | None = None
    disk: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Task:
    plan: UpscalePlan
    blocks: tuple[int, ...]
    request: UpsamplerRequest
    earlier: Earlier | None = None
    untouched: frozenset[int] = frozenset()


def _run_task(task: _Task) -> list[BlockOutcome]:
    return [_run_one(task, index) for index in task.blocks]


def _run_one(task: _Task, index: int) -> BlockOutcome:
    from geo.errors import GeoError
    from geo.upscale import is_finished, run_block
    from models.errors import ModelError

    block = task.plan.blocks[index]
    try:
        # A worker that dies takes with it what it has not told yet: Dask hands out the whole task
        # again, though blocks of it are on the disk.
        if is_finished(task.plan, block):
            return BlockOutcome(index=index)
        upsampler = load_upsampler(task.request)
        untouched = index in task.untouched
        result = run_block(task.plan, block, upsampler, task.earlier, untouched=untouched)
    except (GeoError, ModelError) as error:
        disk = error.facts.get("cause") == "disk"
        return BlockOutcome(index=index, error=error.message, disk=disk)
    seconds = {"read": result.read_s, "infer": result.infer_s, "write": result.write_s}
    return BlockOutcome(index=index, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class WorkDone:
    """What a run of blocks came to.

    Parameters
    ----------
    done_before : int
        Blocks that an earlier run which was cut off has done.
    kept : int
        Blocks that are an earlier output's.
    seconds : dict of str to float
        Of all workers together, spent reading, inferring, writing.
    """

    done_before: int
    kept: int
    seconds: dict[str, float]


def run_blocks(
    plan: UpscalePlan,
    request: UpsamplerRequest,
    *,
    earlier: Earlier | None = None,
    workers: int | None = None,
    restart: bool = False,
    tell: Callable[[Pace], None] | None = None,
) -> WorkDone:
    """Run the blocks that are not done.

    Parameters
    ----------
    earlier : Earlier, optional
        An output to keep blocks of where the source shows the same.
    tell : callable, optional
        Told how far the work is, see `flows.artifacts.progress_teller`.

    Raises
    ------
    FlowError
        When blocks failed; all others are done by then. When the disk is full or the cluster
        stays away; what was finished is kept.
    """
    from geo.upscale import begin, kept_blocks

    beginning = begin(plan, restart=restart)
    if beginning.state == "discarded":
        other = "source, model or settings are not those of the work found here; anew"
        say(f"upscale: {'beginning anew, as told' if restart else other}")
    if beginning.finished:
        say(f"upscale: going on; {len(beginning.finished)} blocks are done already")
    untouched = earlier.untouched(plan) if earlier else frozenset()
    if earlier:
        reached = len(plan.blocks) - len(untouched)
        say(f"upscale: {reached} of {len(plan.blocks)} blocks have other scenes than before")
    book = _Book(plan, len(beginning.finished), tell)
    with _moving(plan):
        while todo := book.todo():
            try:
                with dask_client(workers) as client:
                    tasks = (
                        _Task(
                            plan=plan,
                            blocks=blocks,
                            request=request,
                            earlier=earlier,
                            untouched=untouched.intersection(blocks),
                        )
                        for blocks in _shared(todo, plan)
                    )
                    for outcomes in run_all(client, _run_task, tasks):
                        book.take(outcomes)
            except ClusterLostError as error:
                book.wait(error)
        book.close()
    return WorkDone(
        done_before=len(beginning.finished), kept=kept_blocks(plan), seconds=book.seconds
    )


def closing(result: Mapping[str, Any]) -> str:
    """What an upscaling ends with, in a line."""
    refused = f"refused: {len(result['refused'])} scenes"
    if result.get("dry_run"):
        return f"nothing written; {result['blocks']} blocks; {refused}"
    if result["up_to_date"]:
        return f"{result['output']} is up to date; {refused}"
    before, kept = result["blocks_done_before"], result["blocks_kept"]
    return (
        f"{result['output']}, {result['output_megapixels']:.1f} Mpx in {result['blocks']} blocks"
        + (f" ({before} were there)" if before else "")
        + (f" ({kept} kept of the earlier output)" if kept else "")
        + f", {result['output_megapixels_per_second']:.1f} Mpx/s; {refused}"
    )


def _shared(todo: Sequence[int], plan: UpscalePlan) -> Iterator[tuple[int, ...]]:
    """Blocks of one task: enough pixels to dwarf Dask's bookkeeping."""
    pixels = (plan.block_lr_px * plan.upsampler.scale) ** 2
    size = max(1, 2_000_000 // pixels)
    for start in range(0, len(todo), size):
        yield tuple(todo[start : start + size])


@contextmanager
def _moving(plan: UpscalePlan) -> Iterator[None]:
    """Finished blocks brought to their place meanwhile, which spares the end the waiting."""
    from geo.upscale import mover

    over = threading.Event()

    def work() -> None:
        try:
            if (moving := mover(plan)) is None:
                return
            while not over.wait(_MOVE_EVERY_S):
                moving.move()
            moving.move()
            moving.settle()
        except OSError as error:
            # Nothing is lost: what is not moved is copied at the end, which tells what is wrong.
            say(f"upscale: blocks stay where they are for now ({error})")

    thread = threading.Thread(target=work, name="mover", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Book:
    """Keeps what blocks came to, and decides when to give up."""

    def __init__(self, plan: UpscalePlan, done: int, tell: Callable[[Pace], None] | None) -> None:
        self._plan = plan
        self._total = len(plan.blocks)
        self._failures: dict[int, str] = {}
        self._progress = Progress(
            "upscale", self._total, "blocks", before=done, rate_unit="Mpx", tell=tell
        )
        self._last_at = time.monotonic()
        self.seconds: dict[str, float] = {}

    def todo(self) -> list[int]:
        """Blocks that are neither done nor failed, by what is on the disk."""
        from geo.upscale import finished_blocks

        finished = finished_blocks(self._plan)
        return [
            index
            for index in range(self._total)
            if index not in finished and index not in self._failures
        ]

    def take(self, outcomes: Sequence[BlockOutcome]) -> None:
        for outcome in outcomes:
            self._last_at = time.monotonic()
            self._progress.add(amount=self._megapixels(outcome.index))
            if outcome.error is None:
                for name, seconds in outcome.seconds.items():
                    self.seconds[name] = self.seconds.get(name, 0.0) + seconds
                continue
            if outcome.disk:
                raise FlowError(outcome.error)
            say(f"upscale: block {outcome.index} failed: {outcome.error}")
            self._failures[outcome.index] = outcome.error
            if len(self._failures) >= _MOST_FAILURES:
                self.close()

    def _megapixels(self, index: int) -> float:
        """Of the output, in a block."""
        height, width = self._plan.blocks[index].shape
        return height * width * self._plan.upsampler.scale**2 / 1e6

    def wait(self, error: ClusterLostError) -> None:
        """Give a lost cluster time to come back."""
        if read_surroundings().dask_scheduler is None:
            raise FlowError(f"the local Dask cluster failed: {error}") from error
        if time.monotonic() - self._last_at > _PATIENCE_S:
            raise FlowError(
                f"{error}; finished blocks are kept, so run again when the cluster is back"
            ) from error
        say(f"upscale: {error}; waiting for it")
        time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Raise if blocks failed; those that are not done by then are not tried any more."""
        if not self._failures:
            return
        left = len(self.todo())
        kept = f"{self._total - len(self._failures) - left} are finished and kept"
        shown = sorted(self._failures.items())[:5]
        listed = "; ".join(f"block {index}: {text}" for index, text in shown)
        more = f" and {len(self._failures) - 5} more" if len(self._failures) > 5 else ""
        gave_up = f", {left} were not tried after so many failures" if left else ""
        raise FlowError(
            f"{len(self._failures)} of {self._total} blocks failed ({listed}{more}); "
            f"{kept}{gave_up}; run again when the cause is gone"
        )
