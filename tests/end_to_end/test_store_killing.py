"""Two writers at once, killed again and again: nothing lost, nothing doubled, on disk and on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.killing import story

pytestmark = pytest.mark.slow


def test_killed_writers_on_disk(tmp_path: Path) -> None:
    assert "all well" in story(tmp_path, rounds=4, scenes=20)


@pytest.mark.usefixtures("s3")
def test_killed_writers_on_s3(tmp_path: Path) -> None:
    url = f"s3://skyscale/{tmp_path.name}/killing"
    assert "all well" in story(tmp_path, rounds=2, scenes=15, url=url)
