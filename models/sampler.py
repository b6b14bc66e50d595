"""Which pair comes when: a pure function, so there is no position to save and none to lose.

Sample number n of a run (counted from 0 over all mini-batches and ranks) is entry n mod L of the
order that belongs to (seed, n div L), L pairs in all. Ranks take neighbouring slices of each
mini-batch, so together they see exactly what one rank would see, and a resumed run goes on
with the very next sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError, DataError

# Streams of random numbers drawn from one seed must not coincide.
_ORDER, _LOOK, _SHIFT, _OFFSET, _CHOICE = 0, 1, 2, 3, 4
_U = np.uint64
_GOLDEN = _U(0x9E3779B97F4A7C15)
_BITS = 32  # a showing has 2**32 units: sums are exact, and up to 2**31 pairs fit into int64


def sample_numbers(batch: int, batch_size: int, *, rank: int = 0, world: int = 1) -> range:
    """Numbers of the samples that a rank contributes to a mini-batch.

    Parameters
    ----------
    batch : int
        Number of the mini-batch, from 0.
    batch_size : int
        Pairs in it, over all ranks together.

    Raises
    ------
    ConfigError
        When the mini-batch cannot be shared out evenly.
    """
    if batch_size % world:
        raise ConfigError(
            f"batch_size {batch_size} cannot be shared by {world} ranks: "
            f"choose a multiple of {world}",
            batch_size=batch_size,
            world=world,
        )
    share = batch_size // world
    first = batch * batch_size + rank * share
    return range(first, first + share)


class Order:
    """Which pair each sample of a run shows, a pure function of the arguments.

    An epoch has as many samples as there are pairs. Without weights it shows every pair once.
    With weights it shows pair i, of which L * w_i / sum(w) showings are due, that number rounded
    down or up by chance, so that exactly this many are expected; equal weights give the order
    without weights.

    Parameters
    ----------
    seed : int
    pairs : int
        L, how many there are.
    weights : array, [L], optional
        How often each is shown, relative to the others; 0 for never.

    Raises
    ------
    DataError
        When the weights are not one for each pair, at least 0 and not all 0.

    Notes
    -----
    Systematic sampling with a random offset for each epoch (Madow, "On the Theory of Systematic
    Sampling, II", 1949), then the permutation of the epoch. What is due to a pair is rounded to
    2**-32 showings.
    """

    def __init__(
        self, seed: int, pairs: int, weights: npt.NDArray[np.float64] | None = None
    ) -> None:
        self._seed = seed
        self._pairs = pairs
        self._due = None if weights is None else np.cumsum(_units_due(weights, pairs))
        # Two: a mini-batch may reach over the end of an epoch.
        self._epoch = lru_cache(maxsize=2)(self._draw)

    def __call__(self, sample: int) -> int:
        """Index of the pair that sample number `sample` shows."""
        epoch, place = divmod(sample, self._pairs)
        return int(self._epoch(epoch)[place])

    def _draw(self, epoch: int) -> npt.NDArray[np.int64]:
        """All pairs of an epoch, in order."""
        shuffled = np.random.default_rng((self._seed, _ORDER, epoch)).permutation(self._pairs)
        if self._due is None:
            return shuffled
        offset = np.random.default_rng((self._seed, _OFFSET, epoch)).integers(1 << _BITS)
        until = (self._due + offset) >> _BITS  # showings of all pairs up to this one
        return np.repeat(np.arange(self._pairs), np.diff(until, prepend=0))[shuffled]


def balanced_weights(
    groups: Sequence[str | None], strength: float, most: float = 10.0
) -> npt.NDArray[np.float64]:
    """Weights for `Order` that show rare groups more often, and none too often.

    Each pair weighs ``min(most, k * share**-strength)``, where `share` is that of its group among
    all pairs and k makes the mean one. So a weight is how often a pair is shown in an epoch, its
    natural frequency being once; pairs of a group weigh the same; none weighs more than `most`;
    and what `most` takes from the rarest goes to the other groups, in their proportions.

    Parameters
    ----------
    groups : sequence of str or None
        Group of each pair; None is a group of its own.
    strength : float
        0 shows groups as often as they are there, 1 each as often as any other (those that
        `most` does not hold back).
    most : float
        Largest weight, 1 or more: a rare group is not learned by heart.

    Returns
    -------
    array, [n]

    Raises
    ------
    ConfigError
        When `strength` or `most` cannot be.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength must be 0 to 1, got {strength}", strength=strength)
    if not 1 <= most < np.inf:
        raise ConfigError(f"most must be 1 or more, and finite, got {most}", most=most)
    counts = Counter(groups)
    shares = np.array(list(counts.values())) / max(len(groups), 1)
    weights = dict(zip(counts, _capped(shares, shares**-strength, most), strict=True))
    return np.fromiter((weights[group] for group in groups), np.float64, len(groups))


@dataclass(frozen=True, slots=True)
class Look:
    """How a sample shows its pair.

    Parameters
    ----------
    row, col : int
        Where the crop begins.
    upside_down, mirrored : bool
        Rows, and columns, the other way round.
    """

    row: int
    col: int
    upside_down: bool
    mirrored: bool


def looks_of_samples(seed: int, samples: range, rows: int, cols: int) -> list[Look]:
    """How each sample shows its pair, its own whoever draws it.

    Parameters
    ----------
    seed : int
    samples : range
        Numbers of samples of the run.
    rows, cols : int
        How many places there are for a crop to begin at.

    Notes
    -----
    Random numbers as a hash of their place (SplitMix64: Steele, Lea and Flood, "Fast splittable
    pseudorandom number generators", 2014): a generator for each sample took a third of the time
    that making a mini-batch takes.
    """
    key = np.random.default_rng((seed, _LOOK)).integers(1 << 63, dtype=np.uint64)
    places = np.asarray(samples, np.uint64)[:, None] * _U(3) + np.arange(3, dtype=np.uint64)
    drawn = _mixed(np.add(key, places * _GOLDEN, dtype=np.uint64))  # [n, 3]
    top, left = drawn[:, 0] % _U(rows), drawn[:, 1] % _U(cols)
    flips = drawn[:, 2] >> _U(62)  # two bits
    return [
        Look(row, col, bool(flip & 2), bool(flip & 1))
        for row, col, flip in zip(top.tolist(), left.tolist(), flips.tolist(), strict=True)
    ]


def chosen_samples(seed: int, samples: range, share: float) -> npt.NDArray[np.bool_]:
    """Which samples belong to so large a share of all, each whoever draws it."""
    key = np.random.default_rng((seed, _CHOICE)).integers(1 << 63, dtype=np.uint64)
    places = np.asarray(samples, np.uint64)
    drawn = _mixed(np.add(key, places * _GOLDEN, dtype=np.uint64)) >> _U(11)  # 53 bits, as floats
    return np.asarray(drawn < share * 2.0**53)


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


def look_of_batch(seed: int, batch: int, limit: int) -> tuple[bool, tuple[int, int]]:
    """What all samples of a mini-batch share, the same for all ranks.

    Returns
    -------
    swapped : bool
        Rows and columns are exchanged: with the flips of samples, all eight symmetries of a square.
    shift : tuple of int
        Random rows and columns, 0 to `limit` - 1.
    """
    drawn = np.random.default_rng((seed, _SHIFT, batch)).integers(2 * limit, size=2)
    return bool(drawn[0] & 1), (int(drawn[0]) >> 1, int(drawn[1]) >> 1)


def _units_due(weights: npt.NDArray[np.float64], pairs: int) -> npt.NDArray[np.int64]:
    """What an epoch owes each pair, in units of 2**-32 showings; `pairs` showings in all."""
    if len(weights) != pairs:
        raise DataError(
            f"there are {len(weights)} weights for {pairs} pairs", weights=len(weights), pairs=pairs
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any()):
        raise DataError("weights must be finite, at least 0 and not all 0")
    relative = weights / weights.max()  # the sum of very large ones would not be finite
    exact = relative / relative.mean() * (1 << _BITS)
    units: npt.NDArray[np.int64] = np.rint(exact).astype(np.int64)
    # Rounding leaves some units over. They go, one each, to pairs that are not due a whole number
    # of showings anyway: one that is due twice is shown twice in every epoch.
    over = (pairs << _BITS) - int(units.sum())
    takers = np.resize(np.flatnonzero(units % (1 << _BITS)), abs(over))
    np.add.at(units, takers, 1 if over > 0 else -1)
    return units


def _capped(
    shares: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], most: float
) -> npt.NDArray[np.float64]:
    """Weights of groups scaled to a mean of one over all pairs, none above `most`."""
    held = np.zeros(len(shares), np.bool_)
    while not held.all():
        left = 1 - most * shares[held].sum()  # of all showings, for the groups not held back
        scaled = weights * left / (shares * weights)[~held].sum()
        # The commonest group weighs one or less, whatever rounding says.
        above = ~held & (scaled > most) & (shares < shares.max())
        if not above.any():
            return np.where(held, most, np.minimum(scaled, most))
        held |= above
    return weights  # there are no groups
