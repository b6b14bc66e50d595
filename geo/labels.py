"""Labels of every pixel: labelled polygons or a label raster, read on whatever grid is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.features import rasterize

from geo.alignment import Alignment
from geo.chips import ground_of
from geo.errors import CatalogError
from geo.landcover import LandCover
from geo.raster_io import RasterInfo, inspect_raster, read_window
from geo.warp import warp_to

MOST_CLASSES = 254
"""So that one byte holds them, and none."""

_GEOJSON = (".geojson", ".json")
_SCANNED_PX = 2048  # sides of what is read at once to find the values of a raster


class Labels(Protocol):
    """What each pixel shows; picklable."""

    @property
    def source(self) -> str:
        """File that they come from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""

    def read(self, geobox: GeoBox, classes: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """Labels on a grid, [H, W].

        Parameters
        ----------
        classes : tuple of str
            Those wanted.

        Returns
        -------
        array of uint8
            One plus the place of the class among those wanted; 0 where there is no label, or one
            of another class.
        """


def open_labels(path: str | Path) -> Labels:
    """Labels of a file.

    Parameters
    ----------
    path : str or Path
        GeoJSON of polygons in lon/lat with the property ``category``, of which the last counts
        where several lie; or a raster of one band of whole numbers, whose classes are named by a
        JSON file of the same name (``cover.tif`` and ``cover.json``: ``{"10": "trees", ...}``).
        Values that it does not name are no labels. Without it each value names its class.

    Raises
    ------
    CatalogError
        When the file is neither, or says nothing.
    SourceError
        When a raster cannot be read.
    """
    text = str(path)
    if Path(text).suffix.lower() in _GEOJSON:
        return PolygonLabels(text, LandCover.read(text))
    info = inspect_raster(text)
    if len(info.bands) != 1 or np.dtype(info.dtype).kind not in "iu":
        raise CatalogError(
            f"{text} has {len(info.bands)} bands of {info.dtype}; labels are one band of whole "
            "numbers, or GeoJSON polygons with the property `category`"
        )
    return RasterLabels(text, _named_values(text, info))


def read_labels(
    labels: Labels,
    hr_geobox: GeoBox,
    classes: tuple[str, ...],
    alignment: Alignment | None,
    *,
    scale: int,
) -> npt.NDArray[np.uint8]:
    """Labels of a piece of the satellite's grid, moved as the aerial image is that they fit.

    Parameters
    ----------
    hr_geobox : GeoBox
        ``H`` by ``W``, of HR pixels.
    alignment : Alignment or None
        How the aerial scene is read there; None where there is none.

    Returns
    -------
    array of uint8, [H, W]
        See `Labels.read`.
    """
    if alignment is None:
        return labels.read(hr_geobox, classes)
    dy, dx = alignment.dy_px, alignment.dx_px
    if alignment.field is not None:
        dy, dx = alignment.field.over(hr_geobox).mean(axis=(1, 2))
    return labels.read(ground_of(hr_geobox, (float(dy), float(dx)), scale), classes)


def check_classes(labels: Labels, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Classes of the labels that are not among those wanted.

    Raises
    ------
    CatalogError
        When none is.
    """
    unknown = tuple(name for name in labels.classes if name not in classes)
    if len(unknown) == len(labels.classes):
        raise CatalogError(
            f"{labels.source} labels {', '.join(unknown)}, none of which is among "
            f"{', '.join(classes)}: take labels of these classes, or rename them"
        )
    return unknown


@dataclass(frozen=True)
class PolygonLabels:
    """Labels by polygons; see `Labels`.

    Parameters
    ----------
    source : str
    cover : LandCover
    """

    source: str
    cover: LandCover

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Categories in alphabetical order."""
        return tuple(sorted(set(self.cover.categories)))

    def read(self, geobox: GeoBox, classes: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """See `Labels.read`; a pixel has the class that its middle lies in."""
        place = {name: 1 + number for number, name in enumerate(classes)}
        shapes = [
            (shape, place.get(category, 0)) for category, shape in _shapes_on(self.cover, geobox)
        ]
        if not shapes:
            return np.zeros(geobox.shape.yx, np.uint8)
        found = rasterize(
            shapes, out_shape=geobox.shape.yx, transform=geobox.affine, dtype=np.uint8
        )
        return np.asarray(found, np.uint8)


@dataclass(frozen=True)
class RasterLabels:
    """Labels by the values of a raster; see `Labels`.

    Parameters
    ----------
    source : str
    names : tuple of (int, str)
        Class of each value.
    """

    source: str
    names: tuple[tuple[int, str], ...]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """In the order of their values; several values may be of one class."""
        return tuple(dict.fromkeys(name for _, name in self.names))

    def read(self, geobox: GeoBox, classes: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """See `Labels.read`; a pixel has the class of the label nearest to its middle."""
        place = {name: 1 + number for number, name in enumerate(classes)}
        values = warp_to(self.source, geobox, resampling="nearest")
        found = np.zeros(geobox.shape.yx, np.uint8)
        for value, name in self.names:
            found[values.data[0] == value] = place.get(name, 0)
        found[~values.valid] = 0
        return found


def _shapes_on(cover: LandCover, geobox: GeoBox) -> Iterator[tuple[str, shapely.Geometry]]:
    """Polygons that touch a grid, cut to its surroundings, in its CRS."""
    around = geobox.footprint("EPSG:4326", buffer=2 * abs(geobox.affine.a), npoints=8).geom
    box = shapely.box(*around.bounds)
    to_grid = Transformer.from_crs(
        "EPSG:4326", CRS.from_user_input(str(geobox.crs)), always_xy=True
    )
    for index in cover.touching(box):
        # Cut first: an edge is straight in lon/lat, and as good as straight in any CRS so near by.
        part = cover.polygons[index].intersection(box)
        if part.area > 0:
            yield (
                cover.categories[index],
                shapely.transform(part, to_grid.transform, interleaved=False),
            )


def _named_values(path: str, info: RasterInfo) -> tuple[tuple[int, str], ...]:
    names = Path(path).with_suffix(".json")
    if not names.is_file():
        return tuple((value, str(value)) for value in _values_of(info))
    try:
        found = {int(value): str(name) for value, name in json.loads(names.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CatalogError(
            f"{names} names no classes ({error}); wanted one JSON object of values and names, "
            'such as {"10": "trees", "80": "water"}'
        ) from error
    _check_count(path, len(set(found.values())))
    return tuple(sorted(found.items()))


def _values_of(info: RasterInfo) -> list[int]:
    """All values of a raster, read piece by piece."""
    height, width = info.geobox.shape.yx
    found: set[int] = set()
    for top in range(0, height, _SCANNED_PX):
        for left in range(0, width, _SCANNED_PX):
            rows = slice(top, min(height, top + _SCANNED_PX))
            pixels = read_window(info.href, rows, slice(left, min(width, left + _SCANNED_PX)))
            found |= set(np.unique(pixels.data[0][pixels.valid]).tolist())
            if len(found) > MOST_CLASSES:
                _check_count(info.href, len(found))
    _check_count(info.href, len(found))
    return sorted(found)


def _check_count(path: str, count: int) -> None:
    if not 1 <= count <= MOST_CLASSES:
        got = f"more than {MOST_CLASSES}" if count else "no"
        raise CatalogError(
            f"{path} has {got} classes; wanted 1 to {MOST_CLASSES}: is it an image, not labels?"
        )
