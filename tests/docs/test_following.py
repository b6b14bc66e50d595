"""Somebody follows the pages: their commands run as they stand, in their order, in one folder.

Scenes are small and trainings short: options behind those of the page see to that, and names that
stand for something of the reader's own are put in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.geometry
from typer.testing import CliRunner

from flows.cli import app
from geo.catalog.sources import read_scenes
from tests.docs.not_run import reason_not_to_run
from tests.docs.shell import PAGES, commands_of, toml_files_of
from tests.flows.onnx_files import write_pixel_network
from tests.flows.training_store import make_store
from tests.servers.stac_server import StacServer

pytestmark = pytest.mark.slow

SMALL = {
    "scenes": ("--size", "768"),
    "demo": ("--size", "1152", "--minutes", "0.05"),
    "ingest": ("--lr-size", "16", "--split-block", "1", "--split-buffer", "0"),
    "train": ("--max-minutes", "0.05"),
}
FOLLOWED = (
    "README.md",
    "docs/guides/pair-store.md",
    "docs/guides/training.md",
    "docs/guides/upscaling.md",
    "docs/guides/reports.md",
    "docs/guides/comparing.md",
    "docs/guides/quickstart.md",
    "docs/guides/own-data.md",
    "docs/guides/studies.md",
)


class Reader:
    """Types what pages tell into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What the reader has instead of the page's names, whole words or parts of them.
        self.own: dict[str, str] = {}
        # Trainings of seconds make a model, but not one that must become champion.
        self._always = {"@champion": "@challenger"}

    def follow(self, page: str, more: dict[str, tuple[str, ...]] | None = None) -> None:
        """Run all commands of a page that can be run; `more` options by the start of a command."""
        for command in commands_of(page):
            if not command.whole or reason_not_to_run(command):
                continue
            program, *words = command.words
            if program == "export":
                name, _, value = words[0].partition("=")
                os.environ[name] = value
                continue
            assert program == "skyscale", f"{page}: {command}: not run, and no reason is told"
            extra = next((o for s, o in (more or {}).items() if str(command).startswith(s)), ())
            self.type(*map(self._mine, words), *SMALL.get(words[0], ()), *extra)

    def _mine(self, word: str) -> str:
        for theirs, mine in (self._always | self.own).items():
            word = word.replace(theirs, mine)
        return word

    def type(self, *words: object) -> str:
        """Run one command; what it prints."""
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, f"{words}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(services: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has followed the README."""
    folder, before = tmp_path_factory.mktemp("reader"), Path.cwd()
    environment = dict(os.environ)
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    reader = Reader(folder)
    reader.follow("README.md")
    yield reader
    os.chdir(before)
    os.environ.clear()
    os.environ.update(environment)


def last_run() -> str:
    from flows.registry import find_version_of

    return str(find_version_of("models:/skyscale-generator@challenger").run_id)


def test_every_page_is_followed_or_says_why_not() -> None:
    left = {
        str(command)
        for page in set(PAGES) - set(FOLLOWED)
        for command in commands_of(page)
        if command.whole and not reason_not_to_run(command)
    }
    assert left == set()


def test_the_readme_leads_to_a_report(reader: Reader) -> None:
    summary = json.loads((reader.folder / "my-report" / "summary.json").read_text())
    assert summary["tiles"] > 10
    assert (reader.folder / "my-report" / "report.html").exists()


def test_the_guide_of_the_pair_store(reader: Reader) -> None:
    reader.own = {"S2A_MSIL2A_20260401T100031": "sat_20240704"}
    reader.follow("docs/guides/pair-store.md", {"skyscale train": ("--prepare",)})
    assert any((reader.folder / "my-shards").rglob("*.tar"))


def test_the_guide_of_training(reader: Reader) -> None:
    (reader.folder / "other.toml").write_text("psnr_cost_db = 0.4\n")
    (reader.folder / "big.toml").write_text("batch_size = 8\n")
    for name, text in toml_files_of("docs/guides/training.md").items():
        (reader.folder / name).write_text(text)
    reader.own = {"7c0f...": last_run()}
    # New trainings are only made ready: the README's was a whole one.
    make_store(reader.folder / "my-campaigns", aerial=("m_2012_a", "m_2020_a"))
    short = {
        "skyscale train --store my-store --resume": (),
        "skyscale train --store my-campaigns --config style.toml": (),
        "skyscale train --store my-store --config segment.toml": (),  # reports will need it
        "skyscale train": ("--prepare",),
    }
    reader.follow("docs/guides/training.md", short)


