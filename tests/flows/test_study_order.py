"""Who is shown what in a study, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flows.errors import UsageError
from flows.study.order import CHECK, COUNTED, PRACTICE, trials_of
from flows.study.plan import BICUBIC, LR, OPINION, PREFERENCE, REAL, REAL_OR_GENERATED, SR, Study
from tests.flows.studies import TRIALS, make_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study")


def test_it_is_the_same_whenever_it_is_asked_and_another_for_another_rater(study: Study) -> None:
    assert trials_of(study, 3) == trials_of(study, 3)
    assert trials_of(study, 3) != trials_of(study, 4)


def test_practice_comes_first_and_questions_one_after_the_other(study: Study) -> None:
    trials = trials_of(study, 0)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    seen = list(dict.fromkeys(trial.question for trial in trials))
    assert seen == [REAL_OR_GENERATED, PREFERENCE, OPINION]
    for question in seen:
        phases = [trial.phase for trial in trials if trial.question == question]
        assert phases[:3] == [PRACTICE] * 3
        assert PRACTICE not in phases[3:]
        assert phases.count(COUNTED) == TRIALS[question]


def test_nobody_sees_a_place_twice_for_a_question_nor_one_of_practice(study: Study) -> None:
    kept = {place.name for place in study.kept_for_practice}
    for rater in range(20):
        for question in TRIALS:
            places = [
                trial.place.name
                for trial in trials_of(study, rater)
                if (trial.question, trial.phase) == (question, COUNTED)
            ]
            assert len(set(places)) == len(places)
            assert not kept & set(places)


def test_half_of_the_images_are_real_for_every_rater(study: Study) -> None:
    for rater in range(12):
        shown = Counter(
            trial.shown[0]
            for trial in trials_of(study, rater)
            if (trial.question, trial.phase) == (REAL_OR_GENERATED, COUNTED)
        )
        assert shown == {REAL: 4, SR: 2, BICUBIC: 2}


def test_over_raters_each_place_is_shown_in_each_way_about_as_often(study: Study) -> None:
    shown = Counter(
        (trial.place.name, trial.shown[0])
        for rater in range(400)
        for trial in trials_of(study, rater)
        if (trial.question, trial.phase) == (REAL_OR_GENERATED, COUNTED)
    )
    assert len(shown) == 20 * 3
    for source, expected in ((REAL, 80), (SR, 40), (BICUBIC, 40)):
        of = [count for (_, what), count in shown.items() if what == source]
        assert min(of) > 0.6 * expected
        assert max(of) < 1.4 * expected


def test_neither_side_is_favoured(study: Study) -> None:
    sides = Counter(
        trial.shown.index(SR)
        for rater in range(300)
        for trial in trials_of(study, rater)
        if (trial.question, trial.phase) == (PREFERENCE, COUNTED)
    )
    assert 0.45 < sides[0] / (sides[0] + sides[1]) < 0.55


def test_checks_show_what_nobody_can_mistake(study: Study) -> None:
    often = replace(study, check_every=2)
    checks = [trial for trial in trials_of(often, 0) if trial.phase == CHECK]
    assert Counter(trial.question for trial in checks) == {
        question: count // 2 for question, count in TRIALS.items()
    }
    for trial in checks:
        assert LR in trial.shown
        if trial.question == REAL_OR_GENERATED:
            assert trial.right == {"generated"}
        elif trial.question == PREFERENCE:
            assert trial.right == {("left", "right")[trial.shown.index(REAL)]}
        else:
            assert trial.right == {"1", "2"}


def test_a_preference_against_lr_pixels_is_right_where_the_photograph_is(study: Study) -> None:
    trials = [t for t in trials_of(study, 5) if (t.question, t.phase) == (PREFERENCE, PRACTICE)]
    for trial in trials:
        (side,) = trial.right
        assert trial.shown[("left", "right").index(side)] == REAL


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"trials": {"beauty": 3}}, "trials of beauty; wanted some of"),
        ({"trials": {OPINION: 0}}, "wanted at least one"),
        ({"trials": {OPINION: 30}}, "30 trials of a question want as many places"),
        ({"exposure_ms": 20}, "wanted 100 to 60000"),
        ({"practice": -1}, "practice is -1"),
    ],
)
def test_a_study_that_cannot_be_is_refused(
    tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        make_study(tmp_path / "study", **settings)
