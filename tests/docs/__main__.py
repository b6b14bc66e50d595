"""``python -m tests.docs`` writes the pages of docs/reference that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.settings import prepare_environment

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"


def main() -> None:
    """Write both pages."""
    prepare_environment(quiet=True)  # before Prefect is imported
    from tests.docs.commands_page import commands_page
    from tests.docs.configuration_page import configuration_page

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in (("commands", commands_page()), ("configuration", configuration_page())):
        (FOLDER / f"{name}.md").write_text(page)
        sys.stdout.write(f"docs/reference/{name}.md\n")


if __name__ == "__main__":
    main()
