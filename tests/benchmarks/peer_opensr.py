"""Upscales a raster with opensr-utils; started by `peer_region` with the peer's interpreter.

Reads settings as JSON from its first argument and prints one JSON object. Imports nothing of tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run one setting."""
    wanted = json.loads(sys.argv[1])
    import torch
    from opensr_utils import __version__, super_resolve

    from models.export import load_generator

    torch.set_num_threads(wanted["threads"])
    generator, card = load_generator(Path(wanted["model"]))
    if card.data_range != 10_000:
        sys.exit(f"the generator's data range is {card.data_range}; the peer's is 10,000")
    if wanted["channels_last"]:
        generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    options: dict[str, Any] = wanted["options"]
    options["window_size"] = tuple(options["window_size"])
    started = time.perf_counter()
    # Its story is not for our table.
    with contextlib.redirect_stdout(sys.stderr):
        super_resolve(
            wanted["source"],
            generator,
            wanted["output"],
            factor=card.scale,
            device="cpu",
            **options,
        )
    seconds = time.perf_counter() - started
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"version": __version__, "seconds": seconds}))  # noqa: T201  # its purpose


if __name__ == "__main__":
    main()
