"""The pipeline of a real ``skyscale up``, one random process of it killed at a random moment.

Each round starts the pipeline as the UI does, with new names for all that it makes, waits for a
moment drawn from the time that it takes undisturbed, draws a kind of process among those alive that
were killed least so far, and kills one of it by SIGKILL: the command itself, all of its processes
(a power cut), a server, the worker, the run, a Dask worker (every third round has a cluster beside
it), torchrun, a rank. Where the command itself was killed it is started again; nothing else is
done. What the run has left at the end is compared with what undisturbed runs have left: pairs with
their pixels, refusals, weights, decoded pixels of the region, every number of both reports, every
point of every curve in MLflow (of training, its steps), its runs, files and versions.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows.web import ServiceError
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes
from tests.benchmarks.chaos_outputs import Outputs, read_outputs
from tests.benchmarks.chaos_victims import EVERYTHING, UP, find_victims
from tests.servers.dask_cluster import DaskCluster
from tests.servers.skyscale_up import SkyscaleUp, wait_for

ROUNDS, SEED = 30, 5
_SIDE_PX = 600
_DATES = (
    SatelliteDate(gap_days=-4, cloud_fraction=0.3),
    SatelliteDate(gap_days=3),
)
# Steps, not minutes: weights are a function of the pairs.
_TRAINING: dict[str, Any] = {
    **{"batch_size": 8, "patch_lr": 16, "content_steps": 20, "adversarial_steps": 8},
    **{"checkpoint_every": 5, "val_every": 20, "val_pairs": 4, "log_every": 5},
    **{"precision": "float32", "device": "cpu"},
    "generator": {"channels": 8, "blocks": 1},
    "discriminator": {"channels": 4, "stages": 3},
}
_LONGEST_S, _PATIENCE_S = 600.0, 60.0
_MOST_TOLD = 12
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING", "SCHEDULED", "PAUSED"]


@dataclass(kw_only=True)
class Round:
    """What happened in a round.

    Parameters
    ----------
    number : int
    at_s : float
        When something was killed, after the run was asked for.
    kind, stage : str
        What was killed, and what the pipeline was doing.
    seconds : float
        From asking for the run to its end.
    lost, doubled, other, left : list of str
        What the outputs lack, hold twice, hold otherwise; what is unfinished or left over.
    """

    number: int
    at_s: float = 0.0
    kind: str = "nothing"
    stage: str = ""
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def troubles(self) -> list[str]:
        named = {"lost": self.lost, "doubled": self.doubled, "other": self.other, "left": self.left}
        return [f"{name}: {what}" for name, found in named.items() for what in found]


def run(write: Callable[[str], None], *options: str) -> None:
    """Print a row for each round, and what came of all of them, stopped half way or not."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks chaos")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--kind", help="kill nothing but this, when it is there")
    given = parser.parse_args(options)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"stopped by signal {number}"))
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, Chaos(Path(name)) as chaos:
        rng = random.Random(given.seed)
        write(f"Undisturbed: {chaos.undisturbed_s:.0f} s, {len(chaos.wanted.facts)} facts.\n")
        write("| round | killed | at s | stage | s | lost | doubled | other | left |")
        write("|---|---|---|---|---|---|---|---|---|")
        rounds: list[Round] = []
        try:
            for number in range(given.rounds):
                rounds.append(done := chaos.round(number, rng, given.kind))
                write(
                    f"| {number} | {done.kind} | {done.at_s:.0f} | {done.stage} | "
                    f"{done.seconds:.0f} | {len(done.lost)} | {len(done.doubled)} | "
                    f"{len(done.other)} | {len(done.left)} |"
                )
                for trouble in done.troubles[:_MOST_TOLD]:
                    write(f"    {trouble[:300]}")
        finally:
            if rounds:
                write("\n" + summary(rounds, chaos.stop(), chaos.undisturbed_s))


