"""``python -m tests.benchmarks [NAME ...]`` prints the tables of docs/benchmarks.md."""

from __future__ import annotations

import importlib
import platform
import sys

from flows.settings import prepare_environment, usable_cores

BENCHMARKS = (
    "registration",
    "windows",
    "arosics",
    "radiometry",
    "matching",
    "ingest",
    "compression",
    "reading",
    "growth",
    "killing",
    "stages",
    "forward",
    "seeds",
    "content",
    "adversarial",
    "combos",
    "training_speed",
    "region_speed",
    "region_memory",
    "sickness",
    "ensemble",
    "consistency",
)


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    prepare_environment(quiet=True)
    chosen = sys.argv[1:] or BENCHMARKS
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    write(f"{usable_cores()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    for name in chosen:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        write(f"## {name}\n\n{module.__doc__.strip()}\n")
        module.run(write)


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
