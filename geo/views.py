"""Windows of the common ground, seen by both: where they lie, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from geo.coregister import RegistrationRules, spread_windows
from geo.ground import GroundWindow
from geo.raster_io import Pixels, Source
from geo.reference import ReferenceWindow, read_reference

Slices = tuple[slice, slice]
"""Rows and columns of the satellite scene."""

# Windows that overlap are read together, in blocks of about this many LR pixels.
_BLOCK_PX = 256
# Windows along the rim of the ground, so that a field need not be guessed there.
_RIM_SHARE = 5 / 8


class View(NamedTuple):
    """The same ground in both images."""

    ground: GroundWindow
    reference: ReferenceWindow


def spread(area: Slices, window_px: int, most: int) -> list[Slices]:
    """Windows spread over the common ground, at most `most` along an axis."""
    rules = RegistrationRules(window_px=window_px, max_windows=most)
    top, left = area[0].start, area[1].start
    return [
        (slice(r.start + top, r.stop + top), slice(c.start + left, c.stop + left))
        for r, c in spread_windows((area[0].stop - top, area[1].stop - left), rules)
    ]


def spread_closely(area: Slices, window_px: int, most: int) -> list[Slices]:
    """The same with smaller windows along the rim, whose middles lie nearer to it."""

    def at_rim(window: Slices) -> bool:
        return any(
            w.start == a.start or w.stop == a.stop for w, a in zip(window, area, strict=True)
        )

    small = spread(area, max(16, int(window_px * _RIM_SHARE)), 2 * most)
    return spread(area, window_px, most) + [window for window in small if at_rim(window)]


@dataclass(frozen=True)
class ViewReader:
    """Reads windows of both images.

    Parameters
    ----------
    read : callable
        Rows and columns of `grid` to what the satellite shows there.
    grid : GeoBox
        The satellite scene's.
    reference : Source
        The aerial image.
    reach_px : float
        Largest shift that will be asked for, in LR pixels.
    """

    read: Callable[[slice, slice], GroundWindow]
    grid: GeoBox
    reference: Source
    reach_px: float

    def read_grounds(self, windows: Sequence[Slices]) -> list[GroundWindow]:
        """What the satellite shows in each window."""
        found: dict[int, GroundWindow] = {}
        for block, inside in _blocks(windows):
            whole = self.read(*block)
            for index, (rows, cols) in inside:
                part = Pixels(whole.pixels.data[:, rows, cols], whole.pixels.valid[rows, cols])
                found[index] = GroundWindow(
                    geobox=whole.geobox[rows, cols],
                    pixels=part,
                    cloud_fraction=whole.cloud_fraction,
                )
        return [found[index] for index in range(len(windows))]

    def read_references(self, windows: Sequence[Slices]) -> list[ReferenceWindow]:
        """What the aerial image shows in each window."""
        found: dict[int, ReferenceWindow] = {}
        for block, inside in _blocks(windows):
            whole = read_reference(self.reference, self.grid[block], reach_px=self.reach_px)
            for index, (rows, cols) in inside:
                found[index] = whole.part(rows, cols)
        return [found[index] for index in range(len(windows))]

    def read_views(self, windows: Sequence[Slices]) -> list[View]:
        """Both."""
        pairs = zip(self.read_grounds(windows), self.read_references(windows), strict=True)
        return [View(ground, reference) for ground, reference in pairs]


def _blocks(windows: Sequence[Slices]) -> Iterator[tuple[Slices, list[tuple[int, Slices]]]]:
    """Windows that are better read together: what they span, and where in it each one lies."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (rows, cols) in enumerate(windows):
        groups.setdefault((rows.start // _BLOCK_PX, cols.start // _BLOCK_PX), []).append(index)
    for members in groups.values():
        spans = [
            slice(
                min(windows[i][axis].start for i in members),
                max(windows[i][axis].stop for i in members),
            )
            for axis in (0, 1)
        ]
        together = np.prod([s.stop - s.start for s in spans])
        apart = sum(np.prod([s.stop - s.start for s in windows[i]]) for i in members)
        for some in [members] if together <= apart else [[i] for i in members]:
            block = (spans[0], spans[1]) if len(some) == len(members) else windows[some[0]]
            yield block, [(i, _within(block, windows[i])) for i in some]


def _within(block: Slices, window: Slices) -> Slices:
    rows, cols = (
        slice(w.start - b.start, w.stop - b.start) for b, w in zip(block, window, strict=True)
    )
    return rows, cols
