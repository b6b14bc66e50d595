"""How many cores this process may keep busy."""

from __future__ import annotations

import math
import os
from pathlib import Path

# Where the kernel tells a container of its own limits.
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = _CGROUPS) -> int:
    """Cores that this process may use, at least one.

    A container that may use the time of four cores still sees all of its machine; as many threads
    as the machine has would only wait for each other.

    Parameters
    ----------
    cgroups : Path
        Root of the control groups, of either version.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroups)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroups: Path) -> float | None:
    """Processor time for each second of the clock; None where there is no limit."""
    try:
        if (told := cgroups / "cpu.max").exists():  # version 2
            limit, period = told.read_text().split()
        else:
            limit = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):  # no such file; or "max"
        return None
