"""Rasters described and read on their own grid; `geo.raster_door` opens them.

Outside this door there is no nodata value and no alpha band, only pixels and their validity.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo.errors import BandError, GridError, SourceError, first_line
from geo.hrefs import is_remote, local_path
from geo.raster_door import open_raster as open_raster
from geo.raster_door import retried


@dataclass(frozen=True, kw_only=True)
class BandRef:
    """One band of one file.

    Parameters
    ----------
    href : str
        Path or URL.
    index : int
        Position in the file, from 1.
    offset_dn : float
        Added to valid pixels as they are read, within the range of their type: -1000 for
        Sentinel-2 of processing baseline 04.00 and later as ESA ships it, whose zero reflectance
        is at 1000 (Sentinel-2 Products Specification Document, BOA_ADD_OFFSET).
    """

    href: str
    index: int
    offset_dn: float = 0.0


Source = str | Sequence[BandRef]
"""A whole raster by its href, or chosen bands that may lie in several files on one grid."""


@dataclass(frozen=True, kw_only=True)
class RasterInfo:
    """What is known of a raster without reading its pixels.

    Parameters
    ----------
    href : str
    geobox : GeoBox
        Shape, affine and CRS.
    bands : tuple of str
        Names of the data bands (no alpha): descriptions, else colours, else ``band1`` ...
    indexes : tuple of int
        Positions of those bands in the file, from 1.
    dtype : str
        The type that holds all data bands.
    scales : tuple of float
        What one DN of each data band stands for; 1 where the file does not say.
    nodata : float or None
    has_mask : bool
        The file carries a mask or alpha band, so pixels may be invalid without a nodata value.
    tags : dict of str to str
    """

    href: str
    geobox: GeoBox
    bands: tuple[str, ...]
    indexes: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    nodata: float | None
    has_mask: bool
    tags: dict[str, str]

    @property
    def is_north_up(self) -> bool:
        """Rows run south and columns run east, without rotation or shear."""
        a = self.geobox.affine
        return bool(a.b == 0 and a.d == 0 and a.a > 0 and a.e < 0)

    def refs(self, bands: Sequence[str] | None = None) -> tuple[BandRef, ...]:
        """Bands by name, in the order asked for (all of them by default).

        Raises
        ------
        BandError
            If a name is not in the file.
        """
        by_name = dict(zip(self.bands, self.indexes, strict=True))
        missing = [b for b in bands or () if b not in by_name]
        if missing:
            raise BandError(
                f"{self.href} has no band {', '.join(missing)}; it has {', '.join(self.bands)}",
                href=self.href,
                missing=missing,
            )
        wanted = self.bands if bands is None else bands
        return tuple(BandRef(href=self.href, index=by_name[b]) for b in wanted)


@dataclass(frozen=True)
class Pixels:
    """Pixels and where they are good.

    Parameters
    ----------
    data : array, [C, h, w]
    valid : array of bool, [h, w]
        True where every band is good.
    """

    data: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


def inspect_raster(href: str) -> RasterInfo:
    """Describe a raster without reading its pixels.

    A local file is opened once for many calls, as long as it and its folder do not change.

    Raises
    ------
    SourceError
        If it cannot be opened, has no usable georeference, or holds complex numbers.
    """
    if is_remote(href):
        return retried(href, lambda: _inspect(href))
    try:
        path = local_path(href)
        file, folder = os.stat(path), os.stat(os.path.dirname(path))
    except (OSError, ValueError, SourceError):
        return _inspect(href)  # which says what is wrong with it
    # The folder counts as well: masks and metadata may come to lie beside the file.
    return _inspect_file(href, file.st_size, file.st_mtime_ns, file.st_ino, folder.st_mtime_ns)


@lru_cache(1024)
def _inspect_file(href: str, *stamp: int) -> RasterInfo:
    return _inspect(href)


def raster_shape(href: str) -> tuple[int, int]:
    """Rows and columns of a raster, georeferenced or not.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """

    def read() -> tuple[int, int]:
        with open_raster(href) as dataset:
            return int(dataset.height), int(dataset.width)

    return retried(href, read)


def _inspect(href: str) -> RasterInfo:
    with open_raster(href) as dataset:
        if dataset.crs is None:
            hint = "only ground control points" if dataset.gcps[0] else "no CRS"
            raise SourceError(
                f"{href}: has {hint}; wanted a georeferenced raster (warp it first)",
                href=href,
                cause="no_georeference",
            )
        if dataset.transform.is_identity:
            raise SourceError(
                f"{href}: has a CRS but no geotransform; wanted a georeferenced raster",
                href=href,
                cause="no_georeference",
            )
        indexes = tuple(
            i
            for i, colour in zip(dataset.indexes, dataset.colorinterp, strict=True)
            if colour != ColorInterp.alpha
        )
        if not indexes:
            raise SourceError(
                f"{href}: has only an alpha band; wanted pixels", href=href, cause="unreadable"
            )
        dtype = np.result_type(*(dataset.dtypes[i - 1] for i in indexes))
        if dtype.kind == "c":
            raise SourceError(
                f"{href}: holds complex numbers; wanted integers or reals",
                href=href,
                cause="complex",
            )
        flags = {flag for i in indexes for flag in dataset.mask_flag_enums[i - 1]}
        return RasterInfo(
            href=href,
            geobox=GeoBox(dataset.shape, dataset.transform, _crs_text(href, dataset.crs)),
            bands=_band_names(dataset, indexes),
            indexes=indexes,
            dtype=str(dtype),
            scales=tuple(float(dataset.scales[i - 1]) for i in indexes),
            nodata=dataset.nodatavals[indexes[0] - 1],
            has_mask=MaskFlags.per_dataset in flags or MaskFlags.alpha in flags,
            tags={k: v for k, v in dataset.tags().items() if isinstance(v, str)},
        )


def _crs_text(href: str, crs: rasterio.crs.CRS) -> str:
    epsg = crs.to_epsg()
    try:
        return f"EPSG:{epsg}" if epsg else str(crs.to_wkt())
    except RasterioError as error:
        raise SourceError(
            f"{href}: unknown CRS ({first_line(error)})", href=href, cause="unknown_crs"
        ) from error


_COLOURS = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.gray: "gray",
}


def _band_names(dataset: rasterio.DatasetReader, indexes: tuple[int, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for i in indexes:
        name = dataset.descriptions[i - 1] or _COLOURS.get(dataset.colorinterp[i - 1])
        if name == "gray" and len(indexes) > 1:  # GDAL's default for the first of many
            name = None
        names.append(name if name and name not in names else f"band{i}")
    return tuple(names)


def source_refs(source: Source, bands: Sequence[str] | None = None) -> tuple[BandRef, ...]:
    """Resolve a source to bands of files."""
    if isinstance(source, str):
        return inspect_raster(source).refs(bands)
    return tuple(source)


def source_geobox(source: Source) -> GeoBox:
    """Grid of a source.

    Raises
    ------
    GridError
        If its files do not lie on one grid.
    """
    hrefs = [source] if isinstance(source, str) else list(dict.fromkeys(r.href for r in source))
    return common_grid([inspect_raster(href) for href in hrefs])


def common_grid(infos: Sequence[RasterInfo]) -> GeoBox:
    """Grid that all of some files lie on.

    Raises
    ------
    GridError
        If they do not.
    """
    first = infos[0]
    for info in infos[1:]:
        if (other := info.geobox) != first.geobox:
            raise GridError(
                f"{info.href} lies on another grid ({other.shape.yx}, {other.affine.a:g} m) than "
                f"{first.href} ({first.geobox.shape.yx}, {first.geobox.affine.a:g} m); wanted "
                "bands of one grid",
                href=info.href,
            )
    return first.geobox


def read_window(
    source: Source, rows: slice, cols: slice, bands: Sequence[str] | None = None
) -> Pixels:
    """Read a window on the raster's own grid, in its own dtype.

    Parameters
    ----------
    source : str or sequence of BandRef
    rows, cols : slice
        Inside the raster.
    bands : sequence of str, optional
        Names, when `source` is an href; all data bands by default.

    Returns
    -------
    Pixels
        ``data`` [C, h, w]; a pixel is valid where all its bands are.

    Raises
    ------
    SourceError
        If the pixels cannot be read.
    BandError
        If a band is not there.
    """
    refs = source_refs(source, bands)
    planes: dict[BandRef, npt.NDArray[Any]] = {}
    valid = np.ones((rows.stop - rows.start, cols.stop - cols.start), dtype=np.bool_)
    for href in dict.fromkeys(ref.href for ref in refs):
        wanted = [ref for ref in refs if ref.href == href]
        data, good = read_file(href, [ref.index for ref in wanted], rows, cols)
        valid &= good.all(axis=0)
        for ref, plane, there in zip(wanted, data, good, strict=True):
            planes[ref] = add_offset(plane, there, ref.offset_dn)
    stacked = np.stack([planes[ref] for ref in refs])  # [C, h, w]
    if stacked.dtype.kind == "f":
        valid &= np.isfinite(stacked).all(axis=0)
    return Pixels(stacked, valid)


def read_file(
    href: str,
    indexes: Sequence[int],
    rows: slice,
    cols: slice,
    *,
    out_shape: tuple[int, int] | None = None,
    dtype: str | None = None,
    resampling: Resampling = Resampling.nearest,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read a window of one file, reduced if asked: data and good pixels, both [c, h, w].

    Raises
    ------
    SourceError
        If the window leaves the raster, or cannot be read (after retries of a remote one).
    """
    bands = list(indexes)
    shape = None if out_shape is None else (len(bands), *out_shape)

    def read() -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        with open_raster(href) as dataset:
            window = _window_inside(href, dataset, rows, cols)
            data = dataset.read(
                bands, window=window, out_shape=shape, out_dtype=dtype, resampling=resampling
            )
            masks = dataset.read_masks(bands, window=window, out_shape=shape)
        return data, masks > 0

    return retried(href, read)


def add_offset(
    plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_], offset_dn: float
) -> npt.NDArray[Any]:
    """Add an offset where pixels are valid, within the range of their type: [..., h, w]."""
    if not offset_dn:
        return plane
    if plane.dtype.kind == "f":
        return np.where(valid, plane + plane.dtype.type(offset_dn), plane)
    limits = np.iinfo(plane.dtype)
    moved = np.clip(np.rint(plane.astype(np.float64) + offset_dn), limits.min, limits.max)
    return np.where(valid, moved.astype(plane.dtype), plane)


def _window_inside(href: str, dataset: DatasetReader, rows: slice, cols: slice) -> Window:
    height, width = dataset.shape
    inside = 0 <= rows.start < rows.stop <= height and 0 <= cols.start < cols.stop <= width
    if not inside:
        raise SourceError(
            f"{href}: rows {rows.start} to {rows.stop} and columns {cols.start} to {cols.stop} "
            f"were asked for; it has {height} rows and {width} columns",
            href=href,
            cause="outside_raster",
            value=(rows.start, rows.stop, cols.start, cols.stop),
            limit=(height, width),
        )
    return Window.from_slices(rows, cols)
