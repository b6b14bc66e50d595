"""``skyscale upscale --newest --update`` night after night, as a schedule runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rasterio
from typer.testing import CliRunner, Result

from flows.cli import app
from tests.geo.cogs import assert_same_picture

BLOCKS = 16


class Nights:
    """The command on an archive that has scenes up to some day."""

    def __init__(self, archive: Path, output: Path) -> None:
        self.archive, self.output = archive, output

    def invoke(self, *options: object) -> Result:
        words = ("upscale", self.archive, self.output, "--model", "bicubic", "--scale", 8)
        always = ("--block", 64, "--workers", 2, "--newest", "--update", "--json")
        return CliRunner().invoke(app, [str(w) for w in (*words, *always, *options)])

    def run(self, end: str, *options: object) -> dict[str, Any]:
        done = self.invoke("--end", end, *options)
        assert done.exit_code == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def nights(services: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    archive = scenes / "satellite" / "collection.json"
    kept_up = Nights(archive, tmp_path_factory.mktemp("region") / "sr.tif")
    first = kept_up.run("2024-06-24")
    assert (first["blocks"], first["blocks_kept"]) == (BLOCKS, 0)
    return kept_up


def test_nights_without_new_scenes_write_nothing(nights: Nights) -> None:
    before = nights.output.stat()
    foreseen = nights.run("2024-06-24", "--dry-run")
    assert (foreseen["up_to_date"], foreseen["blocks_with_other_scenes"]) == (True, 0)
    told = nights.run("2024-06-24")
    assert told["up_to_date"]
    assert nights.output.stat() == before


def test_a_new_scene_changes_what_it_shows_clear_alone(nights: Nights, tmp_path: Path) -> None:
    """The scene of June 27 is overcast but for a seventh."""
    foreseen = nights.run("2024-06-30", "--dry-run")
    assert (foreseen["up_to_date"], foreseen["blocks_with_other_scenes"]) == (False, BLOCKS)
    told = nights.run("2024-06-30")
    assert 0 < told["blocks_kept"] < BLOCKS
    scratch = Nights(nights.archive, tmp_path / "scratch.tif")
    assert scratch.run("2024-06-30")["blocks_kept"] == 0
    assert_same_picture(nights.output, scratch.output)
    with rasterio.open(nights.output) as dataset:
        assert dataset.tags()["SKYSCALE_TIME"].startswith("2024-06-27")


def test_a_report_that_is_asked_for_later_is_made_once(nights: Nights, tmp_path: Path) -> None:
    end, folder = "2024-06-30", tmp_path / "report"
    assert "report" in nights.run(end, "--report", folder)
    assert "report" not in nights.run(end, "--report", folder)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--near", "2024-06-20"), "got near and newest; wanted one of them"),
        (("--days", 5, "--start", "2024-06-01"), "got days 5 and start 2024-06-01; wanted"),
        (("--days", 0), "got days 0; wanted days of 1 or more, or a start"),
    ],
)
def test_what_cannot_be_is_refused(nights: Nights, options: tuple[object, ...], told: str) -> None:
    done = nights.invoke(*options)
    assert done.exit_code != 0
    assert told in done.stderr


def test_days_count_back_from_now(nights: Nights) -> None:
    """All made scenes are older than a day."""
    done = nights.invoke("--days", 1)
    assert done.exit_code == 1
    assert "outside_time_window" in done.stderr
