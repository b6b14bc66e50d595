"""Tiles of a TIFF file as bytes: predictor and compression.

Aldus, "TIFF Revision 6.0", 1992, section 14 (horizontal differencing); Adobe Photoshop TIFF
Technical Note 3, 2005 (floating point predictor); Adobe Deflate as compression 8, Zstandard as
GDAL's compression 50000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numcodecs import zstd

Compression = Literal["deflate", "zstd", "none"]
COMPRESSIONS: dict[str, int] = {"none": 1, "deflate": 8, "zstd": 50000}
"""TIFF's numbers for them."""

_HORIZONTAL, _FLOATING = 2, 3


@dataclass(frozen=True)
class TileCodec:
    """Makes bytes of tiles.

    Parameters
    ----------
    compression : {"deflate", "zstd", "none"}
        Deflate is read by every GIS and browser; Zstandard is smaller at the same speed.
    dtype : str
        Of the pixels.

    Notes
    -----
    Level 1 each: on noisy pixels more takes a multiple of the time for files 1 % smaller.
    """

    compression: Compression
    dtype: str

    @property
    def predictor(self) -> int:
        """TIFF's number of the predictor; 1 for none."""
        if self.compression == "none":
            return 1
        return _FLOATING if np.dtype(self.dtype).kind == "f" else _HORIZONTAL

    def encode(self, planes: npt.NDArray[Any]) -> bytes:
        """Bytes of a tile [C, h, w], which has all values of a pixel together."""
        if self.predictor == _HORIZONTAL:
            return compress(_difference(planes), self.compression)
        tile = np.empty((*planes.shape[1:], planes.shape[0]), planes.dtype)
        for band, plane in enumerate(planes):  # one by one: thrice as fast as all at once
            tile[..., band] = plane
        if self.predictor == _FLOATING:
            return compress(_shuffle_floats(tile), self.compression)
        return compress(tile, self.compression)


def compress(content: npt.NDArray[Any], compression: Compression) -> bytes:
    """Bytes of a contiguous array, as TIFF wants them: little-endian."""
    if content.dtype.byteorder == ">" or not np.little_endian:
        content = content.astype(content.dtype.newbyteorder("<"))
    if compression == "deflate":
        return bytes(isal_zlib.compress(content.data.cast("B"), 1))
    if compression == "zstd":
        return bytes(zstd.compress(content, 1))
    return content.tobytes()


def _difference(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each pixel less the one on its left; wraps around: [C, h, w] to [h, w, C]."""
    unsigned = planes.view(f"u{planes.dtype.itemsize}")
    out = np.empty((*planes.shape[1:], planes.shape[0]), unsigned.dtype)
    for band, plane in enumerate(unsigned):
        out[:, 0, band] = plane[:, 0]
        np.subtract(plane[:, 1:], plane[:, :-1], out=out[:, 1:, band])
    return out


def _shuffle_floats(tile: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """In each row the bytes of all values by significance, then differences from byte to byte."""
    height, width, bands = tile.shape
    size = tile.dtype.itemsize
    big_endian = np.ascontiguousarray(tile, tile.dtype.newbyteorder(">"))
    planes = big_endian.view(np.uint8).reshape(height, width * bands, size).swapaxes(1, 2)
    flat = np.ascontiguousarray(planes).reshape(height, size * width * bands)
    flat[:, bands:] -= flat[:, :-bands].copy()
    return flat
