"""``skyscale report`` and ``skyscale upscale --reference`` as users type them, on made scenes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas
import pytest
from typer.testing import CliRunner

from flows.cli import app
from geo.catalog.sources import read_scenes
from tests.servers.dask_cluster import DaskCluster

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("services")]

ROOT = Path(__file__).resolve().parents[2]


def skyscale(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def upscaled(
    services: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """An area of several dates upscaled by bicubic and reported on in the same run."""
    out = tmp_path_factory.mktemp("upscaled") / "sr.tif"
    found, _ = read_scenes(str(scenes / "satellite"))
    west, south, east, north = found[0].footprint.bounds
    area = f"{west + 0.0004},{south + 0.0004},{east - 0.0004},{north - 0.0004}"
    words = ("--model", "bicubic", "--aoi", area, "--end", "2024-08-01", "--block", 128)
    return skyscale(
        *("upscale", scenes / "satellite", out, *words, "--reference", scenes / "aerial")
    ), out


def test_an_upscaled_mosaic_is_reported_on_in_the_same_run(
    upscaled: tuple[dict[str, Any], Path],
) -> None:
    result, out = upscaled
    told = result["report"]
    assert told["files"]["page"] == str(out.with_name("sr-report") / "report.html")
    # Bicubic against bicubic, clouds replaced by other dates in both.
    assert told["tiles"] > 10
    assert told["gain_db"] == pytest.approx(0, abs=0.02)
    assert abs(told["seams"]["score"]) < 0.1
    assert told["seams"]["blocks_px"] == 512
    tiles = geopandas.read_parquet(told["files"]["tiles"])
    assert set(tiles["satellite_id"]) <= set(result["scenes"])
    assert tiles["aerial_id"].nunique() == 1
    assert tiles["gap_days"].notna().all()


def test_without_reference_and_beside_another_model(
    upscaled: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, sr = upscaled
    told = skyscale("report", sr, "--other", sr, "--out", tmp_path / "report", "--tile", 16)
    assert (told["tiles"], told["psnr_db"], told["gain_db"]) == (0, None, None)
    by_who = told["scores"]["lr_consistency"]
    assert by_who["sr"] == by_who["other"]
    page = (tmp_path / "report/report.html").read_text()
    assert "No aerial reference" in page


def test_a_report_killed_half_way_goes_on_and_comes_to_the_same(
    upscaled: tuple[dict[str, Any], Path], scenes: Path, tmp_path: Path
) -> None:
    _, sr = upscaled
    words = ("report", sr, scenes / "aerial", "--tile", 16, "--workers", 1)
    whole = skyscale(*words, "--out", tmp_path / "whole")
    command = [sys.executable, "-m", "flows", *map(str, words), "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL, start_new_session=True
    )
    rows = tmp_path / "killed/report.html.skyscale/rows"
    while process.poll() is None and not (rows.exists() and len(list(rows.iterdir())) >= 2):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = skyscale(*words, "--out", tmp_path / "killed")
    assert 0 < again["tiles_scored_before"] < again["tiles_all"]
    assert not rows.exists()
    names = ("psnr_db", "gain_db", "gain_db_interval", "ssim", "tiles", "by_gap")
    assert {n: again[n] for n in names} == {n: whole[n] for n in names}
    first, second = (
        geopandas.read_parquet(tmp_path / name / "tiles.parquet") for name in ("whole", "killed")
    )
    assert first.equals(second)


def test_reviewers_of_the_prefect_ui_find_the_sentence_the_map_and_the_page(
    upscaled: tuple[dict[str, Any], Path],
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    result, _ = upscaled

    def told(key: str) -> str:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=wanted, limit=200)
        return "\n".join(str(artifact.data) for artifact in found)

    text = told("report")
    assert "| PSNR, dB |" in text
    assert "![Map of tiles](data:image/png;base64," in text
    page = Path(result["report"]["files"]["page"]).as_uri()
    assert page in told("report-page")
    assert page in told("region-report"), "the flow that called for the report leads to it"
    assert "![the region](data:image/jpeg;base64," in told("region")


def test_what_cannot_be_reported_on_is_told_before_hours_of_work(
    scenes: Path, tmp_path: Path
) -> None:
    words = ("upscale", scenes / "satellite", tmp_path / "sr.zarr", "--model", "bicubic")
    done = CliRunner().invoke(app, [*map(str, words), "--reference", str(scenes / "aerial")])
    assert done.exit_code == 2
    assert "a report reads a GeoTIFF" in done.stderr
    assert not list(tmp_path.iterdir())


def test_workers_in_other_folders_score_the_same(
    upscaled: tuple[dict[str, Any], Path],
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, sr = upscaled
    monkeypatch.chdir(sr.parent)
    words = ("report", sr.name, os.path.relpath(scenes / "aerial"))
    here = skyscale(*words, "--out", tmp_path / "here")
    with closing(DaskCluster()) as cluster:
        cluster.start_scheduler()
        cluster.start_worker()
        monkeypatch.setenv("SKYSCALE_DASK_SCHEDULER", cluster.address)
        there = skyscale(*words, "--out", tmp_path / "there")
    assert there["scores"] == here["scores"]
    assert there["tiles_unread"] == 0
