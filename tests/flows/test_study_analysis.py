"""What answers come to: rates by hand, who is left out, agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.study.analysis import analyse
from flows.study.order import CHECK, COUNTED, PRACTICE
from flows.study.plan import BICUBIC, LR, OPINION, PREFERENCE, REAL, REAL_OR_GENERATED, SR, Study
from flows.study.results import build_page, tell
from tests.flows.studies import make_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study", models={SR: "models:/skyscale-generator/<7>"})


def said(
    rater: int,
    answer: str,
    *shown: str,
    place: str = "r9",
    question: str = REAL_OR_GENERATED,
    phase: str = COUNTED,
    right: bool | None = None,
    exposure_ms: float | None = 1000.0,
    category: str | None = "farm",
) -> dict[str, Any]:
    return {
        "rater": rater,
        "trial": 0,
        "question": question,
        "phase": phase,
        "place": place,
        "category": category,
        "shown": shown,
        "answer": answer,
        "right": right,
        "exposure_ms": exposure_ms,
        "took_ms": 500.0,
        "opened": 1,
        "answered_at": "",
    }


def test_a_fooling_rate_is_the_share_of_generated_images_that_were_called_real(
    study: Study,
) -> None:
    answers = [said(n, "real" if n < 3 else "generated", SR, place=f"r{n}") for n in range(10)]
    answers += [said(n, "real", REAL, place=f"r{n}") for n in range(10)]
    found = analyse(study, answers)["judged_real"]
    assert (found[SR]["value"], found[REAL]["value"]) == (0.3, 1.0)
    assert found[SR]["low"] < 0.3 < found[SR]["high"]
    assert (found[SR]["answers"], found[SR]["raters"], found[SR]["places"]) == (10, 10, 10)


def test_each_category_has_a_rate_of_its_own(study: Study) -> None:
    answers = [said(n, "real", SR, category="farm") for n in range(4)]
    answers += [said(n, "generated", SR, category=None, place="r8") for n in range(4)]
    of = analyse(study, answers)["judged_real"][SR]["by_category"]
    assert (of["farm"]["value"], of["unknown"]["value"]) == (1.0, 0.0)


def test_a_preference_counts_for_what_was_on_that_side(study: Study) -> None:
    answers = [
        said(0, "left", SR, BICUBIC, question=PREFERENCE),
        said(1, "right", BICUBIC, SR, question=PREFERENCE),
        said(2, "right", SR, BICUBIC, question=PREFERENCE),
        said(3, "left", SR, BICUBIC, question=PREFERENCE),
    ]
    found = analyse(study, answers)["preferred"]
    assert set(found) == {"sr over bicubic"}
    assert found["sr over bicubic"]["value"] == 0.75


def test_opinions_are_means(study: Study) -> None:
    answers = [said(n, str(n + 2), SR, question=OPINION, place=f"r{n}") for n in range(4)]
    assert analyse(study, answers)["opinion"][SR]["value"] == 3.5


def test_practice_and_checks_do_not_count(study: Study) -> None:
    answers = [
        said(0, "real", SR),
        said(0, "generated", SR, phase=PRACTICE),
        said(0, "generated", LR, phase=CHECK, right=True),
    ]
    found = analyse(study, answers)
    assert found["answers"] == 1
    assert set(found["judged_real"]) == {SR}


def test_who_does_not_look_is_left_out_and_counted(study: Study) -> None:
    answers = []
    for rater, marks in (
        (0, (True, True, True)),
        (1, (True, True, False)),
        (2, (True, False, False)),
    ):
        answers += [said(rater, "real", LR, phase=CHECK, right=mark) for mark in marks]
        answers.append(said(rater, "real", SR))
    found = analyse(study, answers)
    assert found["raters"] == {"answered": 3, "left_out": 1}
    assert found["judged_real"][SR]["answers"] == 2


def test_agreement_is_one_for_raters_of_one_mind_and_none_for_a_single_one(study: Study) -> None:
    alike = [
        said(rater, "real" if place % 2 else "generated", SR, place=f"r{place}")
        for rater in range(3)
        for place in range(6)
    ]
    assert analyse(study, alike)["agreement"][REAL_OR_GENERATED] == pytest.approx(1)
    alone = [answer for answer in alike if answer["rater"] == 0]
    assert analyse(study, alone)["agreement"][REAL_OR_GENERATED] is None


def test_agreement_about_two_sides_does_not_depend_on_the_sides(study: Study) -> None:
    answers = [
        said(0, "left", SR, BICUBIC, question=PREFERENCE, place="r5"),
        said(1, "right", BICUBIC, SR, question=PREFERENCE, place="r5"),
        said(0, "left", BICUBIC, SR, question=PREFERENCE, place="r6"),
        said(1, "right", SR, BICUBIC, question=PREFERENCE, place="r6"),
    ]
    assert analyse(study, answers)["agreement"][PREFERENCE] == pytest.approx(1)


def test_exposures_that_were_off_are_told(study: Study) -> None:
    times = (1000.0, 1016.0, 949.0, 1051.0, None)
    answers = [said(n, "real", SR, exposure_ms=time) for n, time in enumerate(times)]
    found = analyse(study, answers)["exposure"]
    assert (found["measured"], found["off"], found["largest_error_ms"]) == (4, 2, 51.0)


def test_the_page_tells_it_and_takes_no_name_for_html(study: Study) -> None:
    answers = [said(n, "real", SR, category="<script>x</script>") for n in range(3)]
    answers += [said(n, "real", SR, place="r8") for n in range(3)]
    found = analyse(study, answers)
    page = build_page(study, found)
    assert "&lt;script&gt;x" in page
    assert "<script" not in page
    assert "generated (models:/skyscale-generator/&lt;7&gt;)" in page
    assert "100% of 6 answers (95 % interval" in "\n".join(tell(study, found))
