"""Which trials a rater is shown, and in which order: a pure function of study and rater."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.study.plan import (
    LR,
    OPINION,
    PREFERENCE,
    QUESTIONS,
    REAL,
    REAL_OR_GENERATED,
    SR,
    Place,
    Study,
)

PRACTICE, CHECK, COUNTED = "practice", "check", "counted"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One question to one rater.

    Parameters
    ----------
    number : int
        From 0, of all trials of this rater.
    question : str
    phase : {"practice", "check", "counted"}
    place : Place
    shown : tuple of str
        Sources, from left to right.
    right : frozenset of str
        Answers that are right; empty where nobody knows better than the rater.
    """

    number: int
    question: str
    phase: str
    place: Place
    shown: tuple[str, ...]
    right: frozenset[str]


def trials_of(study: Study, rater: int) -> list[Trial]:
    """All trials of a rater, question by question, practice first.

    Every place is shown at most once for a question, each option as often as the others, and over
    raters each place in each option (a Latin square: who comes next sees the next option of each
    place). The order is random.

    Parameters
    ----------
    study : Study
    rater : int
        Number of the rater, from 0.
    """
    found: list[Trial] = []
    for question in QUESTIONS:
        count = study.trials.get(question, 0)
        if not count:
            continue
        random = np.random.default_rng([study.seed, rater, QUESTIONS.index(question)])
        chosen = _counted(study, question, rater, count, random)
        found += [_trial(study, question, PRACTICE, n, random) for n in range(study.practice)]
        for number, (place, option) in enumerate(chosen, 1):
            found.append(_make(question, COUNTED, place, _mirrored(option, random)))
            if study.check_every and number % study.check_every == study.check_every // 2:
                found.append(_trial(study, question, CHECK, number, random))
    return [Trial(**{**vars(trial), "number": number}) for number, trial in enumerate(found)]


def _counted(
    study: Study, question: str, rater: int, count: int, random: np.random.Generator
) -> list[tuple[Place, tuple[str, ...]]]:
    """Places and options, each option as often as the others."""
    options, places = study.options(question), study.shown
    # The same for all raters: what changes from one to the next is where in the square they begin.
    ranks = np.random.default_rng([study.seed, QUESTIONS.index(question)]).permutation(len(places))
    of_option: list[list[Place]] = [[] for _ in options]
    for rank, index in enumerate(ranks):
        of_option[(rank + rater) % len(options)].append(places[index])
    begin = rater // len(options)
    turned = [_from(some, begin * count // len(options)) for some in of_option]
    chosen: list[tuple[Place, tuple[str, ...]]] = []
    turn = rater % len(options)  # who gets one more, where options cannot be equally many
    while len(chosen) < count:
        if turned[turn]:
            chosen.append((turned[turn].pop(0), options[turn]))
        turn = (turn + 1) % len(options)
    return [chosen[index] for index in random.permutation(len(chosen))]


def _from(places: list[Place], start: int) -> list[Place]:
    start %= max(1, len(places))
    return places[start:] + places[:start]


def _trial(
    study: Study, question: str, phase: str, number: int, random: np.random.Generator
) -> Trial:
    """A trial that is not counted: what is right is known, or said to be nobody's to know."""
    places = study.kept_for_practice
    place = places[number % len(places)]
    if phase == CHECK:
        # LR pixels as squares: who looks sees it.
        shown: tuple[str, ...] = (REAL, LR) if question == PREFERENCE else (LR,)
    elif question == PREFERENCE:
        shown = (REAL, LR)
    else:
        shown = ((REAL,), (SR,))[number % 2]
    return _make(question, phase, place, _mirrored(shown, random))


def _mirrored(shown: tuple[str, ...], random: np.random.Generator) -> tuple[str, ...]:
    return shown[::-1] if random.random() < 0.5 else shown


def _make(question: str, phase: str, place: Place, shown: tuple[str, ...]) -> Trial:
    return Trial(
        number=0,
        question=question,
        phase=phase,
        place=place,
        shown=shown,
        right=_right(question, phase, shown),
    )


def _right(question: str, phase: str, shown: tuple[str, ...]) -> frozenset[str]:
    if question == REAL_OR_GENERATED:
        return frozenset({"real" if shown == (REAL,) else "generated"})
    if question == PREFERENCE and LR in shown:
        return frozenset({"left" if shown[0] == REAL else "right"})
    if question == OPINION and phase == CHECK:
        return frozenset({"1", "2"})
    return frozenset()
