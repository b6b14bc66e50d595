"""The door through which every raster is opened: which files, by which drivers, how patiently."""

from __future__ import annotations

import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geo.errors import SourceError, first_line
from geo.hrefs import check_href, is_remote, vrt_error
from geo.pairstore.place import S3Place
from geo.pairstore.place import is_remote as is_s3

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

# How GDAL says that it goes on without what it could not read.
_LOST = re.compile(
    r"IO error|[Rr]ead error|[Cc]an ?not read|tag ignored|failed to read", re.IGNORECASE
)

# Waits before a remote read is done again.
_WAITS_S = (0.5, 1.0, 2.0, 4.0)

_Result = TypeVar("_Result")


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
    options = _remote_options(path) if remote else {}
    with rasterio.Env(**options), _ear.listening() as heard:
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
            _refuse_half_read(href, heard)
            _refuse_unsafe(href, dataset)
            try:
                yield dataset
            except RasterioError as error:
                hint = "the network may have failed, or the" if remote else "the"
                raise SourceError(
                    f"{href}: reading failed ({first_line(error.__cause__ or error)}); "
                    f"{hint} file may be damaged or incomplete",
                    href=href,
                    cause="unreadable",
                ) from error
            _refuse_half_read(href, heard)


def _remote_options(url: str) -> dict[str, object]:
    options = _REMOTE_OPTIONS | _freshness.options()
    # Other servers than Amazon's are named to all clients by the same variables.
    return options | (S3Place(url).gdal_options() if is_s3(url) else {})


class _Ear(logging.Handler):
    """Hears what GDAL only warns of, in the thread that reads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Warnings of this thread while the context lasts."""
        before = getattr(self._local, "heard", None)
        self._local.heard = []
        try:
            yield self._local.heard
        finally:
            self._local.heard = before

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message for whoever listens in this thread."""
        heard = getattr(self._local, "heard", None)
        if heard is not None:
            heard.append(record.getMessage())
        # Whoever wants less of rasterio in a log sets the level of its parent, as before.
        if _PARENT.isEnabledFor(record.levelno):
            _PARENT.handle(record)


_PARENT = logging.getLogger("rasterio")
_GDAL = logging.getLogger("rasterio._env")
_ear = _Ear()
_GDAL.addHandler(_ear)
_GDAL.setLevel(logging.WARNING)
_GDAL.propagate = False


def _refuse_half_read(href: str, heard: list[str]) -> None:
    """Refuse a remote raster of which GDAL dropped what did not arrive: its CRS, its nodata."""
    lost = next((text for text in heard if _LOST.search(text)), None)
    if lost is not None and is_remote(href):
        raise SourceError(
            f"{href}: a part of it did not arrive ({lost.splitlines()[0][:200]})",
            href=href,
            cause="unreadable",
        )


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
                # A georeference may be missing because it did not arrive.
                if error.facts.get("cause") not in ("unreadable", "no_georeference"):
                    raise
            time.sleep(wait_s)
            _freshness.anew = True
        return read()
    finally:
        _freshness.anew = False
