"""What is told to a run survives the process that told it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flows.metric_spool import Spool


def points(spool: Spool) -> list[tuple[str, int, float]]:
    return [(n, e.step, v) for e in spool.waiting("metrics") for n, v in e.metrics.items()]


def test_a_new_process_goes_on_with_what_was_not_sent(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    for step in (1, 2, 3):
        first.metrics({"a": step}, step)
        first.picture(f"samples/{step}.png", b"png", step)
    first.confirm(first.waiting("metrics", 1)[0])
    for entry in first.waiting("pictures", 2):
        first.confirm(entry)
    second = Spool(tmp_path)
    assert points(second) == [("a", 2, 2.0), ("a", 3, 3.0)]
    assert [e.picture for e in second.waiting("pictures")] == ["samples/3.png"]
    assert second.file_of("samples/3.png").read_bytes() == b"png"
    assert not second.file_of("samples/1.png").exists()


@given(
    told=st.lists(st.integers(0, 30), max_size=40),
    crash=st.integers(0, 40),
)
def test_no_name_has_two_points_at_one_step_whatever_is_done_again(
    tmp_path_factory, told: list[int], crash: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    for number, step in enumerate(told):
        if number == crash:
            spool = Spool(folder)
        spool.metrics({"a": number}, step)
        spool.picture(f"{step}.png", b"", step)
    steps = [step for _, step, _ in points(spool)]
    assert steps == sorted(set(steps))
    pictures = [entry.picture for entry in spool.waiting("pictures")]
    assert sorted(pictures) == sorted({f"{step}.png" for step in told})


def test_names_have_steps_of_their_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.metrics({"train/a": 1}, 10)
    spool.metrics({"val/a": 1}, 10)
    spool.metrics({"train/a": 2, "val/b": 2}, 10)
    assert points(spool) == [("train/a", 10, 1), ("val/a", 10, 1), ("val/b", 10, 2)]
    assert Spool(tmp_path).next_step("train/a") == 11
    assert spool.next_step("system/x") == 0


def test_what_is_not_finite_is_not_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.metrics({"a": math.nan, "b": math.inf}, 1)
    spool.metrics({"a": 1.0}, 1)
    assert points(spool) == [("a", 1, 1.0)]


def test_a_line_that_a_kill_cut_costs_only_itself(tmp_path: Path) -> None:
    Spool(tmp_path).metrics({"a": 1}, 1)
    with (tmp_path / "record.jsonl").open("a") as file:
        file.write('{"time_ms": 5, "step": 2, "met')
    spool = Spool(tmp_path)
    spool.metrics({"a": 3}, 3)
    assert points(spool) == [("a", 1, 1), ("a", 3, 3)]


def test_marks_that_are_damaged_or_beyond_the_record_send_again_rather_than_lose(
    tmp_path: Path,
) -> None:
    Spool(tmp_path).metrics({"a": 1}, 1)
    (tmp_path / "sent.json").write_text("{")
    assert len(points(Spool(tmp_path))) == 1
    (tmp_path / "sent.json").write_text(json.dumps({"metrics": 10**6, "pictures": 0}))
    spool = Spool(tmp_path)
    spool.metrics({"a": 2}, 2)
    assert points(spool) == [("a", 2, 2)]
