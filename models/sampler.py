"""Which pair comes when: a pure function, so there is no position to save and none to lose.

Sample number n of a run (counted from 0 over all mini-batches and ranks) is entry n mod L of the
permutation that belongs to (seed, n div L), L pairs in all. Ranks take neighbouring slices of each
mini-batch, so together they see exactly what one rank would see, and a resumed run goes on
with the very next sample.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError

# Streams of random numbers drawn from one seed must not coincide.
_ORDER, _LOOK, _SHIFT = 0, 1, 2


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


def pair_of_sample(seed: int, sample: int, pairs: int) -> int:
    """Index of the pair that a sample shows; each epoch shows every pair once."""
    epoch, place = divmod(sample, pairs)
    return int(_permutation(seed, epoch, pairs)[place])


def look_of_sample(seed: int, sample: int) -> np.random.Generator:
    """Random numbers for crop and flips of a sample, its own whoever draws them."""
    return np.random.default_rng((seed, _LOOK, sample))


def shift_of_batch(seed: int, batch: int, limit: int) -> tuple[int, int]:
    """Random rows and columns, 0 to `limit` - 1, the same for all ranks."""
    dy, dx = np.random.default_rng((seed, _SHIFT, batch)).integers(limit, size=2)
    return int(dy), int(dx)


# Two: a mini-batch may reach over the end of an epoch.
@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, pairs: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(pairs)