def summary(rounds: Sequence[Round], left: Sequence[str], undisturbed_s: float) -> str:
    """The numbers of all rounds."""
    kinds = Counter(r.kind for r in rounds)
    stages = Counter(r.stage for r in rounds)
    well = sum(not r.troubles for r in rounds)
    extra = sorted(r.seconds - undisturbed_s for r in rounds)
    told = [f"{sum(len(getattr(r, n)) for r in rounds)} {n}" for n in ("lost", "doubled", "other")]
    counted = (", ".join(f"{n} {c}" for n, c in found.most_common()) for found in (kinds, stages))
    return (
        f"{well} of {len(rounds)} rounds as undisturbed; {', '.join(told)}; "
        f"{sum(len(r.left) for r in rounds)} unfinished or left over, {len(left)} processes after "
        f"the end. Killed: {next(counted)}. While: {next(counted)}. A kill cost "
        f"{extra[len(extra) // 2]:.0f} s (median), at most {extra[-1]:.0f} s."
    )


class Chaos:
    """A system under way, and what it makes when nobody disturbs it.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scenes = folder / "scenes"
        self._up = SkyscaleUp(folder / "servers")
        self._dask = DaskCluster()
        self._killed: Counter[str] = Counter()
        self.undisturbed_s = float("inf")  # the shortest so far, for the machine may be busy
        self.wanted = Outputs(facts={}, doubled=[], wrong=[])

    def __enter__(self) -> Chaos:
        config = ScenesConfig(width_px=_SIDE_PX, height_px=_SIDE_PX, dates=_DATES)
        make_scenes(self._scenes, config)
        try:
            self._up.start()
            self._dask.start_scheduler()
            for _ in range(2):
                self._dask.start_worker()
            # The first has no champion to be judged against; the others have to be the same.
            for number in (-3, -2, -1):
                seconds, outputs = self._undisturbed(number)
                if number == -1:
                    lost, other = outputs.against(self.wanted)
                    assert not lost + other, f"undisturbed runs differ: {(lost + other)[:5]}"
                self.undisturbed_s, self.wanted = min(self.undisturbed_s, seconds), outputs
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._dask.close()
        self._up.kill()

    def stop(self) -> list[str]:
        """End it as Ctrl-C does; what is left."""
        self._up.stop()
        return [str(process) for process in self._up.processes()]

    def _undisturbed(self, number: int) -> tuple[float, Outputs]:
        begun = time.monotonic()
        out = self._out(number)
        run = self._start(out, dask=number == -1)
        state = self._up.await_end(run, seconds=_LONGEST_S)
        assert state == "COMPLETED", self._up.messages(run)
        seconds = time.monotonic() - begun
        outputs = read_outputs(out, self._up.mlflow)
        assert not outputs.doubled + outputs.wrong, (outputs.doubled + outputs.wrong)[:5]
        return seconds, outputs

    def round(self, number: int, rng: random.Random, only: str | None) -> Round:
        """Kill something while the pipeline runs, and see what it makes."""
        done = Round(number=number)
        out, dask = self._out(number), number % 3 == 2
        moment, draw = rng.uniform(0, self.undisturbed_s), random.Random(rng.random())
        begun = time.monotonic()
        run = self._start(out, dask=dask)
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        done.stage = self._stage(run)
        self._kill(done, draw, begun, only, dask=dask)
        try:
            assert self._await_end(run) == "COMPLETED"
            self.undisturbed_s = min(self.undisturbed_s, time.monotonic() - begun)
        except (TimeoutError, AssertionError):
            done.left.append(f"the run is {self._up.states(run)}")
            self._up.set_state(run, "CANCELLED", "Cancelled", force=True)
        done.seconds = time.monotonic() - begun
        self._compare(done, out, run)
        return done

    def _kill(
        self, done: Round, draw: random.Random, begun: float, only: str | None, *, dask: bool
    ) -> None:
        while True:
            victims = find_victims(self._up, self._dask if dask else None)
            if only is None or only in victims or time.monotonic() - begun > self.undisturbed_s:
                break
        kinds = sorted(victims) if only is None else [only] if only in victims else []
        if not kinds:
            return
        least = min(self._killed[kind] for kind in kinds)
        done.kind = draw.choice([kind for kind in kinds if self._killed[kind] == least])
        self._killed[done.kind] += 1
        victim = draw.choice(victims[done.kind])
        done.at_s = time.monotonic() - begun
        if done.kind == EVERYTHING:
            self._up.kill()
        else:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        if done.kind in (EVERYTHING, UP):
            assert self._up.process is not None
            self._up.process.wait()
            self._up.start()

    def _compare(self, done: Round, out: Path, run: str) -> None:
        try:
            outputs = read_outputs(out, self._up.mlflow)
        except Exception as error:
            done.lost.append(f"outputs: {type(error).__name__}: {error}")
            return
        done.lost, done.other = outputs.against(self.wanted)
        done.doubled = outputs.doubled
        done.left += outputs.wrong
        done.left += self._unfinished()
        done.left += self._at_work()

    def _await_end(self, run: str) -> str:
        """How the run ends: one that has crashed is given time to go on by itself."""
        crashed: list[float] = []

        def ended() -> str | None:
            state = self._state_of(run)
            if state != "CRASHED":
                crashed.clear()
                return state if state in ("COMPLETED", "FAILED", "CANCELLED") else None
            crashed.append(time.monotonic())
            return state if crashed[-1] - crashed[0] > _PATIENCE_S else None

        return wait_for(ended, seconds=_LONGEST_S)

    def _state_of(self, run: str) -> str | None:
        with contextlib.suppress(ServiceError):
            return self._up.state(run)
        return None

    def _unfinished(self) -> list[str]:
        """Runs and tasks that are under way, once the server has written down what ended."""
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: None if list(self._under_way()) else True, seconds=15)
        return list(self._under_way())

    def _under_way(self) -> Iterator[str]:
        under_way = {"state": {"type": {"any_": _UNDER_WAY}}}
        for kind in ("flow_runs", "task_runs"):
            for run in self._up.ask(f"{kind}/filter", {kind: under_way, "limit": 200}):
                yield f"{kind[:4]} {run['name']} is {run['state_name']}"

    def _at_work(self) -> list[str]:
        """Processes of runs that have ended, once they have had time to go."""
        try:
            wait_for(lambda: None if self._run_processes() else True, seconds=10)
        except TimeoutError:
            return [f"process {' '.join(p.cmdline())[:200]}" for p in self._run_processes()]
        return []

    def _run_processes(self) -> list[psutil.Process]:
        found = find_victims(self._up, None)
        return [p for kind in ("flow run", "torchrun", "rank") for p in found.get(kind, [])]

    def _stage(self, run: str) -> str:
        """The stage that runs: the flow that was called last."""
        body = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "limit": 20}
        try:
            called = self._up.ask("flow_runs/filter", body | {"sort": "START_TIME_DESC"})
            if not called:
                return "starting"
            flow = self._up.ask(f"flows/{called[0]['flow_id']}")["name"]
        except ServiceError:
            return "unknown"
        return f"{flow}" if called[0]["state_type"] == "RUNNING" else f"after {flow}"

    def _out(self, number: int) -> Path:
        return self._folder / "rounds" / f"{number:+03d}"

    def _start(self, out: Path, *, dask: bool) -> str:
        scenes, store, sr = self._scenes, str(out / "store"), str(out / "sr.tif")
        clear = str(next((scenes / "satellite").glob("sat_20240621/*.json")))
        aerial, landcover = str(scenes / "aerial"), str(scenes / "landcover.geojson")
        out.mkdir(parents=True)
        return self._up.run(
            "pipeline",
            {"SKYSCALE_DASK_SCHEDULER": self._dask.address} if dask else None,
            ingest={
                **{"satellite": str(scenes / "satellite"), "aerial": aerial, "store": store},
                **{"landcover": landcover, "split_block": 1, "split_buffer": 0, "lr_size": 16},
            },
            train={"store": store, "out": str(out / "runs"), "nproc": 2, "settings": _TRAINING},
            upscale={
                **{"source": clear, "output": sr, "model": "", "block": 24},
                "reference": aerial,
            },
            report={
                **{"sr": sr, "reference": aerial, "store": store, "out": str(out / "report")},
                **{"lr": clear, "landcover": landcover},
            },
        )
