"""The one door through which rasters are opened and read on their own grid.

Outside this door there is no nodata value and no alpha band, only pixels and their validity.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo.errors import BandError, GridError, SourceError, first_line
from geo.hrefs import check_href, is_remote, vrt_error

# A missing georeference is judged by `inspect_raster`, with a reason for the user. The filter
# stands here because filters are one for all threads: set and reset around each opening, they
# would come and go under the feet of other threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# Formats that hold their own pixels. VRT, WMS, netCDF, HDF and the like read whatever they name.
_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "HFA")
# HFA (.img) may keep pixels in another file, which a stranger would name.
_REMOTE_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")

# One tile or strip is decoded whole however few pixels of it are wanted.
BLOCK_LIMIT_BYTES = 512 * 2**20

# GDAL waits for ever by default. A stalled transfer counts as one at under 1 kB/s for 20 s.
_REMOTE_OPTIONS = {
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 120,
    "GDAL_HTTP_LOW_SPEED_TIME": 20,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_MAX_RETRY": 2,  # of each request; `retried` repeats the whole read
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no guessing of files beside a URL
}
# What a server will answer again: not there, not for you.
_REFUSED = re.compile(r"HTTP response code: 4(?!08|25|29)\d\d")

# Waits before a remote read is done again.
_WAITS_S = (0.5, 1.0, 2.0, 4.0)

_Result = TypeVar("_Result")


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


@contextmanager
def open_raster(href: str) -> Iterator[DatasetReader]:
    """Open a raster for reading; everything GDAL finds wrong becomes a `SourceError`.

    Only plain files and URLs of http, https and s3 are opened, and only by drivers whose files
    hold their own pixels (see `geo.hrefs`). Remote reads have time-outs and retries.

    Raises
    ------
    SourceError
        If the file is missing, is not a raster, may not be opened, or fails while it is read.
    """
    path = check_href(href)
    remote = is_remote(path)
    if not remote and not Path(path).exists():
        raise SourceError(f"{href}: no such file", href=href, cause="missing")
    # An opened dataset asks for the options again at each read, hence the Env around both.
    with rasterio.Env(**(_REMOTE_OPTIONS | _freshness.options() if remote else {})):
        try:
            dataset = DatasetReader(path, driver=list(_REMOTE_DRIVERS if remote else _DRIVERS))
        except RasterioError as error:
            if not remote and _is_vrt(path):
                raise vrt_error(href) from None
            refused = _REFUSED.search(str(error))
            raise SourceError(
                f"{href}: not a raster that GDAL can open ({first_line(error)})",
                href=href,
                cause="missing" if refused else "unreadable",
            ) from error
        with dataset:
            _refuse_unsafe(href, dataset)
            try:
                yield dataset
            except RasterioError as error:
                raise SourceError(
                    f"{href}: reading failed ({first_line(error.__cause__ or error)}); "
                    "the file may be damaged or incomplete",
                    href=href,
                    cause="unreadable",
                ) from error


def _is_vrt(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"<VRTDataset" in file.read(256)
    except OSError:
        return False


def _refuse_unsafe(href: str, dataset: DatasetReader) -> None:
    """Refuse a raster that reads another file, or that cannot be read in bounded memory."""
    # GDAL opens whatever this tag of a GeoTIFF names, with any driver, on a reduced read.
    if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise SourceError(
            f"{href}: takes its overviews from another file, which is not allowed; "
            "make them inside it or in an .ovr beside it (gdaladdo)",
            href=href,
            cause="forbidden_href",
        )
    planes = dataset.count if dataset.interleaving and dataset.interleaving.name == "pixel" else 1
    largest = max(
        height * width * np.dtype(_plain(dtype)).itemsize
        for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True)
    )
    if largest * planes > BLOCK_LIMIT_BYTES:
        raise SourceError(
            f"{href}: one block of it takes {largest * planes / 2**20:.0f} MiB, more than "
            f"{BLOCK_LIMIT_BYTES // 2**20}; rewrite it in tiles (gdal_translate -co TILED=YES)",
            href=href,
            cause="block_too_large",
            value=largest * planes,
            limit=BLOCK_LIMIT_BYTES,
        )


def _plain(dtype: str) -> str:
    return "complex64" if dtype.startswith("complex_") else dtype


class _Freshness(threading.local):
    """Whether this thread reads anew what GDAL has cached of a URL: a half answer stays there."""

    anew = False

    def options(self) -> dict[str, str]:
        return {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/"} if self.anew else {}


_freshness = _Freshness()


def retried(href: str, read: Callable[[], _Result]) -> _Result:
    """Do a read of a remote raster again when it fails; a local one fails at once.

    GDAL itself repeats requests that were refused or timed out, but not those whose answer broke
    off in the middle.

    Raises
    ------
    SourceError
        As `read` does, from its last attempt.
    """
    if not is_remote(href):
        return read()
    try:
        for wait_s in _WAITS_S:
            try:
                return read()
            except SourceError as error:
                if error.facts.get("cause") != "unreadable":
                    raise
            time.sleep(wait_s)
            _freshness.anew = True
        return read()
    finally:
        _freshness.anew = False


def inspect_raster(href: str) -> RasterInfo:
    """Describe a raster without reading its pixels.

    Raises
    ------
    SourceError
        If it cannot be opened, has no usable georeference, or holds complex numbers.
    """
    return retried(href, lambda: _inspect(href))


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
    first = inspect_raster(hrefs[0]).geobox
    for href in hrefs[1:]:
        if (other := inspect_raster(href).geobox) != first:
            raise GridError(
                f"{href} lies on another grid ({other.shape.yx}, {other.affine.a:g} m) than "
                f"{hrefs[0]} ({first.shape.yx}, {first.affine.a:g} m); wanted bands of one grid",
                href=href,
            )
    return first


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
