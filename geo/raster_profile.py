"""Everything of a raster but its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RasterProfile:
    """What a raster is to be.

    Parameters
    ----------
    height, width : int
    dtype : str
    crs : str
        WKT.
    transform : tuple of float
        The six coefficients a, b, c, d, e, f of the affine.
    nodata : float or None
    masked : bool
        Invalid pixels are told by a mask beside the pixels.
    descriptions : tuple of (str or None)
        One for each band.
    colours : tuple of str
        GDAL's colour interpretation of each band, for example ``red``.
    scales, offsets : tuple of float
        Of each band: physical value = scale * DN + offset.
    """

    height: int
    width: int
    dtype: str
    crs: str
    transform: tuple[float, float, float, float, float, float]
    nodata: float | None
    masked: bool
    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.descriptions)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all pixels, uncompressed."""
        return self.bands * self.height * self.width * np.dtype(self.dtype).itemsize

    @property
    def fill(self) -> float:
        """Value of pixels without data."""
        return 0.0 if self.nodata is None else self.nodata
