"""The second door: one resampling from a raster's own grid onto another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import Resampling
from scipy import ndimage

from geo.errors import GridError
from geo.raster_io import BandRef, Pixels, Source, inspect_raster, read_file, source_refs
from geo.resample import KERNELS, fill_nearest, pick_nearest, sample_anywhere, sample_grid

# Source pixels kept for each target pixel when the file is reduced on reading.
_OVERSAMPLING = 8.0
_SMALL = ("uint8", "int8", "uint16", "int16")
# Target pixels that a spline feels, and the kernel before it.
_SPLINE_REACH = 6
# Places are looked up by PROJ on a mesh of the target and interpolated between; it is made finer
# until that is off by no more than this.
_MESH_PX = 32
_MESH_ERROR_PX = 0.01

# Projections in which x tells the longitude, so that a grid may run on beyond 180 degrees.
_CYLINDRICAL = {
    "Popular Visualisation Pseudo Mercator",
    "Mercator (variant A)",
    "Mercator (variant B)",
    "Equidistant Cylindrical",
    "Equidistant Cylindrical (Spherical)",
    "Lambert Cylindrical Equal Area",
    "Lambert Cylindrical Equal Area (Spherical)",
}

_Array = npt.NDArray[np.float64]
_Mapping = Callable[[_Array, _Array], tuple[_Array, _Array]]


@dataclass(frozen=True)
class _Places:
    """Where target pixels fall on a source grid, in its pixels: axes if parallel, else all."""

    rows: _Array  # [H], or [H, W]
    cols: _Array  # [W], or [H, W]
    ratio_yx: tuple[float, float]  # source pixels for each target pixel

    @property
    def parallel(self) -> bool:
        return self.rows.ndim == 1


def warp_to(
    source: Source,
    geobox: GeoBox,
    *,
    bands: Sequence[str] | None = None,
    resampling: str = "cubic",
    displacement_yx: npt.NDArray[np.floating] | None = None,
) -> Pixels:
    """Resample a raster once onto a grid.

    Parameters
    ----------
    source : str or sequence of BandRef
    geobox : GeoBox
        The grid wanted, ``H`` by ``W``; it may lie anywhere, in any CRS.
    bands : sequence of str, optional
        Names, when `source` is an href.
    resampling : {"cubic", "bilinear", "nearest"}
        Cubic convolution and the bilinear triangle widen with the ratio of the pixels, so that a
        reduction does not alias.
    displacement_yx : array, [2, H, W], optional
        How far from each target pixel its ground is to be looked for, in target pixels, down and
        right.

    Returns
    -------
    Pixels
        float32 ``data`` [C, H, W], 0 where not valid; valid only where the kernel saw no invalid
        pixel and nothing outside the raster. (An image sixteen times as fine or more is thinned on
        reading; single bad pixels may go unseen there.)

    Raises
    ------
    SourceError, BandError, GridError
    """
    refs = source_refs(source, bands)
    planes: dict[BandRef, npt.NDArray[np.float32]] = {}
    valid = np.ones(geobox.shape.yx, dtype=np.bool_)
    placed: dict[GeoBox, _Places] = {}
    for href in dict.fromkeys(ref.href for ref in refs):
        wanted = [ref for ref in refs if ref.href == href]
        grid = inspect_raster(href).geobox
        if grid not in placed:
            placed[grid] = _place(grid, geobox, displacement_yx)
        warped = _warp_file(href, wanted, placed[grid], geobox.shape.yx, resampling)
        planes.update(zip(wanted, warped.data, strict=True))
        valid &= warped.valid
    data = np.stack([planes[ref] for ref in refs])  # [C, H, W]
    data[:, ~valid] = 0
    return Pixels(data, valid)


def _warp_file(
    href: str, refs: Sequence[BandRef], places: _Places, shape: tuple[int, int], resampling: str
) -> Pixels:
    read = _read_places(href, refs, places, nearest=resampling == "nearest")
    if read is None:
        return Pixels(np.zeros((len(refs), *shape), np.float32), np.zeros(shape, np.bool_))
    data, valid, (top, left), thin_yx = read
    rows, cols = (places.rows - top) / thin_yx[0], (places.cols - left) / thin_yx[1]
    if resampling == "nearest":
        if places.parallel:
            rows, cols = np.broadcast_arrays(rows[:, None], cols[None, :])
        return Pixels(*pick_nearest(data, valid, rows, cols))
    sample = sample_grid if places.parallel else sample_anywhere
    ratio_yx = (places.ratio_yx[0] / thin_yx[0], places.ratio_yx[1] / thin_yx[1])
    filled = fill_nearest(data, valid)
    return Pixels(*sample(filled, valid, rows, cols, ratio_yx, KERNELS[resampling]))


def _read_places(
    href: str, refs: Sequence[BandRef], places: _Places, *, nearest: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], tuple[int, int], _Array] | None:
    """Read what the places need, thinned where far too fine: pixels, corner, thinning."""
    info = inspect_raster(href)
    spans, out = [], []
    for at, ratio, length in zip(
        (places.rows, places.cols), places.ratio_yx, info.geobox.shape.yx, strict=True
    ):
        reach = (2 if places.parallel else _SPLINE_REACH) * max(1.0, ratio) + 4
        inside = at[np.isfinite(at)]
        if not inside.size:
            return None
        thin = 1 if nearest else min(length, max(1, int(ratio / _OVERSAMPLING)))
        # Whole groups of pixels, counted from the raster's corner: what a pixel becomes does not
        # depend on what is read beside it.
        start = max(0, int(np.floor((inside.min() - reach) / thin)))
        stop = min(length // thin, int(np.ceil((inside.max() + reach) / thin)))
        if start >= stop:
            return None
        spans.append(slice(start * thin, stop * thin))
        out.append(stop - start)
    moved = any(ref.offset_dn for ref in refs)
    data, good = read_file(
        href,
        [ref.index for ref in refs],
        *spans,
        out_shape=(out[0], out[1]),
        # Small integers stay so until they are sampled: a reduction reads more than it gives.
        dtype=info.dtype if info.dtype in _SMALL and not moved else "float32",
        resampling=Resampling.nearest if nearest else Resampling.average,
    )
    if moved:
        for plane, ref in zip(data, refs, strict=True):
            # Darkness cannot be less than none, as on the satellite's own grid.
            np.maximum(plane + np.float32(ref.offset_dn), 0, out=plane, where=ref.offset_dn != 0)
    valid: npt.NDArray[np.bool_] = np.asarray(good.all(axis=0))
    if data.dtype.kind == "f":
        valid &= np.isfinite(data).all(axis=0)
    thin_yx = np.array([(s.stop - s.start) / n for s, n in zip(spans, out, strict=True)])
    return data, valid, (spans[0].start, spans[1].start), thin_yx


def _place(
    grid: GeoBox, target: GeoBox, displacement_yx: npt.NDArray[np.floating] | None
) -> _Places:
    """Where the centres of target pixels fall on a source grid."""
    height, width = target.shape.yx
    y, x = (np.arange(n, dtype=np.float64) + 0.5 for n in (height, width))
    there = _parallel(grid, target) if displacement_yx is None else None
    if there is not None:
        ratio = (abs(there.e), abs(there.a))
        return _Places(there.e * y + there.f, there.a * x + there.c, ratio)
    mapping = _pixel_mapping(target, grid)
    if displacement_yx is None:
        rows, cols = _look_up(mapping, y[:, None], x[None, :], (height, width))
    else:
        down, right = np.asarray(displacement_yx, np.float64)
        rows, cols = _look_up(mapping, y[:, None] + down, x[None, :] + right, (height, width))
    return _Places(rows, cols, _ratio(mapping, height, width))


def _look_up(
    mapping: _Mapping, y: _Array, x: _Array, shape: tuple[int, int]
) -> tuple[_Array, _Array]:
    """Rows and columns for places of the target, by PROJ on a mesh no coarser than need be."""
    y, x = np.broadcast_arrays(y, x)
    low = (float(y.min()), float(x.min()))
    high = (float(y.max()), float(x.max()))
    step = _MESH_PX
    while step > 2:
        counts = [max(4, int(np.ceil((b - a) / step)) + 1) for a, b in zip(low, high, strict=True)]
        axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, counts, strict=True)]
        mesh = _map_mesh(mapping, *axes)
        halves = [(axis[1:] + axis[:-1]) / 2 for axis in axes]
        between = _map_mesh(mapping, *halves)  # [2, n - 1, m - 1]
        means = (mesh[:, 1:, 1:] + mesh[:, 1:, :-1] + mesh[:, :-1, 1:] + mesh[:, :-1, :-1]) / 4
        if np.isfinite(mesh).all() and np.abs(means - between).max() < _MESH_ERROR_PX:
            at = [
                (p - a) / max(b - a, 1e-12) * (n - 1)
                for p, a, b, n in zip((y, x), low, high, counts, strict=True)
            ]
            rows, cols = (ndimage.map_coordinates(m, at, order=1, mode="nearest") for m in mesh)
            return rows, cols
        step //= 2
    cols, rows = mapping(x.ravel(), y.ravel())
    return rows.reshape(y.shape), cols.reshape(y.shape)


def _map_mesh(mapping: _Mapping, y: _Array, x: _Array) -> _Array:
    """Rows and columns for a mesh of target places: [2, n, m]."""
    mesh_y, mesh_x = np.meshgrid(y, x, indexing="ij")
    cols, rows = mapping(mesh_x.ravel(), mesh_y.ravel())
    return np.stack([rows.reshape(mesh_y.shape), cols.reshape(mesh_y.shape)])


def _pixel_mapping(target: GeoBox, grid: GeoBox) -> _Mapping:
    """Map pixel positions of `target` to those of `grid`: arrays x, y to arrays x, y."""
    try:
        project = Transformer.from_crs(str(target.crs), str(grid.crs), always_xy=True)
    except ProjError as error:
        raise GridError(f"no way from {target.crs} to {grid.crs}: {error}") from error
    from_target, to_grid = target.affine, ~grid.affine
    around = once_around(str(grid.crs))

    def mapping(x: _Array, y: _Array) -> tuple[_Array, _Array]:
        there_x, there_y = project.transform(*_apply(from_target, x, y))
        if around is not None:
            turns = _turns(grid, there_x, around)
            there_x = there_x - around * np.where(np.isfinite(turns), turns, 0)
        return _apply(to_grid, there_x, there_y)

    return mapping


def _parallel(grid: GeoBox, target: GeoBox) -> Affine | None:
    """Pixels of `target` to those of `grid`, where the axes of both are the same."""
    there: Affine = ~grid.affine @ target.affine
    if grid.crs != target.crs or abs(there.b) + abs(there.d) > 1e-9:
        return None
    around = once_around(str(grid.crs))
    if around is None:
        return there
    box = target.boundingbox
    first, last = _turns(grid, np.array([box.left, box.right]), around)
    if first != last:
        return None
    there = ~grid.affine @ Affine.translation(-around * float(first), 0) @ target.affine
    return Affine(*there[:6])


def _turns(grid: GeoBox, x: _Array, around: float) -> _Array:
    """Times around the Earth by which x is counted on from where a grid counts it."""
    box = grid.boundingbox
    return np.asarray(np.round((np.asarray(x) - (box.left + box.right) / 2) / around))


@lru_cache(maxsize=64)
def once_around(crs: str) -> float | None:
    """How far x goes on until it comes to the same ground again; None if it does not."""
    known = CRS(crs)
    if known.is_geographic:
        return float(2 * np.pi / known.axis_info[0].unit_conversion_factor)
    operation = known.coordinate_operation
    if operation is None or operation.method_name not in _CYLINDRICAL:
        return None
    project = Transformer.from_crs(known.geodetic_crs, known, always_xy=True)
    lon, _ = project.transform(0.0, 0.0, direction="INVERSE")
    x, _ = project.transform([lon - 45, lon + 45], [0.0, 0.0])
    return 4 * float(x[1] - x[0])


def _apply(affine: Affine, x: _Array, y: _Array) -> tuple[_Array, _Array]:
    return (affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f)


def _ratio(to_grid: _Mapping, height: int, width: int) -> tuple[float, float]:
    """Source pixels for each target pixel along the source's y and x: median over the target."""
    y, x = (a.ravel() for a in np.meshgrid(*(np.linspace(0, n, 5) for n in (height, width))))
    at = np.stack(to_grid(x, y))
    per_x, per_y = np.stack(to_grid(x + 1, y)) - at, np.stack(to_grid(x, y + 1)) - at
    per_axis = np.hypot(per_x, per_y)  # [source x and y, places]
    # Not the mean: the source may have its seam, or its end, within the target.
    known = per_axis[:, np.isfinite(per_axis).all(axis=0)]
    if not known.size:
        return 1.0, 1.0
    ratio_x, ratio_y = np.median(known, axis=1)
    return float(ratio_y), float(ratio_x)
