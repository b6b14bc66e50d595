"""Reports in a real MLflow: found by run, model and folder, linked both ways, and compared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows import registry, report_log, tracking
from flows.cli import app
from flows.experiment_page import NOTE
from geo.reporting.scored import ScoredTiles, write_scored
from tests.geo.scored_tiles import SIDE, changed, model

GAIN_DB = 0.5


class Reports:
    """Two versions of a model, each with the report of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders: list[Path] = []
        self.runs: list[str] = []
        self.versions: list[str] = []
        for seed, gain in ((1, 0.0), (2, GAIN_DB)):
            training = tracking.start_run(f"train {seed}", {"stage": "train"}, {})
            self.versions.append(registry.register(training, {}))
            registry.challenge(self.versions[-1])
            self.runs.append(self.report(seed, gain, f"models:/{registry.MODEL_NAME}/{seed}"))

    def report(self, seed: int, gain: float, uri: str) -> str:
        """Log a report of a model; returns its run."""
        scored = with_scenes(model(seed, gain, model=uri))
        where = self.folder / f"report_{seed}"
        files = write_scored(scored, where)
        files["page"] = where / "report.html"
        files["page"].write_text("<p>report</p>")
        self.folders.append(where)
        run_id = tracking.start_run(f"report {seed}", {"stage": "report"}, {})
        report_log.log_report(run_id, {**scored.facts, **SUMMARY}, files)
        tracking.end_run(run_id)
        return run_id


SUMMARY: dict[str, Any] = {
    "scope": "test",
    "tiles": SIDE * SIDE,
    "psnr_db": 30.0,
    "bicubic_psnr_db": 29.5,
    "gain_db": 0.5,
    "gain_db_interval": (0.4, 0.6),
    "share_worse": 0.1,
    "ssim": float("nan"),
    "scores": {"ergas": {"sr": {"mean": 2.0, "median": 1.9}, "bicubic": {"mean": 3.0}}},
}


def with_scenes(scored: ScoredTiles) -> ScoredTiles:
    aerial = np.full(len(scored), "aerial_1", object)
    satellite = np.where(np.arange(len(scored)) % 2, "sat_1", "<b>sat_2").astype(object)
    return changed(scored, aerial_id=aerial, satellite_id=satellite)


@pytest.fixture(scope="module")
def reports(
    new_tracker: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reports]:
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", new_tracker(folder))
        patch.chdir(folder)
        yield Reports(folder)


