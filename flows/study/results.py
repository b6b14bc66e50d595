"""The results of a study: told, written, put beside the report, logged to the model's run."""

from __future__ import annotations

import csv as csv_files
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.errors import FlowError, UsageError
from flows.log_lines import finite
from flows.study.analysis import analyse
from flows.study.plan import REAL, Study, read_study
from flows.study.records import Records
from flows.study.serve import database_of

_PAGE = "study.html"
_LINK = '<!--study--><a href="study.html">What people said of it</a><!--/study-->'
_COLUMNS = (
    *("rater", "trial", "question", "phase", "place", "category", "shown", "answer", "right"),
    *("exposure_ms", "took_ms", "opened", "answered_at"),
)
_SOURCES = {
    "real": "real",
    "sr": "generated",
    "other": "the other model",
    "bicubic": "bicubic",
    "lr": "LR pixels",
}


def results_of(
    folder: Path,
    *,
    database: str | None = None,
    csv: Path | None = None,
    report: Path | None = None,
    log: bool = True,
) -> dict[str, Any]:
    """Analyse a study: what ``skyscale study results --json`` prints, with ``lines`` for people.

    Parameters
    ----------
    database : str, optional
        Of the answers; see `ServeConfig`.
    csv : Path, optional
        File to write every answer to.
    report : Path, optional
        Folder of a report that gets a page.
    log : bool
        Log to the MLflow run of the study, if it has one.

    Raises
    ------
    FlowError
        If nobody has answered.
    """
    study = read_study(folder)
    if database is None and not (folder / "answers.db").exists():
        raise FlowError(f"{folder}: nobody has answered yet; `skyscale study serve` lets them")
    if report is not None and not (report / "report.html").exists():
        raise UsageError(f"{report}: no report.html; `skyscale report` writes one")
    records = Records(database_of(folder, database))
    try:
        answers = records.answers()
    finally:
        records.close()
    if not answers:
        raise FlowError(f"{folder}: nobody has answered yet")
    found = analyse(study, answers)
    lines = tell(study, found)
    (folder / "results.json").write_text(json.dumps(finite(found), indent=2) + "\n")
    (folder / _PAGE).write_text(build_page(study, found), encoding="utf-8")
    if csv is not None:
        write_csv(answers, csv)
    if report is not None:
        add_to_report(folder / _PAGE, report)
    if log and study.run_id is not None:
        log_results(study, folder, found, lines)
    return {**found, "models": dict(study.models), "lines": lines}


def tell(study: Study, found: Mapping[str, Any]) -> list[str]:
    """The results, a line each."""
    raters = found["raters"]
    lines = [
        f"{raters['answered']} raters, {raters['left_out']} of them left out (they missed more than"
        f" a third of their attention checks); {found['answers']} answers count."
    ]
    for source, of in found["judged_real"].items():
        what = "Real images" if source == REAL else f"Images of {_named(study, source)}"
        lines.append(f"{what} were judged real in {_percent(of)}.")
    for two, of in found["preferred"].items():
        first, second = (_named(study, source) for source in two.split(" over "))
        lines.append(f"Of two, {first} was preferred to {second} in {_percent(of)}.")
    for source, of in found["opinion"].items():
        lines.append(f"Opinion of {_named(study, source)}: {_mean(of)} of 5.")
    for question, alpha in found["agreement"].items():
        told = "unknown" if alpha is None else f"{alpha:.2f}"
        lines.append(f"Agreement of raters, {question}: Krippendorff's alpha {told}.")
    exposure = found["exposure"]
    if exposure["measured"]:
        lines.append(
            f"Exposure: {exposure['median_ms']:.0f} ms (median), wanted "
            f"{exposure['wanted_ms']:.0f}; {exposure['off']} of {exposure['measured']} off by more "
            "than 50 ms."
        )
    return lines


def write_csv(answers: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Every answer, a line each."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv_files.DictWriter(out, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**a, "shown": " ".join(a["shown"])} for a in answers)


def build_page(study: Study, found: Mapping[str, Any]) -> str:
    """A page of the results that needs nothing else."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    pages = Environment(
        loader=PackageLoader("flows.study", "pages"), autoescape=select_autoescape()
    )
    style = (Path(__file__).parent / "pages/static/results.css").read_text()
    tables = (
        (
            "Judged real",
            "Share of the images that raters took for real aerial photographs. Raters who cannot "
            "tell judge generated ones real as often as real ones.",
            _rows(study, found["judged_real"]),
            1.0,
        ),
        (
            "Preferred",
            "Of two images of a place, how often the first looked more like an aerial photograph.",
            _rows(study, found["preferred"]),
            1.0,
        ),
        (
            "Mean opinion",
            "From 1, bad, to 5, excellent, with the satellite's image beside.",
            _rows(study, found["opinion"]),
            5.0,
        ),
    )
    return pages.get_template("results.html").render(
        study=study,
        found=found,
        style=style,
        lines=tell(study, found),
        tables=[table for table in tables if table[2]],
    )


def add_to_report(page: Path, report: Path) -> None:
    """Put the page beside a report, and a link to it into the report's own."""
    (report / _PAGE).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    file = report / "report.html"
    text = file.read_text(encoding="utf-8")
    if _LINK not in text:
        text = text.replace("<!--pages-->", f"<!--pages--><p>{_LINK}</p>", 1)
        file.write_text(text, encoding="utf-8")


def log_results(study: Study, folder: Path, found: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Log rates with their intervals, and the page, to the model's run."""
    from flows import tracking
    from flows.run_notes import plain

    assert study.run_id is not None
    tracking.check_reachable()
    metrics: dict[str, Any] = {}
    names = {"judged_real": "judged_real", "preferred": "preferred", "opinion": "opinion"}
    for key, name in names.items():
        for what, of in found[key].items():
            metric = f"study/{name}/{what.replace(' ', '_')}"
            metrics[metric] = of["value"]
            metrics |= {f"{metric}_{end}": of[end] for end in ("low", "high")}
    metrics |= {f"study/agreement/{name}": alpha for name, alpha in found["agreement"].items()}
    metrics["study/raters"] = found["raters"]["answered"] - found["raters"]["left_out"]
    tracking.log_metrics(study.run_id, metrics)
    for name in ("results.json", _PAGE):
        tracking.log_files(study.run_id, {"study": folder / name})
    tracking.describe_run(study.run_id, "Study: " + "\n\n".join(plain(line) for line in lines))


def _rows(study: Study, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, of in found.items():
        label = " over ".join(_named(study, source) for source in name.split(" over "))
        rows.append({"label": label, **of})
        rows += [
            {"label": category, "part": True, **part}
            for category, part in of["by_category"].items()
            if len(of["by_category"]) > 1
        ]
    return rows


def _named(study: Study, source: str) -> str:
    model = study.models.get(source)
    return _SOURCES[source] if model is None else f"{_SOURCES[source]} ({model})"


def _percent(of: Mapping[str, Any]) -> str:
    if of["low"] is None:
        return f"{of['value']:.0%} of {of['answers']} answers (too few raters or places to be sure)"
    return (
        f"{of['value']:.0%} of {of['answers']} answers (95 % interval {of['low']:.0%} to "
        f"{of['high']:.0%})"
    )


def _mean(of: Mapping[str, Any]) -> str:
    sure = "" if of["low"] is None else f" ({of['low']:.2f} to {of['high']:.2f})"
    return f"{of['value']:.2f}{sure}"
