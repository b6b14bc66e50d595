"""``python -m tests.benchmarks [NAME ...]`` prints the tables of docs/benchmarks.md.

What begins with dashes goes to the one benchmark that is named before it.
"""

from __future__ import annotations

import importlib
import platform
import sys

from flows.cores import usable_cores
from flows.settings import prepare_environment

BENCHMARKS = (
    "startup",
    "registration",
    "windows",
    "arosics",
    "radiometry",
    "matching",
    "ingest",
    "idle_ingest",
    "compression",
    "reading",
    "growth",
    "killing",
    "chaos",
    "stages",
    "forward",
    "seeds",
    "content",
    "adversarial",
    "combos",
    "unpaired",
    "degradation",
    "style",
    "rare",
    "renewal",
    "training_speed",
    "region_speed",
    "region_memory",
    "region_update",
    "scale_out",
    "sizing",
    "peer_region",
    "sickness",
    "ensemble",
    "draws",
    "consistency",
    "scores",
    "report_scale",
    "rule",
    "study",
    "use",
)


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    prepare_environment(quiet=True)
    given = sys.argv[1:]
    first = next((n for n, word in enumerate(given) if word.startswith("--")), len(given))
    chosen, options = given[:first] or BENCHMARKS, given[first:]
    if options and len(chosen) != 1:
        sys.exit(f"options {' '.join(options)} want one benchmark before them")
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    write(f"{usable_cores()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    for name in chosen:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        write(f"## {name}\n\n{module.__doc__.strip()}\n")
        module.run(write, *options)


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
