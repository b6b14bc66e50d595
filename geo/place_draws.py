"""Places drawn again and again: how far a number would move on other ground of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_AT_ONCE = 4_000_000  # places drawn at a time, for bounded memory


def draw_places(
    columns: npt.ArrayLike, places: Sequence[object], *, draws: int = 2000, seed: int = 0
) -> _Floats | None:
    """Sums over places that are drawn with replacement.

    Tiles of one place, and dates of one tile, resemble each other; drawn one by one they would
    make an interval too narrow.

    Parameters
    ----------
    columns : array, [tiles, k]
        What is summed; finite.
    places : sequence
        Place of each tile.
    draws, seed : int
        The same places are drawn for the same seed, whatever the columns.

    Returns
    -------
    array, [draws, k], or None
        None with fewer than two places, of which nothing can be drawn.
    """
    values = np.asarray(columns, np.float64)
    names = sorted({str(place) for place in places})
    if len(names) < 2:
        return None
    index = {name: number for number, name in enumerate(names)}
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, [index[str(place)] for place in places], values)
    random = np.random.default_rng(seed)
    totals = np.empty((draws, values.shape[1]))
    step = max(1, _AT_ONCE // len(names))
    for first in range(0, draws, step):
        drawn = random.integers(0, len(names), (min(step, draws - first), len(names)))
        for column, by_place in enumerate(sums.T):
            totals[first : first + len(drawn), column] = by_place[drawn].sum(axis=1)
    return totals


def interval_95(values: npt.ArrayLike) -> tuple[float, float] | None:
    """The middle 95 % of what was drawn; None where nothing finite was."""
    drawn = np.asarray(values, np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
