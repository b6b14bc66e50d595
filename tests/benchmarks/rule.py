"""The rule for champions on what a person can order: trained generators, kernels, tricks.

Held-out chips of real aerial imagery and of made scenes (see `content`), default generator, two
minutes of content phase and five of the game. Tricks: white noise, or noise that the satellite
would not see, of a fifth of reality's fine power or of all of it, on bicubic or on a trained
generator's; and bicubic sharpened (unsharp mask: amount, sigma in HR px). Detail: power beyond the
LR Nyquist frequency in parts of reality's; right: of opensr-test's improvement and hallucination
together, the part that is improvement; consistency: LR RMSE in parts of bicubic's; merit: over
bicubic's. Last, how many of the others would give their place up to it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flows.champion_rule import decide, merit
from flows.train_evaluate import PairScore
from geo.interpolate import upsample
from geo.reporting.compare import compare
from geo.reporting.scored import ScoredTiles
from geo.scores.sharpness import hf_power
from models.evaluate import Upsample, evaluate
from models.export import load_generator, save_generator
from models.predict import Predictor
from models.selection import Selection
from tests.benchmarks.adversarial import go_on
from tests.benchmarks.aerial_data import BANDS, SCALE, SPEC, Split, aerial_pairs, made_pairs
from tests.benchmarks.training_runs import content_config, folders, minutes, train_on

CONTENT_MINUTES, MINUTES = 2.0, 5.0
SHARES = (0.5, 1.0)  # beside what is exported

Write = Callable[[str], None]
Images = npt.NDArray[np.float32]


def run(write: Write) -> None:
    """Print a table for each kind of imagery."""
    for split in (aerial_pairs(), made_pairs()):
        write(f"{split.describe()}.\n")
        with tempfile.TemporaryDirectory() as name:
            drawn = kernels() | tricks(split) | trained(split, Path(name))
            table(write, split, drawn)
        write("")


def kernels() -> dict[str, Upsample]:
    """Upsamplers that know of no detail."""
    return {kernel: _kernel(kernel) for kernel in ("nearest", "bicubic", "lanczos")}


def _kernel(kernel: str) -> Upsample:
    return lambda lr: upsample(lr, SCALE, kernel)


def tricks(split: Split) -> dict[str, Upsample]:
    """Detail out of nothing."""
    power, base = _fine_power(split), _kernel("bicubic")
    noise = {
        f"bicubic, {label} noise {share:.0%}": _noisy(base, share * power, fine)
        for label, fine in (("white", False), ("fine", True))
        for share in (0.2, 1.0)
    }
    sharp = {f"bicubic, unsharp {a:g}, {s:g}": _unsharp(a, s) for a, s in ((1.0, 4.0), (3.0, 2.0))}
    return noise | sharp


def _fine_power(split: Split) -> float:
    """What reality has beyond the LR Nyquist frequency, squared DN."""
    pairs = split.held_out.read(range(len(split.held_out)))
    return float(np.mean([hf_power(np.asarray(p.hr, float), p.valid, SCALE) for p in pairs]))


def _noisy(base: Upsample, power: float, fine: bool) -> Upsample:
    """Noise of so much power beyond the LR Nyquist frequency on top of something."""
    rng = np.random.default_rng(0)

    def draw(lr: Images) -> Images:
        drawn = base(lr)
        noise = rng.standard_normal(drawn.shape, np.float32)
        if fine:  # nothing that the satellite's sensor would see
            noise -= ndimage.gaussian_filter(noise, (0, 3, 3))
            noise /= noise.std()
            return drawn + noise * np.float32(math.sqrt(power))
        return drawn + noise * np.float32(math.sqrt(power / (1 - 1 / SCALE**2)))

    return draw


def _unsharp(amount: float, sigma: float) -> Upsample:
    def draw(lr: Images) -> Images:
        base = upsample(lr, SCALE, "bicubic")
        blurred = ndimage.gaussian_filter(base, (0, sigma, sigma))
        return base + np.float32(amount) * (base - blurred)

    return draw


def trained(split: Split, root: Path) -> dict[str, Upsample]:
    """A generator after its content phase, what is exported after the game, and shares of it."""
    fresh = folders(root)
    start = next(fresh)
    train_on(split, content_config(minutes(CONTENT_MINUTES)), start)
    game = go_on(split, start, next(fresh), {}, minutes(MINUTES))
    content = Predictor(start / "generator")
    found: dict[str, Upsample] = {
        "trained, content": content,
        "trained, content, fine noise 20%": _noisy(content, 0.2 * _fine_power(split), True),
    }
    if game.generator is None:
        return found
    found[f"trained, exported ({game.share:.0%})"] = Predictor(game.generator)
    selection = Selection(game.generator.parent / "checkpoints")
    selection.load()
    network, card = load_generator(game.generator)
    for share in SHARES:
        network.load_state_dict(selection.blend(share))
        save_generator(root / f"share-{share:g}", network, card)
        found[f"trained, {share:.0%} of the game"] = Predictor(root / f"share-{share:g}")
    return found


def table(write: Write, split: Split, drawn: dict[str, Upsample]) -> None:
    """A row for each, and how many places it takes."""
    score = PairScore(scale=SCALE, data_range=SPEC.data_range)
    tiles = {label: scored_tiles(label, draw, split, score) for label, draw in drawn.items()}
    write(
        "| drawn by | PSNR dB | detail | improvement | hallucination | right | consistency "
        "| merit dB | takes places |"
    )
    write("|---|---|---|---|---|---|---|---|---|")
    taken = {
        label: sum(decide(compare(mine, other, merit=merit).summary)[0] for other in tiles.values())
        for label, mine in tiles.items()
    }
    for label in sorted(tiles, key=lambda label: taken[label]):
        numbers = _numbers(tiles[label], tiles["bicubic"])
        write(f"| {label} | {numbers} | {taken[label]} of {len(tiles) - 1} |")


def scored_tiles(label: str, draw: Upsample, split: Split, score: PairScore) -> ScoredTiles:
    """Scores of all held-out chips; those of an image lie in a row."""
    columns: dict[str, list[Any]] = {name: [] for name in ("tile", "crs", "row", "col")}
    for image, pairs in split.held_by_image.items():
        scores = evaluate(draw, pairs, score).values
        for name, values in scores.items():
            columns.setdefault(name, []).extend(values)
        columns["tile"] += [f"{image} {number}" for number in range(len(pairs))]
        columns["crs"] += [image] * len(pairs)
        columns["row"] += [0.0] * len(pairs)
        columns["col"] += map(float, range(len(pairs)))
    texts = ("tile", "crs")
    return ScoredTiles(
        name=label,
        columns={k: np.array(v, object if k in texts else np.float64) for k, v in columns.items()},
        facts={"data_range": SPEC.data_range, "scale": SCALE, "bands": list(BANDS)},
    )


def _numbers(mine: ScoredTiles, bicubic: ScoredTiles) -> str:
    found = compare(mine, bicubic, merit=merit).summary
    of = {name: scores["a"] for name, scores in found["scores"].items()}
    right = of["improvement"] / (of["improvement"] + of["hallucination"])
    consistency = of["lr_consistency"] / found["scores"]["lr_consistency"]["bicubic"]
    return (
        f"{found['psnr_db']['a']:.2f} | {found['hf_power_ratio']['a']:.3f} "
        f"| {of['improvement']:.3f} | {of['hallucination']:.3f} | {right:.3f} "
        f"| {consistency:.2f} | {found['merit_db']['difference']:+.2f}"
    )
