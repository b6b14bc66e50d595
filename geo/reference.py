"""The aerial image as the satellite would have seen it, at any shift, from one reading.

Registration and harmonisation look at the same ground several times, each time a little moved.
So the aerial image is read once for a window, on pixels half as large and with a rim, blurred as
the satellite's sensor blurs, and from then on only sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.raster_io import Pixels, Source
from geo.sensor import blur_sigma_px
from geo.warp import warp_to

# The sensor's blur leaves nothing beyond the Nyquist frequency of pixels half as large.
_FINER = 2
_BLUR_REACH_PX = 3  # LR pixels that blur and spline reach
# A sample whose kernel saw less good ground than this is not valid.
_LEAST_WEIGHT = 0.98

_Planes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceWindow:
    """The aerial image over a window of the satellite grid, ready to be sampled.

    Parameters
    ----------
    splines : array, [C, 2(h + 2r) - 1, 2(w + 2r) - 1]
        Coefficients of cubic splines of the image as blurred by the sensor; the centre of LR
        pixel 0 lies at ``2 r``.
    weight : array, [2(h + 2r) - 1, 2(w + 2r) - 1]
        Share of good ground under the blur.
    shape_yx : (int, int)
        ``h``, ``w``.
    rim_px : int
        ``r``, in LR pixels.
    """

    splines: _Planes
    weight: _Planes
    shape_yx: tuple[int, int]
    rim_px: int

    def seen(self, shift_yx: tuple[float, float] | npt.NDArray[np.floating]) -> Pixels:
        """What the satellite would have seen.

        Parameters
        ----------
        shift_yx : (float, float) or array [2, h, w]
            Where the satellite's content lies relative to its georeference, LR pixels, down and
            right; beyond the rim nothing is valid.

        Returns
        -------
        Pixels
            float32 [C, h, w], 0 where not valid.
        """
        if np.ndim(shift_yx) == 1:
            return self._moved(float(shift_yx[0]), float(shift_yx[1]))
        shift = np.asarray(shift_yx, np.float32)
        at = _FINER * (np.indices(self.shape_yx, dtype=np.float32) + self.rim_px - shift)
        weight = ndimage.map_coordinates(self.weight, at, order=1, cval=0.0)
        data = np.empty((len(self.splines), *self.shape_yx), np.float32)
        for plane, out in zip(self.splines, data, strict=True):
            ndimage.map_coordinates(plane, at, out, order=3, prefilter=False)
        return _masked(data, weight)

    def _moved(self, dy: float, dx: float) -> Pixels:
        """Sampled at one shift: rows and columns one after the other, many times faster."""
        height, width = self.shape_yx
        first = [_FINER * (self.rim_px - shift) for shift in (dy, dx)]
        taps_y, taps_x = _cubic_taps(first[0]), _cubic_taps(first[1])
        rows = _sum_taps(self.splines, taps_y, height, axis=1)  # [C, h, W]
        data = _sum_taps(rows, taps_x, width, axis=2)  # [C, h, w]
        weight = _sum_taps(self.weight[None], _linear_taps(first[0]), height, axis=1)
        weight = _sum_taps(weight, _linear_taps(first[1]), width, axis=2)[0]
        return _masked(data, weight)

    def part(self, rows: slice, cols: slice) -> ReferenceWindow:
        """A smaller window out of this one, with the same rim."""
        fine = tuple(
            slice(_FINER * s.start, _FINER * (s.stop + 2 * self.rim_px) - 1) for s in (rows, cols)
        )
        return ReferenceWindow(
            self.splines[:, *fine],
            self.weight[fine],
            (rows.stop - rows.start, cols.stop - cols.start),
            self.rim_px,
        )


_Taps = list[tuple[int, float]]


def _cubic_taps(position: float) -> _Taps:
    """Where a cubic B-spline about a position has its coefficients, and their weights."""
    base = int(np.floor(position))
    t = position - base
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    return [(base - 1 + k, w) for k, w in enumerate(weights) if w > 0]


def _linear_taps(position: float) -> _Taps:
    base = int(np.floor(position))
    t = position - base
    return [(base + k, w) for k, w in enumerate((1 - t, t)) if w > 0]


def _sum_taps(planes: _Planes, taps: _Taps, count: int, *, axis: int) -> _Planes:
    """Weighted sum of strided pieces along an axis; what lies beyond the planes is nothing."""
    length = planes.shape[axis]
    shape = list(planes.shape)
    shape[axis] = count
    total = np.zeros(shape, np.float32)
    for start, weight in taps:
        # Samples start, start + 2 ... that lie inside.
        low = max(0, -(start // _FINER))
        high = min(count, (length - 1 - start) // _FINER + 1)
        if low >= high:
            continue
        inside = slice(start + _FINER * low, start + _FINER * (high - 1) + 1, _FINER)
        target, source = [slice(None)] * 3, [slice(None)] * 3
        target[axis], source[axis] = slice(low, high), inside
        total[tuple(target)] += np.float32(weight) * planes[tuple(source)]
    return total


def _masked(data: _Planes, weight: _Planes) -> Pixels:
    valid = np.asarray(weight > _LEAST_WEIGHT)
    data[:, ~valid] = 0
    return Pixels(data, valid)


def read_reference(
    reference: Source,
    geobox: GeoBox,
    *,
    reach_px: float,
    bands: Sequence[str] | None = None,
) -> ReferenceWindow:
    """Read the aerial image for a window of the satellite grid.

    Parameters
    ----------
    reference : str or sequence of BandRef
    geobox : GeoBox
        The window, ``h`` by ``w``.
    reach_px : float
        Largest shift that will be asked for, in LR pixels.
    """
    rim = int(np.ceil(reach_px)) + _BLUR_REACH_PX
    fine = warp_to(reference, geobox.pad(rim).zoom_out(1 / _FINER), bands=bands)
    weight = _blur(fine.valid.astype(np.float32)[None])[0]
    data = _blur(fine.data) / np.maximum(weight, 1e-3)  # what is not good does not weigh in
    splines = np.stack([ndimage.spline_filter(p, order=3, output=np.float32) for p in data])
    return ReferenceWindow(splines, weight, geobox.shape.yx, rim)


def _blur(planes: _Planes) -> _Planes:
    """Sensor blur, then the mean over an LR pixel; positions move by half a fine pixel."""
    sigma = blur_sigma_px(_FINER)
    blurred = ndimage.gaussian_filter(planes, (0, sigma, sigma), mode="nearest", truncate=3.5)
    rows = (blurred[:, 1:] + blurred[:, :-1]) / 2
    return np.asarray((rows[:, :, 1:] + rows[:, :, :-1]) / 2, np.float32)
