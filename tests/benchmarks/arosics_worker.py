"""Runs AROSICS on pairs of GeoTIFFs, in AROSICS' own environment: ``python FILE JOBS ANSWERS``.

Knows nothing of this project, for its environment has none of it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

COLUMNS = ("X_IM", "Y_IM", "X_SHIFT_PX", "Y_SHIFT_PX", "RELIABILITY", "SSIM_IMPROVED", "OUTLIER")


def main() -> None:
    """Answer every job in a file of JSON with another."""
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([match(job) for job in jobs], file)


def match(job: dict[str, Any]) -> dict[str, Any]:
    """Tie points of one pair and the seconds that they took, reading and set-up left out."""
    from arosics import COREG_LOCAL

    warnings.simplefilter("ignore")
    try:
        local = COREG_LOCAL(
            job["reference"],
            job["target"],
            grid_res=job["step"],
            window_size=(job["window"], job["window"]),
            max_shift=5,
            nodata=(0, 0),
            calc_corners=job["calc_corners"],
            mask_baddata_tgt=job["mask"],
            CPUs=1,
            progress=False,
            q=True,
        )
        started = time.perf_counter()
        table = local.CoRegPoints_table
        seconds = time.perf_counter() - started
    except (RuntimeError, AssertionError, ValueError) as error:
        return {"points": [], "seconds": 0.0, "error": str(error).splitlines()[0]}
    columns = [name for name in COLUMNS if name in table.columns]
    points = [{name: float(row[name]) for name in columns} for _, row in table[columns].iterrows()]
    return {"points": points, "seconds": seconds}


if __name__ == "__main__":
    main()
