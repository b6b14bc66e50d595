"""Land cover as labelled polygons: which category a piece of ground belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import shapely
import shapely.errors
import shapely.geometry
from odc.geo.geobox import GeoBox

from geo.errors import CatalogError


@dataclass(frozen=True)
class LandCover:
    """Labelled polygons in lon/lat.

    Parameters
    ----------
    categories : tuple of str
        One for each polygon.
    polygons : tuple of shapely geometry
    """

    categories: tuple[str, ...]
    polygons: tuple[shapely.Geometry, ...]

    @classmethod
    def read(cls, path: str | Path) -> LandCover:
        """Read a GeoJSON FeatureCollection whose features have the property ``category``.

        Raises
        ------
        CatalogError
            If the file is no such collection.
        """
        try:
            features = json.loads(Path(path).read_text())["features"]
            categories = tuple(str(f["properties"]["category"]) for f in features)
            polygons = tuple(
                shapely.make_valid(shapely.geometry.shape(f["geometry"])) for f in features
            )
        except FileNotFoundError as error:
            raise CatalogError(f"{path}: no such land cover file") from error
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            shapely.errors.ShapelyError,
        ) as error:
            raise CatalogError(
                f"{path}: wanted a GeoJSON FeatureCollection of polygons with the property "
                f"`category` ({type(error).__name__}: {error})"
            ) from error
        return cls(categories, polygons)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)

    def touching(self, shape: shapely.Geometry) -> list[int]:
        """Places of the polygons that may touch a shape, in their order."""
        return sorted(self._tree.query(shape).tolist())

    def category_of(self, geobox: GeoBox) -> str | None:
        """Category with the largest share of a piece of ground, or None where there is none."""
        footprint = geobox.footprint("EPSG:4326", buffer=0).geom
        areas: dict[str, float] = {}
        for index in self.touching(footprint):
            share = self.polygons[index].intersection(footprint).area
            if share > 0:
                name = self.categories[index]
                areas[name] = areas.get(name, 0.0) + share
        return max(sorted(areas), key=areas.__getitem__) if areas else None
