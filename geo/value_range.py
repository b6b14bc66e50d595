"""A glance at the values of a region, to tell imagery of one radiometry from another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from geo.errors import SourceError
from geo.quality import type_maximum
from geo.region_source import RegionSource

_PLACES, _WINDOW_PX = 4, 64
_MOST_FAILURES = 8


@dataclass(frozen=True, kw_only=True)
class ValueSample:
    """What was seen.

    Parameters
    ----------
    median : float
        Of all bands of valid pixels, DN.
    largest_possible : float or None
        The largest number of an integer type.
    """

    median: float
    largest_possible: float | None


def sample_values(source: RegionSource) -> ValueSample | None:
    """Look at small windows spread over a region; None where all of them are hole.

    A window that cannot be read is left out: the blocks that need it will say so. After some of
    these no more is tried, for each takes a while where a network fails.

    Raises
    ------
    SourceError
        If none can be read.
    """
    height, width = source.geobox.shape
    found, failures = [], []
    for top, left in itertools.product(_spread(height), _spread(width)):
        rows = slice(top, min(height, top + _WINDOW_PX))
        cols = slice(left, min(width, left + _WINDOW_PX))
        try:
            pixels = source.read(rows, cols)
        except SourceError as error:
            failures.append(error)
            if len(failures) == _MOST_FAILURES:
                break
            continue
        found.append(pixels.data[:, pixels.valid].ravel())
    if not found:
        raise failures[0]
    values = np.concatenate(found)
    if not values.size:
        return None
    return ValueSample(median=float(np.median(values)), largest_possible=type_maximum(source.dtype))


def _spread(length: int) -> list[int]:
    last = max(0, length - _WINDOW_PX)
    return sorted({round(last * (i + 0.5) / _PLACES) for i in range(_PLACES)})