def skyscale(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def compared(*arguments: object) -> dict[str, Any]:
    done = skyscale("compare", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_a_report_has_the_same_metric_names_in_every_run(reports: Reports) -> None:
    client = tracking.mlflow_client()
    first, second = (client.get_run(run).data.metrics for run in reports.runs)
    assert first.keys() == second.keys()
    assert first["report/psnr_db"] == 30.0
    assert first["report/bicubic_psnr_db"] == 29.5
    assert (first["report/gain_db_low"], first["report/gain_db_high"]) == (0.4, 0.6)
    assert (first["report/ergas"], first["report/bicubic_ergas"]) == (2.0, 3.0)
    assert first["report/median_ergas"] == 1.9
    assert "report/ssim" not in first  # not a number


def test_its_files_lie_where_a_reviewer_looks(reports: Reports) -> None:
    files = tracking.mlflow_client().list_artifacts(reports.runs[0], "report")
    assert {file.path for file in files} == {
        "report/report.html",
        "report/summary.json",
        "report/tiles.parquet",
    }


def test_report_model_training_and_scenes_are_linked_both_ways(reports: Reports) -> None:
    client = tracking.mlflow_client()
    run = client.get_run(reports.runs[1])
    version = client.get_model_version(registry.MODEL_NAME, reports.versions[1])
    assert run.data.tags["model_version"] == f"{registry.MODEL_NAME}/{version.version}"
    assert run.data.tags["train_run_id"] == version.run_id
    assert version.tags["report_run_id"] == reports.runs[1]
    assert client.get_run(version.run_id).data.tags["report_run_id"] == reports.runs[1]
    assert run.data.tags["satellite_ids"] == "<b>sat_2, sat_1"
    assert run.data.tags["aerial_ids"] == "aerial_1"


def test_reports_of_the_same_ground_have_the_same_dataset(reports: Reports) -> None:
    client = tracking.mlflow_client()
    inputs = [client.get_run(run).inputs.dataset_inputs for run in reports.runs]
    digests = {each[0].dataset.digest for each in inputs}
    assert len(digests) == 1
    assert inputs[0][0].dataset.name == "aerial_1"
    assert inputs[0][0].tags[0].value == "evaluation"


def test_many_scenes_fit_into_a_tag(tmp_path: Path, reports: Reports) -> None:
    names = np.array([f"S2A_MSIL2A_{number:030d}" for number in range(SIDE * SIDE)], object)
    scored = changed(model(3), satellite_id=names)
    run_id = tracking.start_run("report 3", {}, {})
    report_log.log_report(run_id, SUMMARY, write_scored(scored, tmp_path / "many"))
    told = tracking.mlflow_client().get_run(run_id).data.tags["satellite_ids"]
    assert len(told) <= 2000
    assert told.endswith(" more")


def test_the_sentence_stands_where_reviewers_of_run_version_and_training_look(
    reports: Reports,
) -> None:
    client = tracking.mlflow_client()
    run = client.get_run(reports.runs[1])
    version = client.get_model_version(registry.MODEL_NAME, reports.versions[1])
    notes = (
        run.data.tags[NOTE],
        version.description,
        client.get_run(version.run_id).data.tags[NOTE],
    )
    for note in notes:
        assert "Report: [SR beats bicubic by 0.50 dB of PSNR" in note
        assert f"runs/{reports.runs[1]}/artifacts/report/report.html" in note
    assert run.info.run_name == f"report v{version.version} 2"


def test_scores_that_matter_are_listed_first() -> None:
    names = [name for name, _ in report_log.metrics_of({**SUMMARY, "mean_gain_db": 1.0})]
    first = ("psnr_db", "bicubic_psnr_db", "gain_db", "gain_db_low", "gain_db_high", "share_worse")
    assert names[:6] == [f"report/{name}" for name in first]


def test_a_report_is_of_the_version_that_an_alias_meant_when_it_was_drawn(
    reports: Reports,
) -> None:
    uri = f"models:/{registry.MODEL_NAME}@champion"
    drawn_by = f"{registry.MODEL_NAME}/{reports.versions[0]}"
    client = tracking.mlflow_client()
    client.set_registered_model_alias(registry.MODEL_NAME, "champion", reports.versions[1])
    training = client.get_model_version(registry.MODEL_NAME, reports.versions[0]).run_id
    meant = report_log.Link(version=drawn_by, run_id=training)
    of_tiles = changed(
        model(1),
        model=np.full(SIDE * SIDE, uri, object),
        model_version=np.full(SIDE * SIDE, drawn_by, object),
    )
    assert report_log.find_link({"model": uri}, of_tiles) == meant
    assert report_log.find_link({"model": uri, "model_version": drawn_by}, model(1)) == meant
    assert report_log.find_link({"model": uri}, model(1)) == report_log.Link()


def test_after_a_report_the_version_that_drew_it_leads_to_it(
    reports: Reports, tmp_path: Path
) -> None:
    client = tracking.mlflow_client()
    client.create_registered_model("of-another-name")
    client.create_model_version("of-another-name", source=str(tmp_path))
    drawn_by = {"model": "models:/of-another-name@champion", "model_version": "of-another-name/1"}
    summary = {**SUMMARY, **drawn_by}
    run_id = tracking.start_run("report 4", {"stage": "report"}, {})
    report_log.log_report(run_id, summary, write_scored(with_scenes(model(4)), tmp_path / "r"))
    version = client.get_model_version("of-another-name", "1")
    assert version.tags["report_run_id"] == run_id
    assert client.get_run(run_id).data.tags["model_version"] == "of-another-name/1"
    assert version.description.startswith("Report: ")


def test_a_model_that_this_mlflow_does_not_know_is_not_linked(
    tmp_path: Path, reports: Reports
) -> None:
    for uri in ("models:/skyscale-generator/99", f"runs:/{'0' * 32}/generator", "bicubic", ""):
        link = report_log.find_link({"model": uri}, model(1))
        assert link == report_log.Link()


def test_runs_models_and_folders_name_the_same_reports(reports: Reports) -> None:
    name = registry.MODEL_NAME
    by_run = compared(reports.runs[1], reports.runs[0])
    by_model = compared(f"models:/{name}@challenger", f"models:/{name}/1")
    by_folder = compared(reports.folders[1], reports.folders[0])
    for found in (by_run, by_model, by_folder):
        assert found["psnr_db"] == by_run["psnr_db"]
    assert by_model["run_a"] == reports.runs[1]
    assert by_run["psnr_db"]["difference"] == pytest.approx(GAIN_DB, abs=0.15)
    assert by_run["verdict"] == "better"
    assert by_run["a_replaces_b"]


def test_a_run_is_not_better_than_itself(reports: Reports) -> None:
    found = compared(reports.runs[0], reports.runs[0])
    assert found["psnr_db"]["difference"] == 0
    assert found["psnr_db"]["interval"] == [0, 0]
    assert not found["a_replaces_b"]
    assert "a tie" in found["reason"]


def test_people_read_a_table_and_the_rule(reports: Reports) -> None:
    done = skyscale("compare", reports.runs[1], reports.runs[0])
    assert done.exit_code == 0, done.output
    for words in ("A less B", "95 % interval", "ssim", "farm", "By PSNR A is better", "A would"):
        assert words in done.output


def test_it_is_written_and_logged_on_request(reports: Reports, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    found = compared(reports.runs[1], reports.runs[0], "--out", tmp_path / "out", "--log")
    told = json.loads((tmp_path / "out/comparison.json").read_text())
    assert told["psnr_db"] == found["psnr_db"]
    table = pq.read_table(tmp_path / "out/comparison.parquet")
    assert table.num_rows == SIDE * SIDE
    assert {"tile", "geometry", "a_squared_error", "b_squared_error"} <= set(table.column_names)
    run = tracking.mlflow_client().get_run(found["run_id"])
    assert run.data.metrics["compare/psnr_db"] == pytest.approx(found["psnr_db"]["difference"])
    assert run.data.metrics["compare/psnr_db_low"] > 0
    assert run.data.tags["run_b"] == reports.runs[0]
    files = tracking.mlflow_client().list_artifacts(found["run_id"], "comparison")
    assert len(files) == 2


def test_how_much_is_right_is_shown_and_judged_by(reports: Reports, tmp_path: Path) -> None:
    folders = tmp_path / "noise", tmp_path / "blur"
    for folder, gain, right in zip(folders, (1.0, 0.0), (0.2, 0.6), strict=True):
        part = {
            "improvement": right,
            "hallucination": 1 - right,
            "bicubic_improvement": 0.3,
            "bicubic_hallucination": 0.3,
        }
        columns = {name: np.full(SIDE * SIDE, value) for name, value in part.items()}
        write_scored(changed(model(1, gain), **columns), folder)
    found = compared(*folders, "--log")
    right = found["correctness"]
    assert (right["a"], right["b"], right["bicubic"]) == pytest.approx((0.2, 0.6, 0.5))
    assert not found["a_replaces_b"]
    assert found["reason"].startswith("less of what it draws is right than of bicubic")
    told = skyscale("compare", *folders).output
    (row,) = [line for line in told.splitlines() if line.startswith("correctness")]
    assert row.split()[1:4] == ["0.200", "0.600", "-0.400"]
    assert "20% of what it draws right against 60% (bicubic 50%)" in told
    metrics = tracking.mlflow_client().get_run(found["run_id"]).data.metrics
    assert metrics["compare/correctness"] == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("nobody", 2, "names no report"),
        ("0" * 32, 1, "no such run"),
        ("models:/skyscale-generator/99", 1, "no such model"),
    ],
)
def test_what_is_no_report_is_said_in_one_line(
    reports: Reports, name: str, status: int, says: str
) -> None:
    done = skyscale("compare", name, reports.runs[0])
    assert done.exit_code == status, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("skyscale:")]
    assert says in line


def test_a_run_without_report_says_how_to_make_one(reports: Reports) -> None:
    bare = tracking.start_run("bare", {}, {})
    done = skyscale("compare", bare, reports.runs[0])
    assert done.exit_code == 1
    assert "`skyscale report` of a region" in done.stderr


def test_other_rules_are_one_line(reports: Reports, tmp_path: Path) -> None:
    other = dataclasses.replace(model(2), facts={**model(2).facts, "data_range": 255.0})
    write_scored(other, tmp_path / "other")
    done = skyscale("compare", reports.folders[0], tmp_path / "other")
    assert done.exit_code == 1
    assert "data range 10000.0 against 255.0" in done.stderr
