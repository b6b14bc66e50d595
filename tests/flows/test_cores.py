"""As many threads as there is processor time for, also in a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.cores import usable_cores

HERE = len(os.sched_getaffinity(0))


def version_2(folder: Path, told: str) -> Path:
    (folder / "cpu.max").write_text(told)
    return folder


def version_1(folder: Path, quota: str, period: str) -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)
    return folder


def test_without_a_limit_all_cores_are_used(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == HERE
    assert usable_cores(version_2(tmp_path, "max 100000\n")) == HERE


def test_no_limit_of_version_1_is_a_negative_quota(tmp_path: Path) -> None:
    assert usable_cores(version_1(tmp_path, "-1\n", "100000\n")) == HERE


@pytest.mark.parametrize(
    ("quota", "cores"), [(100_000, 1), (50_000, 1), (150_000, 2), (10**9, HERE)]
)
def test_a_container_uses_the_cores_that_it_has_time_for(
    tmp_path: Path, quota: int, cores: int
) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "1").mkdir()
    assert usable_cores(version_2(tmp_path / "2", f"{quota} 100000\n")) == min(cores, HERE)
    assert usable_cores(version_1(tmp_path / "1", f"{quota}\n", "100000\n")) == min(cores, HERE)
