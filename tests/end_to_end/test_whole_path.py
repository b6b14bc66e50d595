"""The whole path on small made scenes: real Prefect API, real MLflow database, real processes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

pytestmark = pytest.mark.slow

PIPELINE = """
[ingest]
satellite = "{scenes}/satellite"
aerial = "{scenes}/aerial"
landcover = "{scenes}/landcover.geojson"
store = "{out}/store"
split_block = 1
split_buffer = 0

[train]
out = "{out}/runs"
settings = {{ content_steps = 120, adversarial_steps = 12, val_every = 60, val_pairs = 8 }}

[upscale]
source = "{scenes}/satellite/sat_20240621/sat_20240621.json"
output = "{out}/sr.tif"

[report]
out = "{out}/report"
"""


def skyscale(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Prefect and MLflow make their databases, as for who runs a command the first time."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield folder


@pytest.fixture(scope="module")
def run(
    embedded: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("out")
    file = out / "pipeline.toml"
    file.write_text(PIPELINE.format(scenes=scenes, out=out))
    return skyscale("run", file), out


def test_the_numbers_are_the_same_everywhere(run: tuple[dict[str, Any], Path]) -> None:
    from flows.tracking import mlflow_client

    result, out = run
    summary = json.loads((out / "report/summary.json").read_text())
    client = mlflow_client()
    logged = client.get_run(result["train"]["run_id"])
    for name in ("psnr_db", "bicubic_psnr_db", "gain_db", "tiles"):
        assert result["report"][name] == pytest.approx(summary[name])
        assert logged.data.metrics[f"report/{name}"] == pytest.approx(summary[name])
    assert summary["scope"] == "test"
    test = result["train"]["test"]
    assert logged.data.metrics["test/gain_db"] == pytest.approx(test["gain_db"])


def test_a_short_training_is_better_than_bicubic_on_held_out_ground(
    run: tuple[dict[str, Any], Path],
) -> None:
    result, _ = run
    assert result["train"]["test"]["gain_db"] > 0.3
    assert result["report"]["mean_gain_db"] > 0.3


def test_shifts_are_those_of_the_truth(run: tuple[dict[str, Any], Path], scenes: Path) -> None:
    from geo.pairstore.store import PairStore

    _, out = run
    truth = {t["scene"]: t for t in json.loads((scenes / "truth.json").read_text())}
    done = PairStore.open(out / "store").rows(kind="scenes").to_pylist()
    assert len(done) == 2
    for row in done:
        shift = truth[row["satellite_id"]]["shift_lr_px"]
        assert row["dy_px"] == pytest.approx(shift["dy"], abs=0.05)
        assert row["dx_px"] == pytest.approx(shift["dx"], abs=0.05)


def test_the_model_is_registered_with_its_data_and_aliases(
    run: tuple[dict[str, Any], Path],
) -> None:
    from flows.registry import MODEL_NAME, find_model
    from flows.tracking import mlflow_client

    result, _ = run
    client = mlflow_client()
    version = client.get_model_version_by_alias(MODEL_NAME, "champion")
    assert client.get_model_version_by_alias(MODEL_NAME, "challenger").version == version.version
    assert version.run_id == result["train"]["run_id"]
    assert version.tags["store_digest"] == result["ingest"]["digest"]
    assert version.tags["promotion"].startswith("promoted")
    run_data = client.get_run(version.run_id)
    assert run_data.data.params["store_version"] == str(result["ingest"]["version"])
    artifacts = {a.path for a in client.list_artifacts(version.run_id)}
    assert {"generator", "report", "samples"} <= artifacts
    folder = find_model(f"models:/{MODEL_NAME}@champion").folder
    assert folder is not None
    card = json.loads((Path(folder) / "generator.json").read_text())
    assert card["store_digest"] == result["ingest"]["digest"]


def test_the_report_is_linked_and_can_be_compared(run: tuple[dict[str, Any], Path]) -> None:
    from flows.registry import MODEL_NAME
    from flows.tracking import mlflow_client

    result, out = run
    version = mlflow_client().get_model_version_by_alias(MODEL_NAME, "champion")
    assert version.tags["report_run_id"] == result["train"]["run_id"]
    found = skyscale("compare", out / "report", f"models:/{MODEL_NAME}@champion")
    assert found["psnr_db"]["a"] == pytest.approx(result["report"]["psnr_db"])
    assert found["psnr_db"]["difference"] == 0
    assert (found["tiles"], found["other_pixels"]) == (result["report"]["tiles"], 0)
    assert not found["a_replaces_b"]


def test_the_region_opens_in_any_gis(run: tuple[dict[str, Any], Path], scenes: Path) -> None:
    _, out = run
    valid, errors, _ = cog_validate(out / "sr.tif", strict=True)
    assert valid, errors
    with (
        rasterio.open(out / "sr.tif") as sr,
        rasterio.open(scenes / "satellite/sat_20240621/B04B03B02.tif") as lr,
    ):
        assert sr.crs == lr.crs
        assert sr.bounds == pytest.approx(lr.bounds)
        assert (sr.width, sr.height, sr.dtypes) == (lr.width * 4, lr.height * 4, lr.dtypes)
        assert sr.overviews(1)
        assert sr.descriptions == lr.descriptions
        assert sr.tags()["SKYSCALE_ITEM"] == "sat_20240621"


def test_tiles_have_scores_and_land_cover(run: tuple[dict[str, Any], Path]) -> None:
    _, out = run
    tiles = geopandas.read_parquet(out / "report/tiles.parquet")
    assert tiles["gain_db"].notna().all()
    assert tiles["category"].nunique() >= 3
    assert (tiles["gap_days"] - 3).abs().max() < 0.1
    assert tiles["registration_residual_px"].median() < 0.15
    assert (out / "report/report.html").stat().st_size > 50_000


def test_prefect_kept_the_runs_and_their_artifacts(
    run: tuple[dict[str, Any], Path], embedded: Path
) -> None:
    with sqlite3.connect(embedded / "prefect/prefect.db") as database:
        states = dict(
            database.execute(
                "select f.name, r.state_type from flow_run r join flow f on f.id = r.flow_id"
            )
        )
        keys = {key for (key,) in database.execute("select key from artifact") if key}
    assert {states[n] for n in ("pipeline", "ingest", "train", "upscale", "report")} == {
        "COMPLETED"
    }
    assert {"ingest", "train", "upscale", "report", "pipeline"} <= keys


def test_a_second_training_is_judged_against_the_champion(
    run: tuple[dict[str, Any], Path],
) -> None:
    from flows.registry import MODEL_NAME
    from flows.tracking import mlflow_client

    result, out = run
    settings = out / "weak.toml"
    settings.write_text("content_steps = 2\nadversarial_steps = 0\nval_pairs = 4\n")
    weak = skyscale(
        *("train", "--store", out / "store", "--config", settings, "--out", out / "runs")
    )
    assert weak["test"]["gain_db"] < result["train"]["test"]["gain_db"]
    client = mlflow_client()
    champion = client.get_model_version_by_alias(MODEL_NAME, "champion")
    challenger = client.get_model_version_by_alias(MODEL_NAME, "challenger")
    assert champion.run_id == result["train"]["run_id"]
    assert challenger.run_id == weak["run_id"]
    reason = challenger.tags["promotion"]
    assert reason.startswith("not promoted")
    assert f"against champion version {champion.version} on the same test pairs" in reason
    pairs = skyscale("compare", weak["run_id"], result["train"]["run_id"])
    assert (pairs["compared"], pairs["tiles"]) == ("test", weak["test"]["pairs"])
    assert pairs["reason"] in reason
