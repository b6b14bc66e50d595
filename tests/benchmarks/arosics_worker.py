"""Runs AROSICS on pairs of GeoTIFFs, in AROSICS' own environment: ``python FILE JOBS ANSWERS``.

Knows nothing of this project, for its environment has none of it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

COLUMNS = ("POINT_ID", "X_IM", "Y_IM", "X_SHIFT_PX", "Y_SHIFT_PX", "RELIABILITY", "OUTLIER")


def main() -> None:
    """Answer every job in a file of JSON with another."""
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([match(job) for job in jobs], file)


def match(job: dict[str, Any]) -> list[dict[str, float]]:
    """Tie points of one pair, each with the seconds that its window took."""
    from arosics import COREG_LOCAL
    from arosics.Tie_Point_Grid import Tie_Point_Grid

    warnings.simplefilter("ignore")
    measure, seconds = Tie_Point_Grid._get_spatial_shifts, {}

    def measure_in_time(reference: Any, target: Any, point: int, **options: Any) -> Any:
        started = time.process_time()
        answer = measure(reference, target, point, **options)
        seconds[int(point)] = time.process_time() - started
        return answer

    Tie_Point_Grid._get_spatial_shifts = staticmethod(measure_in_time)
    try:
        table = COREG_LOCAL(
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
        ).CoRegPoints_table
    except (RuntimeError, AssertionError, ValueError):
        return []  # it finds nothing at all to register on
    finally:
        Tie_Point_Grid._get_spatial_shifts = staticmethod(measure)
    columns = [name for name in COLUMNS if name in table.columns]
    points = [{n: float(row[n]) for n in columns} for _, row in table[columns].iterrows()]
    return [p | {"seconds": seconds[int(p["POINT_ID"])]} for p in points]


if __name__ == "__main__":
    main()
