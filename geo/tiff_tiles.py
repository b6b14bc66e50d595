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

    def encode(self, tile: npt.NDArray[Any]) -> bytes:
        """Bytes of a tile [h, w, C]."""
        if self.predictor == _FLOATING:
            tile = _shuffle_floats(tile)
        elif self.predictor == _HORIZONTAL:
            tile = _difference(np.ascontiguousarray(tile))
        return compress(np.ascontiguousarray(tile), self.compression)


def compress(content: npt.NDArray[Any], compression: Compression) -> bytes:
    """Bytes of a contiguous array, as TIFF wants them: little-endian."""
    if content.dtype.byteorder == ">" or not np.little_endian:
        content = content.astype(content.dtype.newbyteorder("<"))
    if compression == "deflate":
        return bytes(isal_zlib.compress(content.data.cast("B"), 1))
    if compression == "zstd":
        return bytes(zstd.compress(content, 1))
    return content.tobytes()


def _difference(tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each pixel less the one on its left; wraps around."""
    unsigned = tile.view(f"u{tile.dtype.itemsize}")
    out = np.empty_like(unsigned)
    out[:, 0] = unsigned[:, 0]
    np.subtract(unsigned[:, 1:], unsigned[:, :-1], out=out[:, 1:])
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
