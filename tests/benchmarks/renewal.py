"""Going on from a champion on a grown store against training from scratch, update for update.

The content phase at default sizes. The champion has learned from half of the training images; then
the other half arrives. Both train on all of them, for as many updates (which cost the same), or
from scratch for as many as the champion had; going on has its own default rate. Gains over bicubic
on held-out images, in dB of PSNR: mean over chips, and pooled over all pixels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from flows.train_start import FURTHER
from models.start import Start
from tests.benchmarks.aerial_data import Split, aerial_pairs, made_pairs
from tests.benchmarks.training_runs import content_config, folders, minutes, standing, train_on

LONG, SHORT = 3_000, 800


def run(write: Callable[[str], None]) -> None:
    """Print what the champion has, and a row for each way to go on."""
    write("| imagery | begins | images | updates | gain dB | pooled gain dB |")
    write("|---|---|---|---|---|---|")
    for pairs in (aerial_pairs, made_pairs):
        half, whole = pairs(0.5), pairs(1.0)
        with tempfile.TemporaryDirectory() as name:
            fresh = folders(Path(name))
            champion = _row(write, half, LONG, next(fresh), None)
            _row(write, whole, SHORT, next(fresh), champion)
            for steps in (SHORT, LONG):
                _row(write, whole, steps, next(fresh), None)


def _row(
    write: Callable[[str], None], split: Split, steps: int, folder: Path, champion: Path | None
) -> Path:
    """Train, print the row, and give the folder of the generator."""
    steps = max(1, round(minutes(steps)))  # shorter for a try, as minutes are
    settings = {"content_steps": steps, "max_minutes": None}
    if champion is not None:
        settings["lr_content"] = FURTHER["lr_content"]
    start = None if champion is None else Start(folder=champion)
    result = train_on(split, content_config(1.0, **settings), folder, start_from=start)
    s = standing(result.exported, split.held_out)
    write(
        f"| {split.name} | {'from scratch' if champion is None else 'as the champion'} | "
        f"{len(split.train_images)} | {steps} | {s.gain:+.3f} | {s.pooled_gain:+.3f} |"
    )
    return result.exported
