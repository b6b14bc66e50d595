"""The command as users type it: results, errors of one line, exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds
from typer.testing import CliRunner, Result

from flows.cli import app
from tests.geo.cogs import assert_same_picture

COMMANDS = (
    "scenes",
    "ingest",
    "pairs",
    "coregister",
    "train",
    "upscale",
    "export",
    "report",
    "compare",
    "run",
    "demo",
    "up",
    "status",
)


def skyscale(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def result_of(*arguments: object) -> dict[str, Any]:
    """What ``--json`` prints; nothing else may stand on standard output."""
    done = skyscale(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def write(path: Path, data: np.ndarray, crs: str | None = "EPSG:32633", pixel: float = 10) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(data),
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype,
        crs=crs,
        transform=Affine(pixel, 0, 500_000, 0, -pixel, 5_000_000),
    ) as dataset:
        dataset.write(data)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = skyscale(command, "--help")
    assert done.exit_code == 0
    assert f"Example: skyscale {command}" in " ".join(done.output.split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import flows.cli; "
        "print([m for m in ('torch', 'prefect', 'mlflow', 'rasterio', 'dask', 'distributed', "
        "'numpy', 'zarr', 'deltalake', 'requests') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_coregister_finds_a_known_shift(tmp_path: Path) -> None:
    from scipy import ndimage

    noise = np.random.default_rng(0).normal(size=(220, 220))
    ground = ndimage.gaussian_filter(noise, 1.5)
    ground = 2000 + 400 * ground / ground.std()
    moved = ndimage.shift(ground, (1.25, -0.5), order=3, mode="reflect")
    a = write(tmp_path / "a.tif", ground[None, 8:-8, 8:-8].astype(np.float32))
    b = write(tmp_path / "b.tif", moved[None, 8:-8, 8:-8].astype(np.float32))
    found = result_of("coregister", a, b)
    assert found["accepted"]
    assert found["dy_px"] == pytest.approx(1.25, abs=0.05)
    assert found["dx_px"] == pytest.approx(-0.5, abs=0.05)
    assert found["dy_m"] == pytest.approx(12.5, abs=0.6)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Run a command in a process group of its own, to be killed with all that it has started."""
    command = [sys.executable, "-m", "flows", *map(str, arguments)]
    # With a Prefect of its own, so that this is killed as well.
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=own)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def one_line_error(done: Result, status: int, *words: str) -> None:
    assert done.exit_code == status, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("skyscale:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.output
    for word in words:
        assert word in lines[0]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    one_line_error(skyscale("coregister", tmp_path / "nix.tif", "b.tif"), 1, "nix.tif", "no such")
    one_line_error(skyscale("pairs", tmp_path / "nix"), 1, "no pair store")


def test_a_broken_pipeline_file_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("[ingest]\nsatelite = 'a'\n")
    one_line_error(skyscale("run", file), 2, "[ingest]", "satelite")
    file.write_text("[ingest\n")
    one_line_error(skyscale("run", file), 2, "not TOML")


def ingest_arguments(scenes: Path, store: Path) -> list[object]:
    return [
        *("ingest", "--satellite", scenes / "satellite", "--aerial", scenes / "aerial"),
        *("--store", store, "--split-block", 1, "--split-buffer", 0),
    ]


@pytest.fixture(scope="module")
def ingested(
    services: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A store of all scenes, made without disturbance, and what was told of it."""
    store = tmp_path_factory.mktemp("ingested") / "store"
    return store, result_of(*ingest_arguments(scenes, store))


@pytest.mark.slow
class TestIngest:
    def test_bad_input_is_one_line_or_a_refusal(
        self, services: Path, scenes: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "store"
        base = ingest_arguments(scenes, store)
        one_line_error(skyscale(*base, "--bands", "red,ultraviolet"), 1, "ultraviolet")
        window = ("--start", "2024-06-30", "--end", "2024-06-01")
        one_line_error(skyscale(*base, *window), 2, "time window is empty")
        one_line_error(skyscale(*base, "--start", "soon"), 2, "soon")
        one_line_error(skyscale(*base, "--aoi", "1,2,3"), 2, "aoi")
        one_line_error(skyscale(*base, "--scale", 3), 2, "scale is 3")
        nowhere = ingest_arguments(tmp_path / "nix", store)
        one_line_error(skyscale(*nowhere), 1, "no such file")
        nothing = (*base, "--start", "1999-01-01", "--end", "1999-02-01")
        one_line_error(skyscale(*nothing), 1, "no scene pair matches")
        assert not store.exists()

    def test_bad_files_among_good_ones_are_listed(
        self, services: Path, scenes: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "mixed"
        folder.mkdir()
        good = scenes / "satellite/sat_20240621"
        for name in ("B04B03B02.tif", "SCL.tif"):
            (folder / f"S_20240621_{name}").write_bytes((good / name).read_bytes())
        (folder / "T_20240621.tif").write_text("<html>not found</html>")
        whole = (good / "B04B03B02.tif").read_bytes()
        (folder / "U_20240622_cut.tif").write_bytes(whole[: len(whole) // 2])
        (folder / "V_undated.tif").write_bytes(whole)
        write(folder / "W_20240621.tif", np.ones((3, 8, 8), np.uint16), crs=None)
        store = tmp_path / "store"
        found = result_of(
            *("ingest", "--satellite", folder, "--aerial", scenes / "aerial", "--store", store),
        )
        assert found["pairs_added"] > 10
        listed = result_of("pairs", store, "--rejected")["rejections"]
        reasons = {row["satellite_id"]: row["reason"] for row in listed if row["row"] is None}
        assert reasons == {
            "T_20240621": "unreadable",
            "U_20240622_cut": "unreadable",
            "V_undated": "no_time",
            "W_20240621": "no_georeference",
        }

    def test_twice_adds_nothing_and_a_dry_run_writes_nothing(
        self, ingested: tuple[Path, dict[str, Any]], scenes: Path, tmp_path: Path
    ) -> None:
        dry = result_of(*ingest_arguments(scenes, tmp_path / "store"), "--dry-run")
        assert not (tmp_path / "store").exists()
        store, first = ingested
        assert 0 < first["pairs_added"] == first["pairs_total"] <= dry["chips_at_most"]
        assert first["rejected"]["time_gap"] == 1
        assert first["rejected"]["cloud"] >= 1
        again = result_of(*ingest_arguments(scenes, store))
        assert (again["pairs_added"], again["version"]) == (0, first["version"])
        assert again["digest"] == first["digest"]
        assert again["table"] == first["table"]
        assert "map" not in again, "the map of the run before stands"
        assert result_of("pairs", store)["digest"] == first["digest"]
        pictures = tmp_path / "png"
        result_of("pairs", store, "--export-png", pictures)
        assert len(list(pictures.glob("*.png"))) == first["pairs_total"]

    def test_an_area_of_interest_can_be_widened_later(
        self, ingested: tuple[Path, dict[str, Any]], scenes: Path, tmp_path: Path
    ) -> None:
        with rasterio.open(scenes / "satellite/sat_20240621/B04B03B02.tif") as scene:
            west, south, east, north = transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
        part = f"{west},{south},{(west + east) / 2},{north}"
        store = tmp_path / "store"
        some = result_of(*ingest_arguments(scenes, store), "--aoi", part)
        more = result_of(*ingest_arguments(scenes, store))
        assert 0 < some["pairs_added"] < more["pairs_total"]
        assert more["digest"] == ingested[1]["digest"]

    def test_killed_and_started_again_equals_undisturbed(
        self, ingested: tuple[Path, dict[str, Any]], scenes: Path, tmp_path: Path
    ) -> None:
        _, undisturbed = ingested
        store = tmp_path / "store"
        arguments = [str(a) for a in ingest_arguments(scenes, store)]
        for patience_s in (0.0, 0.4):
            process = start(*arguments)
            deadline = time.monotonic() + 120
            while not (store / "parts").exists() or not any((store / "parts").iterdir()):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(patience_s)
            kill(process)
        finished = result_of(*arguments)
        assert finished["digest"] == undisturbed["digest"]
        assert finished["rejected"] == undisturbed["rejected"]


@pytest.mark.slow
class TestUpscale:
    def test_killed_and_started_again_gives_the_same_picture(
        self, services: Path, scenes: Path, tmp_path: Path
    ) -> None:
        source = scenes / "satellite/sat_20240621/B04B03B02.tif"
        # Blocks are whole tiles of 512 px.
        common = ("--model", "nearest", "--scale", "16", "--block", "32", "--workers", "1")
        plain = result_of("upscale", source, tmp_path / "plain.tif", *common)
        assert plain["blocks_done_before"] == 0
        output = tmp_path / "killed.tif"
        process = start("upscale", source, output, *common)
        working = Path(f"{output}.skyscale")
        deadline = time.monotonic() + 120
        while len(list(working.glob("done/*[0-9]"))) < 5:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        kill(process)
        assert not output.exists()
        again = result_of("upscale", source, output, *common)
        assert 5 <= again["blocks_done_before"] < again["blocks"]
        assert_same_picture(output, tmp_path / "plain.tif")
        assert not working.exists()
        with rasterio.open(source) as lr, rasterio.open(output) as sr:
            np.testing.assert_array_equal(sr.read(), lr.read().repeat(16, 1).repeat(16, 2))

    def test_wrong_models_and_sources_are_one_line(
        self, services: Path, scenes: Path, tmp_path: Path
    ) -> None:
        source, output = scenes / "satellite", tmp_path / "o.tif"
        one_line_error(skyscale("upscale", source, output, "--model", "best"), 2, "'best'")
        never = ("--model", "nearest", "--start", "2030-01-01")
        one_line_error(skyscale("upscale", source, output, *never), 1, "outside_time_window")
        missing = "models:/skyscale-generator@nobody"
        one_line_error(skyscale("upscale", source, output, "--model", missing), 1, "no such model")
        text = tmp_path / "text.tif"
        text.write_text("no raster")
        one_line_error(skyscale("upscale", text, output, "--model", "nearest"), 1, "text.tif")
