"""Records of a study, in SQLite and in PostgreSQL: an answer is there once, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.errors import FlowError
from flows.study.order import Trial, trials_of
from flows.study.records import Rater, Records
from tests.flows.studies import make_study
from tests.servers.postgres_server import PostgresServer, find_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    if request.param == "sqlite":
        kept = Records(f"sqlite:///{tmp_path / 'answers.db'}")
        yield kept
        kept.close()
        return
    if find_postgres() is None:
        pytest.skip("no PostgreSQL here")
    with PostgresServer("study") as server:
        kept = Records(server.url("study"))
        yield kept
        kept.close()


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    return trials_of(make_study(tmp_path / "study"), 0)


def say(records: Records, rater: Rater, trial: Trial, answer: str = "real") -> bool:
    return records.answer(rater, trial, answer, exposure_ms=1000.0, took_ms=None, opened=1)


def test_the_first_answer_stays(records: Records, trials: list[Trial]) -> None:
    rater = records.add_rater()
    assert say(records, rater, trials[0])
    assert not say(records, rater, trials[0], "generated")
    (kept,) = records.answers()
    assert (kept["answer"], kept["shown"], kept["exposure_ms"]) == ("real", trials[0].shown, 1000.0)
    found = records.find_rater(rater.token)
    assert found is not None
    assert found.answered == 1
    assert records.answer_to(rater, 0) == "real"


def test_of_many_at_once_one_answer_stays_and_each_rater_has_a_number(
    records: Records, trials: list[Trial]
) -> None:
    raters: list[Rater] = []
    kept: list[bool] = []
    first = records.add_rater()

    def come() -> None:
        raters.append(records.add_rater())
        kept.append(say(records, first, trials[0]))

    threads = [threading.Thread(target=come) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rater.number for rater in raters) == list(range(1, 13))
    assert kept.count(True) == 1


def test_nobody_is_found_by_another_link(records: Records) -> None:
    records.add_rater()
    assert records.find_rater("' OR 1=1 --") is None


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(FlowError, match="cannot be opened") as told:
        Records("postgresql://surveyor:hunter2@127.0.0.1:9/study")
    assert "hunter2" not in str(told.value)
