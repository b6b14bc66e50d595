"""What the satellite shows of a region: the pixels that were upscaled, and where they are clear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geo.errors import GridError
from geo.ground import GroundWindow, screen_ground
from geo.mosaic import MosaicSource
from geo.quality import find_empty, find_saturated
from geo.raster_io import Pixels, source_geobox
from geo.region_source import RasterSource, RegionSource

_Mask = npt.NDArray[np.bool_]

_SAME_PLACE_PX = 0.01  # HR pixels: grids that differ by less are one


class Look(NamedTuple):
    """A window of the satellite image.

    Parameters
    ----------
    pixels : Pixels
        DN [C, h, w] as they were upscaled; masks and nodata are not valid.
    ground : GroundWindow
        The same without cloud, shadow and saturation.
    scene : array of uint16, [h, w], or None
        Of a mosaic: number of the scene that each pixel is of, from 1; 0: none.
    """

    pixels: Pixels
    ground: GroundWindow
    scene: npt.NDArray[np.uint16] | None


@dataclass(frozen=True, kw_only=True)
class SatelliteView:
    """The satellite image that a region was upscaled from; picklable.

    Parameters
    ----------
    source : RegionSource
    id : str or None
        Of the scene; those of a mosaic have their own.
    time : datetime or None
        When it was taken.
    """

    source: RegionSource
    id: str | None = None
    time: datetime | None = None

    @property
    def geobox(self) -> GeoBox:
        """LR grid."""
        return self.source.geobox

    def on(self, fine: GeoBox, scale: int, name: str) -> SatelliteView:
        """The part of it that an upscaled raster shows.

        Parameters
        ----------
        fine : GeoBox
            The upscaled raster's grid.
        scale : int
            HR pixels along an LR pixel.
        name : str
            Of the upscaled raster, for errors.

        Raises
        ------
        GridError
            If the raster's grid is not this one, or a window of it, refined by `scale`.
        """
        mine = self.geobox
        height, width = fine.shape.yx
        corner = ~mine.affine @ fine.affine  # HR pixel to LR pixel
        col, row = (round(at) for at in (corner.c, corner.f))
        off = scale * max(abs(corner.c - col), abs(corner.f - row))
        inside = (
            0 <= row <= mine.shape.y - height / scale and 0 <= col <= mine.shape.x - width / scale
        )
        whole = height % scale == 0 and width % scale == 0
        if off > _SAME_PLACE_PX or not inside or not whole or mine.crs != fine.crs:
            raise GridError(
                f"{name}: its grid ({width} x {height}) is not the LR grid "
                f"({mine.shape.x} x {mine.shape.y}) refined by {scale}, nor a window of it; wanted "
                "the LR raster that SR was made from"
            )
        grid = mine[row : row + height // scale, col : col + width // scale]
        if grid.shape == mine.shape:
            return self
        if not isinstance(self.source, RasterSource):
            raise GridError(f"{name}: shows only a part of its mosaic; wanted all of it")
        top, left = self.source.corner_yx
        cropped = replace(self.source, geobox=grid, corner_yx=(top + row, left + col))
        return replace(self, source=cropped)

    def look(self, rows: slice, cols: slice) -> Look:
        """Read a window.

        Raises
        ------
        SourceError
            If the pixels cannot be read.
        """
        if isinstance(self.source, MosaicSource):
            composite = self.source.compose(rows, cols)
            return Look(
                composite.pixels, self._composed(composite.pixels, rows, cols), composite[1]
            )
        assert isinstance(self.source, RasterSource)
        pixels = bare = self.source.read(rows, cols)
        if self.source.masks:  # whose clouds are to be told from other holes
            bare = replace(self.source, masks=()).read(rows, cols)
        top, left = self.source.corner_yx
        ground = screen_ground(
            bare,
            self.source.refs,
            source_geobox(self.source.refs),
            slice(rows.start + top, rows.stop + top),
            slice(cols.start + left, cols.stop + left),
            self.source.masks,
        )
        clear = Pixels(ground.pixels.data, ground.pixels.valid & pixels.valid)
        return Look(pixels, replace(ground, pixels=clear), None)

    def _composed(self, pixels: Pixels, rows: slice, cols: slice) -> GroundWindow:
        """Of a mosaic: clouds are holes already, or another date's pixels."""
        seen = pixels.valid & ~find_empty(pixels.data, pixels.valid)
        saturated = find_saturated(pixels.data, seen)
        return GroundWindow(
            geobox=self.geobox[rows, cols],
            pixels=Pixels(pixels.data, seen & ~saturated),
            saturated=saturated,
        )

    def scene_of(self, scene: npt.NDArray[np.uint16] | None) -> tuple[str | None, datetime | None]:
        """Id and time of the scene that most pixels of a window are of."""
        if scene is None or not isinstance(self.source, MosaicSource):
            return self.id, self.time
        counts = np.bincount(scene.ravel(), minlength=2)
        counts[0] = 0
        if not counts.any():
            return None, None
        most = self.source.scenes[int(counts.argmax()) - 1]
        return most.id, most.time