def satellite_image(scenes: Path) -> Path:
    return next((scenes / "satellite/sat_20240621").glob("B*.tif"))


def test_the_guide_of_upscaling(reader: Reader) -> None:
    scenes = reader.folder / "my-scenes"
    shutil.copy(satellite_image(scenes), reader.folder / "scene.tif")
    shutil.copytree(scenes / "satellite", reader.folder / "archive")
    (scene, *_), _ = read_scenes(str(scenes / "satellite"))
    area = shapely.affinity.scale(scene.footprint, 0.5, 0.5)
    (reader.folder / "area.geojson").write_text(json.dumps(shapely.geometry.mapping(area)))
    reader.own = {"2026-": "2024-", "90": "9000"}
    reader.follow("docs/guides/upscaling.md")


def test_the_guide_of_reports(reader: Reader) -> None:
    scene = reader.folder / "my-scenes/satellite/sat_20240621/sat_20240621.json"
    reader.type("upscale", scene, "bicubic.tif", "--model", "bicubic")
    features = json.loads((reader.folder / "my-scenes/landcover.geojson").read_text())["features"]
    classes = sorted({feature["properties"]["category"] for feature in features})
    weight, bias = np.random.default_rng(0).normal(size=(len(classes), 3)), np.zeros(len(classes))
    card: dict[str, Any] = {"classes": classes, "bands": ("red", "green", "blue")}
    write_pixel_network(reader.folder / "net.onnx", weight, bias, data_range=255, **card)
    reader.own = {}
    reader.follow("docs/guides/reports.md")
    use = json.loads((reader.folder / "my-report" / "summary.json").read_text())["use"]
    assert use["segmenter"].startswith("net@")


def test_the_guide_of_comparing(reader: Reader) -> None:
    scene = reader.folder / "my-scenes/satellite/sat_20240621/sat_20240621.json"
    for model in ("lanczos", "nearest"):
        reader.type("upscale", scene, f"{model}.tif", "--model", model)
        reader.type("report", f"{model}.tif", "my-scenes/aerial", "--out", f"{model}-report")
    for name in ("new", "old"):
        shutil.copytree(reader.folder / "my-report", reader.folder / f"my-report-{name}")
    reader.own = {"7c0f...": last_run(), "91ab...": last_run()}
    reader.follow("docs/guides/comparing.md")
    assert (reader.folder / "differences" / "comparison.json").exists()


def test_the_guide_of_studies(reader: Reader) -> None:
    reader.own = {"sr.tif": "region.tif"}
    scene = reader.folder / "my-scenes/satellite/sat_20240621/sat_20240621.json"
    reader.type("upscale", scene, "region.tif", "--model", "bicubic")
    few = ("--real-or-generated", "1", "--preference", "1", "--opinion", "1")
    reader.follow("docs/guides/studies.md", {"skyscale study make": few})
    for name in ("my-study", "other-study", "our-study"):
        assert json.loads((reader.folder / name / "study.json").read_text())["places"]


def test_the_quickstart(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    reader.own = {}
    reader.follow("docs/guides/quickstart.md")
    assert (reader.folder / "another-report" / "report.html").exists()


def test_ones_own_data(reader: Reader) -> None:
    scenes, mine = reader.folder / "my-scenes", reader.folder / "mine"
    for side in ("satellite", "aerial"):
        (mine / side).mkdir(parents=True)
    for scene in (scenes / "satellite").glob("sat_*"):
        day = scene.name.removeprefix("sat_")
        for file, name in (("B*.tif", f"S2_{day}.tif"), ("SCL.tif", f"S2_{day}_SCL.tif")):
            shutil.copy(next(scene.glob(file)), mine / "satellite" / name)
    (aerial,) = (scenes / "aerial").glob("*/*.tif")
    shutil.copy(aerial, mine / "aerial" / "town_20240618.tif")
    shutil.copytree(scenes / "satellite", reader.folder / "archive", dirs_exist_ok=True)
    with StacServer(reader.folder, {"sentinel-2-l2a": served(scenes)}) as server:
        reader.own = {"https://stac.example/v1": server.api}
        reader.follow("docs/guides/own-data.md")
    found = json.loads(reader.type("pairs", "mine/store", "--json"))
    assert found["pairs"] > 100


def served(scenes: Path) -> list[dict[str, Any]]:
    """The satellite's items as an API gives them, with absolute hrefs."""
    items = []
    for path in sorted((scenes / "satellite").glob("*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"../files/my-scenes/satellite/{path.parent.name}/{asset['href']}"
        items.append(item | {"collection": "sentinel-2-l2a", "links": []})
    return items
