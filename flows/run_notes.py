"""What reviewers read first: descriptions of runs and model versions in MLflow, as Markdown.

MLflow shows five lines of a description before "Show more", the last of them faded and dead to
clicks, and of a version the beginning of the first line, unformatted, in the table of versions: so
each begins with its result, which is the way to the report as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows import mlflow_pages

# In the order in which they stand. What people wrote themselves stands before all.
_SECTIONS = ("Promoted", "Not promoted", "Report", "Study", "Training")
_BEGINS = re.compile(rf"(?m)^(?={'|'.join(f'{name}: ' for name in _SECTIONS)})")
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&|~#!]")

# Score of a summary, its name for people, format.
_SCORES = (
    ("psnr_db", "PSNR, dB", ".2f"),
    ("cpsnr_db", "cPSNR, dB", ".2f"),
    ("ssim", "SSIM", ".3f"),
    ("detail", "detail", ".0%"),
    ("hallucination", "hallucination", ".3f"),
    ("lr_consistency", "LR consistency", ".4f"),
)


def plain(text: object) -> str:
    """Text of catalogues and paths on one line, with no meaning to Markdown or HTML."""
    line = " ".join(str(text).split())
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line)


def with_section(note: str | None, section: str) -> str:
    """A description with a section in the place of its former self.

    A section begins a line with its name and a colon, and goes on to the next one.
    """
    name = _name(section)
    kept = [part.strip() for part in _BEGINS.split(note or "")]
    parts = [part for part in kept if part and _name(part) != name] + [section.strip()]
    return "\n\n".join(sorted(parts, key=_place))


def _name(part: str) -> str | None:
    return next((name for name in _SECTIONS if part.startswith(f"{name}: ")), None)


def _place(part: str) -> int:
    name = _name(part)
    return -1 if name is None else _SECTIONS.index(name)


@dataclass(frozen=True, kw_only=True)
class ReportPlace:
    """Where a report and what it is about are found.

    Parameters
    ----------
    experiment_id, run_id : str
        Of the run that it is logged to.
    page, map : str or None
        Artifact paths of its page and of the map of its tiles.
    version : str or None
        ``NAME/VERSION`` of the model.
    trained_by : str or None
        Run of the same experiment that trained it.
    """

    experiment_id: str
    run_id: str
    page: str | None = None
    map: str | None = None
    version: str | None = None
    trained_by: str | None = None


def report_section(summary: Mapping[str, Any], place: ReportPlace) -> str:
    """The sentence of a report, which opens it, the way to model and training, and its numbers.

    Parameters
    ----------
    summary : mapping
        What ``summary.json`` holds.
    place : ReportPlace
    """
    from geo.reporting.headline import headline
    from geo.reporting.use_told import use_sentence

    sentence, links = headline(dict(summary)), []
    if place.page is not None:
        page = mlflow_pages.file_page(place.experiment_id, place.run_id, place.page)
        sentence = f"[{sentence}]({page})"
    if place.version is not None:
        links.append(f"Model [{plain(place.version)}]({mlflow_pages.version_page(place.version)})")
    elif summary.get("model"):
        links.append(f"Model {plain(summary['model'])}")
    if place.trained_by not in (None, place.run_id):
        page = mlflow_pages.run_page(place.experiment_id, str(place.trained_by))
        links.append(f"[training]({page})")
    if summary.get("reference"):
        links.append(f"reference {plain(summary['reference'])}")
    told = [
        f"Report: {sentence}",
        " · ".join(links),
        *_table(("score", "SR", "bicubic"), _score_rows(summary)),
        *([plain(use_sentence(summary["use"]))] if summary.get("use") else []),
    ]
    if place.map is not None:
        told.append(f"![Map of the tiles]({mlflow_pages.picture(place.run_id, place.map)})")
    return "\n\n".join(told)


def _score_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name, label, form in _SCORES:
        of = (summary.get("scores") or {}).get(name) or {}
        ours, theirs = (_whole(of.get(who)) for who in ("sr", "bicubic"))
        if ours is not None:
            rows.append((label, _n(ours, form), _n(theirs, form)))
    return rows


def _whole(of: Mapping[str, Any] | None) -> float | None:
    """Of all pixels together where that can be said, else the mean over tiles."""
    if of is None:
        return None
    return of.get("mean") if of.get("pooled") is None else of["pooled"]


def training_section(
    job: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    experiment_id: str,
    version: str,
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """What came of a training, the way to its model, card and curves, and pictures to look at.

    Parameters
    ----------
    job, evaluation : mapping
        As `flows.train_job` and `flows.train_evaluate` write them.
    experiment_id : str
    version : str
        ``NAME/VERSION`` that it was registered as.
    pictures : sequence of (caption, artifact path)
    """
    rows = [
        (split, s["pairs"], *_pooled(s))
        for split in ("val", "test")
        if (s := evaluation.get(split))
    ]
    head = ("ground", "pairs", "PSNR, dB", "bicubic, dB", "gain, dB")
    return made_section(
        job,
        evaluation,
        told=_trained(evaluation),
        card="generator/README.md",
        table=_table(head, rows),
        experiment_id=experiment_id,
        version=version,
        pictures=pictures,
    )


def made_section(
    job: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    told: str,
    card: str,
    table: Sequence[str],
    experiment_id: str,
    version: str,
    pictures: Sequence[tuple[str, str]],
) -> str:
    """The section of a training, whatever it made.

    Parameters
    ----------
    told : str
        What came of it, as a sentence without its first capital.
    card : str
        Artifact path of the card.
    table : sequence of str
        Of scores, as Markdown.
    """
    run_id = job["run_id"]
    card = mlflow_pages.file_page(experiment_id, run_id, card)
    curves = mlflow_pages.run_page(experiment_id, run_id, "model-metrics")
    links = (
        f"[{plain(version)}]({mlflow_pages.version_page(version)})",
        f"[model card]({card})",
        f"[all curves]({curves})",
        f"{evaluation['parameters']:,} parameters",
        f"version {job['store_version']} of {plain(job['store'])}",
        *_further(job.get("start")),
    )
    shown = [
        f"{plain(caption)}:\n\n![{plain(caption)}]({mlflow_pages.picture(run_id, path)})"
        for caption, path in pictures
    ]
    return "\n\n".join([f"Training: {told}", " · ".join(links), *table, *shown])


def _further(start: Mapping[str, Any] | None) -> list[str]:
    """The way to what it was trained further from, if it did not begin from scratch."""
    if start is None:
        return []
    name = plain(start["name"])
    if start["version"] is None:
        return [f"trained further from {name}"]
    return [f"trained further from [{name}]({mlflow_pages.version_page(start['version'])})"]


def _trained(evaluation: Mapping[str, Any]) -> str:
    test = evaluation.get("test")
    if not test:
        return "no test pairs, so nobody knows how good it is."
    low, high = test.get("pooled_gain_db_low"), test.get("pooled_gain_db_high")
    sure = "" if low is None else f" (95 % interval {low:+.2f} to {high:+.2f} dB)"
    gain = _n(test.get("pooled_gain_db"), "+.2f")
    return f"gain over bicubic {gain} dB of PSNR on {test['pairs']} held-out test pairs{sure}."


def comparison_note(result: Mapping[str, Any]) -> str:
    """What a comparison came to.

    Parameters
    ----------
    result : mapping
        As `flows.compare.compare_runs` gives it.
    """
    verb = "would" if result["a_replaces_b"] else "would not"
    differences = {"PSNR, dB": result["psnr_db"], **result["scores"]}
    rows = [
        (plain(name), *(_n(of[key], ".4g") for key in ("a", "b")), _difference(of))
        for name, of in differences.items()
        if of is not None
    ]
    return "\n\n".join(
        [
            f"A {verb} take B's place: {plain(result['reason'])}.",
            f"A is {plain(result['a'])}, B is {plain(result['b'])}.",
            *_table(("score", "A", "B", "A less B"), rows),
        ]
    )


def _difference(of: Mapping[str, Any]) -> str:
    if of["interval"] is None:
        return _n(of["difference"], "+.3g")
    low, high = of["interval"]
    return f"{of['difference']:+.3g} ({low:+.3g} to {high:+.3g})"


def _pooled(scores: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of all pixels, as in reports; means over chips lie among the metrics."""
    names = ("pooled_psnr_db", "pooled_bicubic_psnr_db", "pooled_gain_db")
    psnr, bicubic, gain = (scores.get(name) for name in names)
    return _n(psnr, ".2f"), _n(bicubic, ".2f"), _n(gain, "+.2f")


def _n(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table; MLflow leaves no room between cells, so they bring their own."""
    lines = [" | ".join(f"{cell}&emsp;" for cell in row) for row in rows]
    if not lines:
        return []
    first = " | ".join(f"{cell}&emsp;" for cell in head)
    return ["\n".join(f"| {line} |" for line in (first, "|".join(["---"] * len(head)), *lines))]
