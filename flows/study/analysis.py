"""What the answers of a study come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from flows.study.intervals import Estimate, estimate_mean, estimate_share
from flows.study.order import CHECK, COUNTED
from flows.study.plan import OPINION, PREFERENCE, REAL, REAL_OR_GENERATED, Study

# Of the attention checks that a rater has answered; with fewer right, nobody looked.
LEAST_CHECKS_RIGHT = 2 / 3
# How far the exposure that a page has measured may be from the one that was wanted.
EXPOSURE_TOLERANCE_MS = 50.0

Answers = Sequence[Mapping[str, Any]]


def analyse(study: Study, answers: Answers) -> dict[str, Any]:
    """Rates with intervals over raters and places, agreement, and what was left out.

    Parameters
    ----------
    study : Study
    answers : sequence of mapping
        As `Records.answers` gives them.

    Returns
    -------
    dict
        ``raters`` (``answered``, ``left_out``), ``judged_real`` (of each source the share that was
        judged real: for generated ones the fooling rate), ``preferred`` (of each two the share
        that preferred the first), ``opinion`` (mean of each source), each of these with
        ``by_category``; ``agreement`` (Krippendorff's alpha of each question), ``exposure``.
    """
    left_out = inattentive(answers)
    counted = [a for a in answers if a["phase"] == COUNTED and a["rater"] not in left_out]
    of = {name: [a for a in counted if a["question"] == name] for name in study.trials}
    judged, preferred, opinions = (
        of.get(name, []) for name in (REAL_OR_GENERATED, PREFERENCE, OPINION)
    )
    return {
        "answers": len(counted),
        "raters": {
            "answered": len({a["rater"] for a in answers}),
            "left_out": len(left_out),
        },
        "judged_real": _by(judged, lambda a: a["shown"][0], _judged_real),
        "preferred": _by(preferred, _two, _first_preferred),
        "opinion": _by(opinions, lambda a: a["shown"][0], _mean_opinion),
        "agreement": {
            name: _agreement(some, ordinal=name == OPINION) for name, some in of.items() if some
        },
        "exposure": _exposure(judged, study.exposure_ms),
        "looked_at_again": sum(a["opened"] > 1 for a in counted),
    }


def inattentive(answers: Answers) -> set[int]:
    """Raters who missed more than a third of their attention checks; they are left out."""
    right: dict[int, list[bool]] = defaultdict(list)
    for answer in answers:
        if answer["phase"] == CHECK:
            right[answer["rater"]].append(bool(answer["right"]))
    return {rater for rater, marks in right.items() if np.mean(marks) < LEAST_CHECKS_RIGHT}


def _by(
    answers: Answers,
    key: Callable[[Mapping[str, Any]], str],
    estimate: Callable[[Answers], Estimate | None],
) -> dict[str, dict[str, Any]]:
    """An estimate of each kind of trial, and within each of every category."""
    groups = _grouped(answers, key)
    found = {}
    for name, some in sorted(groups.items()):
        whole = estimate(some)
        assert whole is not None  # a group has answers
        categories = _grouped(some, lambda a: a["category"] or "unknown")
        found[name] = {
            **asdict(whole),
            "by_category": {
                category: asdict(part)
                for category, few in sorted(categories.items())
                if (part := estimate(few)) is not None
            },
        }
    return found


def _grouped(
    answers: Answers, key: Callable[[Mapping[str, Any]], str]
) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for answer in answers:
        groups[key(answer)].append(answer)
    return groups


def _judged_real(answers: Answers) -> Estimate | None:
    return estimate_share([a["answer"] == "real" for a in answers], *_clusters(answers))


def _two(answer: Mapping[str, Any]) -> str:
    """Whichever side they were on; what is real comes first, as `Study.options` has it."""
    return " over ".join(sorted(answer["shown"], key=_rank))


def _rank(source: str) -> tuple[int, str]:
    return (REAL, "sr", "other", "bicubic", "lr").index(source), source


def _first_preferred(answers: Answers) -> Estimate | None:
    chosen = [a["shown"][0 if a["answer"] == "left" else 1] for a in answers]
    first = [min(a["shown"], key=_rank) for a in answers]
    return estimate_share(
        [one == two for one, two in zip(chosen, first, strict=True)], *_clusters(answers)
    )


def _mean_opinion(answers: Answers) -> Estimate | None:
    return estimate_mean([float(a["answer"]) for a in answers], *_clusters(answers))


def _clusters(answers: Answers) -> tuple[list[int], list[str]]:
    return [a["rater"] for a in answers], [a["place"] for a in answers]


def _agreement(answers: Answers, *, ordinal: bool) -> float | None:
    """Krippendorff's alpha: 1 for raters of one mind, 0 for chance.

    None where no two have judged the same, or all have said the same of everything.
    """
    import krippendorff

    units: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for answer in answers:
        units[answer["place"], tuple(sorted(answer["shown"]))].append(_meant(answer))
    compared = [said for said in units.values() if len(said) > 1]
    values = sorted({value for said in compared for value in said})
    if len(values) < 2:
        return None
    counts = np.array([[said.count(value) for value in values] for said in compared])
    level: Literal["ordinal", "nominal"] = "ordinal" if ordinal else "nominal"
    domain = list(range(len(values)))
    return float(
        krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level)
    )


def _meant(answer: Mapping[str, Any]) -> str:
    """What was said, whichever side it was on."""
    if answer["question"] == PREFERENCE:
        return str(answer["shown"][0 if answer["answer"] == "left" else 1])
    return str(answer["answer"])


def _exposure(answers: Iterable[Mapping[str, Any]], wanted_ms: float) -> dict[str, Any]:
    measured = np.array([a["exposure_ms"] for a in answers if a["exposure_ms"] is not None])
    if not measured.size:
        return {"measured": 0}
    off = np.abs(measured - wanted_ms)
    return {
        "measured": int(measured.size),
        "wanted_ms": wanted_ms,
        "median_ms": float(np.median(measured)),
        "largest_error_ms": float(off.max()),
        "off": int((off > EXPOSURE_TOLERANCE_MS).sum()),
    }
