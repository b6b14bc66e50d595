"""``python -m flows`` is ``skyscale``."""

from flows.cli import main

main()
