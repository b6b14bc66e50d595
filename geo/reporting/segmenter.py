"""Maps that a segmentation network makes of the images of a region, window by window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geo.errors import BandError, ReportError
from geo.scores.agreement import Map

_Stack = npt.NDArray[np.float32]

# A window of the network, without what it looks at beyond: bounds its memory, whatever the tiles.
_WINDOW_PX = 1024


class Segmenter(Protocol):
    """What `geo` asks of a segmentation network; picklable facts stand in `SegmenterFacts`."""

    @property
    def name(self) -> str:
        """Identity: two of one name make the same map."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Of the images that it takes, in its order."""

    @property
    def data_range(self) -> float:
        """The DN that means 1.0 of those images."""

    @property
    def halo(self) -> int:
        """How far a pixel looks, in HR pixels."""

    @property
    def stride(self) -> int:
        """Windows begin at multiples of it, for a pixel to get one class whatever the window."""

    def __call__(self, image: _Stack) -> Map:
        """DN [C, H, W] to one plus the place of each pixel's class, [H, W]."""


@dataclass(frozen=True, kw_only=True)
class SegmenterFacts:
    """What a plan keeps of a segmenter; see `Segmenter`.

    Parameters
    ----------
    name : str
    classes, bands : tuple of str
    data_range : float
    halo, stride : int
    """

    name: str
    classes: tuple[str, ...]
    bands: tuple[str, ...]
    data_range: float
    halo: int
    stride: int

    @classmethod
    def of(cls, segmenter: Segmenter) -> SegmenterFacts:
        """Take the facts of a segmenter."""
        return cls(
            name=segmenter.name,
            classes=tuple(segmenter.classes),
            bands=tuple(segmenter.bands),
            data_range=float(segmenter.data_range),
            halo=segmenter.halo,
            stride=segmenter.stride,
        )

    def check(self, sr: str, bands: Sequence[str]) -> None:
        """Whether it can look at an image with these bands.

        Raises
        ------
        BandError
            If it wants bands that the image has not.
        """
        missing = [band for band in self.bands if band not in bands]
        if missing:
            raise BandError(
                f"{self.name} looks at {', '.join(self.bands)} and {sr} has no "
                f"{', '.join(missing)}, but {', '.join(bands)}; take a segmenter of its bands",
                href=sr,
                missing=missing,
            )

    def margin_px(self, scale: int) -> tuple[int, int]:
        """How far around a window to read, in HR pixels, and of what its begin is a multiple.

        Beyond the halo lie valid pixels that holes within it are filled by: as far from the hole
        as the hole is from the window, at most, which is along the diagonal of the halo.
        """
        step = math.lcm(self.stride, scale)
        return math.ceil((1 + math.sqrt(2)) * self.halo), step


def widen(
    rows: slice, cols: slice, facts: SegmenterFacts, scale: int, shape_yx: tuple[int, int]
) -> tuple[slice, slice]:
    """The LR window to read so that maps of a window within it are those of the whole region.

    Parameters
    ----------
    rows, cols : slice
        Of LR pixels.
    shape_yx : (int, int)
        The region's, in LR pixels.
    """
    reach, step = facts.margin_px(scale)

    def wide(span: slice, length: int) -> slice:
        start = (span.start * scale - reach) // step * step // scale
        return slice(max(0, start), min(length, -(-(span.stop * scale + reach) // scale)))

    return wide(rows, shape_yx[0]), wide(cols, shape_yx[1])


def draw_map(
    segmenter: Segmenter,
    image: _Stack,
    bands: Sequence[str],
    inner: tuple[slice, slice],
    facts: SegmenterFacts,
    data_range: float,
) -> Map:
    """Classes of the inner part of an image without holes, in windows of bounded size.

    Parameters
    ----------
    image : array, [C, H, W]
        DN; begins where `widen` says, and reaches as far around the inner part.
    bands : sequence of str
        Its bands, among them those of the segmenter.
    inner : (slice, slice)
        Rows and columns of `image`.
    data_range : float
        The DN that means 1.0 of the image, which is brought to the segmenter's.

    Returns
    -------
    array of uint8, [H', W']

    Raises
    ------
    ReportError
        If the segmenter makes a map of another size, or of classes that it does not name.
    """
    seen = image[[list(bands).index(band) for band in facts.bands]]
    if data_range != facts.data_range:
        seen = seen * np.float32(facts.data_range / data_range)
    rows, cols = inner
    found = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
    for top in range(rows.start, rows.stop, _WINDOW_PX):
        for left in range(cols.start, cols.stop, _WINDOW_PX):
            y, x = (
                slice(start, min(stop, start + _WINDOW_PX))
                for start, stop in ((top, rows.stop), (left, cols.stop))
            )
            around = tuple(
                slice(
                    max(0, (span.start - facts.halo) // facts.stride * facts.stride),
                    min(length, span.stop + facts.halo),
                )
                for span, length in ((y, image.shape[1]), (x, image.shape[2]))
            )
            window = seen[:, *around]
            told = np.asarray(segmenter(window))
            if told.shape != window.shape[1:] or int(told.max(initial=0)) > len(facts.classes):
                raise ReportError(
                    f"{facts.name} made a map of {told.shape} with values up to "
                    f"{told.max(initial=0)} of a window of {window.shape[1:]}; wanted its shape "
                    f"and values up to {len(facts.classes)}, the number of its classes"
                )
            part = tuple(
                slice(span.start - wide.start, span.stop - wide.start)
                for span, wide in zip((y, x), around, strict=True)
            )
            place = (
                slice(y.start - rows.start, y.stop - rows.start),
                slice(x.start - cols.start, x.stop - cols.start),
            )
            found[place] = told[part]
    return found
