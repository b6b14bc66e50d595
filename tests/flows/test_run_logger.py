"""Training waits for no tracker, and nothing that it said is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.metric_spool import Entry, Spool
from flows.run_logger import RunLogger
from tests.servers.mlflow_server import MlflowServer


class Tracker:
    """A tracker that can be away, and slow, and picky."""

    def __init__(self) -> None:
        self.away = False
        self.refuses: set[str] = set()
        self.points: list[tuple[str, int, float]] = []
        self.times: list[int] = []
        self.pictures: list[str] = []

    def metrics(self, run_id: str, spool: Spool, entries: list[Entry]) -> None:
        if self.away:
            raise ConnectionError("nobody there")
        if any(name in self.refuses for e in entries for name in e.metrics):
            error = ValueError("bad name")
            error.error_code = "INVALID_PARAMETER_VALUE"  # type: ignore[attr-defined]
            raise error
        self.points += [(n, e.step, v) for e in entries for n, v in e.metrics.items()]
        self.times += [e.time_ms for e in entries]

    def send_pictures(self, run_id: str, spool: Spool, entries: list[Entry]) -> None:
        if self.away:
            raise ConnectionError("nobody there")
        self.pictures += [e.picture or "" for e in entries]

    def logger(self, folder: Path, **options: object) -> RunLogger:
        send = {"metrics": self.metrics, "pictures": self.send_pictures}
        return RunLogger("run", folder, send=send, **options)  # type: ignore[arg-type]


def test_all_arrives_in_order(tmp_path: Path) -> None:
    tracker = Tracker()
    logger = tracker.logger(tmp_path)
    for step in range(500):
        logger.metrics({"a": step}, step)
    logger.picture("p.png", b"x", 1)
    assert logger.close() is None
    assert tracker.points == [("a", step, float(step)) for step in range(500)]
    assert tracker.pictures == ["p.png"]


def test_what_is_told_while_nobody_listens_arrives_later_with_its_own_time(tmp_path: Path) -> None:
    tracker = Tracker()
    tracker.away = True
    before = time.time() * 1000
    logger = tracker.logger(tmp_path)
    started = time.perf_counter()
    for step in range(100):
        logger.metrics({"a": step}, step)
    assert time.perf_counter() - started < 5.0
    told = time.time() * 1000
    time.sleep(0.1)
    tracker.away = False
    assert logger.close(patience_s=10) is None
    assert [step for _, step, _ in tracker.points] == list(range(100))
    assert before - 1 <= min(tracker.times) <= max(tracker.times) <= told


def test_what_could_not_be_sent_is_said_and_sent_by_the_next_process(tmp_path: Path) -> None:
    tracker = Tracker()
    tracker.away = True
    logger = tracker.logger(tmp_path)
    logger.metrics({"a": 1, "b": 2}, 1)
    logger.picture("p.png", b"x", 1)
    left = logger.close(patience_s=0)
    assert left is not None
    for word in ("2 points", "1 pictures", "nobody there", str(tmp_path), "--resume run"):
        assert word in left
    tracker.away = False
    assert tracker.logger(tmp_path).close() is None
    assert len(tracker.points) == 2
    assert tracker.pictures == ["p.png"]


def test_a_refused_entry_does_not_hold_up_others_and_is_counted(tmp_path: Path) -> None:
    tracker = Tracker()
    tracker.refuses = {"bad"}
    logger = tracker.logger(tmp_path)
    for name in ("a", "bad", "b"):
        logger.metrics({name: 1}, 1)
    left = logger.close()
    assert [name for name, _, _ in tracker.points] == ["a", "b"]
    assert left is not None
    assert "refused 1" in left


def test_a_tracker_that_hangs_does_not_hang_training(tmp_path: Path) -> None:
    gate = threading.Event()

    def hang(run_id: str, spool: Spool, entries: list[Entry]) -> None:
        gate.wait(20)

    logger = RunLogger("run", tmp_path, send={"metrics": hang, "pictures": hang})
    started = time.perf_counter()
    for step in range(200):
        logger.metrics({"a": step}, step)
    assert time.perf_counter() - started < 5.0
    gate.set()
    assert logger.close() is None


def test_a_request_that_hangs_is_left_to_itself_at_the_end(tmp_path: Path) -> None:
    gate = threading.Event()

    def hang(run_id: str, spool: Spool, entries: list[Entry]) -> None:
        gate.wait(60)

    logger = RunLogger("run", tmp_path, send={"metrics": hang, "pictures": hang})
    logger.metrics({"a": 1}, 1)
    started = time.perf_counter()
    left = logger.close(patience_s=0.5)
    gate.set()
    assert time.perf_counter() - started < 10
    assert left is not None
    assert "1 points" in left


def test_a_slow_tracker_gets_no_more_than_it_may_have(tmp_path: Path) -> None:
    """Someone waits who has asked to stop: each picture that goes is no reason for the next."""

    def slow(run_id: str, spool: Spool, entries: list[Entry]) -> None:
        time.sleep(0.2)

    logger = RunLogger("run", tmp_path, send={"metrics": slow, "pictures": slow})
    for number in range(100):
        logger.picture(f"{number}.png", b"x", number)
    started = time.perf_counter()
    left = logger.close(patience_s=3.0, most_s=1.0)
    assert time.perf_counter() - started < 10
    assert left is not None
    assert "pictures" in left


def test_a_full_disk_is_said_and_stops_nothing(tmp_path: Path) -> None:
    logger = Tracker().logger(tmp_path)
    (tmp_path / "record.jsonl").mkdir()  # as good as a disk that takes nothing
    logger.metrics({"a": 1}, 1)
    left = logger.close(patience_s=0)
    assert left is not None
    assert "neither sent nor kept" in left


def test_the_machine_is_looked_at_now_and_then_and_its_steps_go_on(tmp_path: Path) -> None:
    tracker = Tracker()
    for _ in range(2):
        logger = tracker.logger(tmp_path, system=lambda: {"system/x": 1.0}, system_every_s=0.02)
        time.sleep(0.2)
        logger.close()
    steps = [step for _, step, _ in tracker.points]
    assert len(steps) > 4
    assert steps == list(range(len(steps)))


# --- a real server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(
    new_tracker: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    new_tracker(folder)
    server = MlflowServer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        server.start()
        yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_misses_nothing(
    server: MlflowServer, tmp_path: Path
) -> None:
    from flows import tracking

    run_id = tracking.start_run("test", {}, {"a": 1})
    folder = tmp_path / "spool"
    logger = RunLogger(run_id, folder)
    logger.metrics({"loss": 1.0}, 1)
    logger.picture("samples/1.png", b"one", 1)
    deadline = time.monotonic() + 30
    kinds = ("metrics", "pictures")  # which of them is sent first is nobody's to say
    while any(map(Spool(folder).waiting, kinds)) and time.monotonic() < deadline:
        time.sleep(0.02)
    server.kill()
    said: dict[int, float] = {}
    for step in range(2, 50):
        said[step] = time.time() * 1000
        logger.metrics({"loss": 1.0 / step}, step)
    logger.picture("samples/2.png", b"two", 2)
    left = logger.close(patience_s=1)
    assert left is not None
    assert "48 points of metrics and 1 pictures" in left
    server.start()
    assert RunLogger(run_id, folder).close() is None
    client = tracking.mlflow_client()
    found = client.get_metric_history(run_id, "loss")
    assert sorted(m.step for m in found) == list(range(1, 50))
    assert all(abs(m.timestamp - said[m.step]) < 1000 for m in found if m.step in said)
    assert {a.path for a in client.list_artifacts(run_id, "samples")} == {
        "samples/1.png",
        "samples/2.png",
    }


@pytest.mark.slow
def test_points_sent_twice_are_one(server: MlflowServer, tmp_path: Path) -> None:
    from flows import tracking

    run_id = tracking.start_run("test", {}, {})
    folder = tmp_path / "spool"
    for _ in range(2):
        logger = RunLogger(run_id, folder)
        for step in range(5):
            logger.metrics({"loss": 1.0, "other": 2.0}, step)
        assert logger.close() is None
        (folder / "sent.json").unlink()  # as if killed before it was marked
    history = tracking.mlflow_client().get_metric_history(run_id, "loss")
    assert [m.step for m in history] == list(range(5))
