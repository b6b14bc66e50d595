"""What a multiscale Zarr says of itself, so that maps, xarray and GDAL find its pixels' places.

Three of the conventions that make up GeoZarr, each at its version v0.1: ``multiscales``
(https://github.com/zarr-conventions/multiscales), ``proj``
(https://github.com/zarr-conventions/proj) and ``spatial``
(https://github.com/zarr-conventions/spatial). GDAL reads them from 3.13 on. For the tools before,
the CF conventions beside them: coordinates ``x`` and ``y`` of pixel centres, and a grid mapping
``spatial_ref`` with the attributes that rioxarray and GDAL look for.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS

from geo.raster_profile import RasterProfile

Shape = tuple[int, int]

_CF = "CF-1.11"
_CODE = re.compile(r"[A-Z]+:[0-9]+")


def _convention(name: str, uuid: str, description: str) -> dict[str, str]:
    return {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
        "uuid": uuid,
        "name": name,
        "description": description,
    }


MULTISCALES = _convention(
    "multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"
)
PROJ = _convention(
    "proj",
    "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "Coordinate reference system information for geospatial data",
)
SPATIAL = _convention(
    "spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"
)


def level_transform(profile: RasterProfile, level: int) -> Affine:
    """Pixels of a level to the CRS; all levels have one upper left corner."""
    return Affine(*profile.transform) @ Affine.scale(2**level)


def root_attributes(profile: RasterProfile, shapes: Sequence[Shape]) -> dict[str, Any]:
    """Attributes of the group that holds a group for each level, named ``0``, ``1`` and so on.

    Parameters
    ----------
    profile : RasterProfile
        Of the finest level.
    shapes : sequence of (int, int)
        Rows and columns of each level, the finest first.
    """
    layout = []
    for level, shape in enumerate(shapes):
        step = 2.0 if level else 1.0
        layout.append(
            {
                "asset": str(level),
                **({"derived_from": str(level - 1)} if level else {}),
                "transform": {"scale": [step, step], "translation": [0.0, 0.0]},
                "spatial:shape": list(shape),
                "spatial:transform": list(level_transform(profile, level))[:6],
            }
        )
    return {
        **place_attributes(profile, 0, shapes[0]),
        "zarr_conventions": [MULTISCALES, PROJ, SPATIAL],
        "multiscales": {"layout": layout, "resampling_method": "average"},
        "Conventions": _CF,
    }


def place_attributes(profile: RasterProfile, level: int, shape: Shape) -> dict[str, Any]:
    """Attributes by which a level's group and arrays find their place on Earth."""
    transform = level_transform(profile, level)
    corners = [transform @ (x, y) for x in (0, shape[1]) for y in (0, shape[0])]
    xs, ys = zip(*corners, strict=True)
    return {
        "zarr_conventions": [PROJ, SPATIAL],
        **crs_attributes(profile.crs),
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": list(transform)[:6],
        "spatial:shape": list(shape),
        "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
        "spatial:registration": "pixel",
    }


def crs_attributes(wkt: str) -> dict[str, str]:
    """A CRS by its code where an authority has one for exactly this CRS, else by WKT2.

    The keys, ``proj:code`` and ``proj:wkt2``, are those of STAC as well.
    """
    crs = CRS.from_wkt(wkt)
    authority = crs.to_authority(min_confidence=100)
    code = ":".join(authority) if authority else ""
    return {"proj:code": code} if _CODE.fullmatch(code) else {"proj:wkt2": crs.to_wkt()}


def pixel_attributes(
    profile: RasterProfile, bands: Sequence[str], level: int, shape: Shape
) -> dict[str, Any]:
    """Attributes of the pixels [band, y, x] of a level."""
    attributes = {
        **place_attributes(profile, level, shape),
        "grid_mapping": "spatial_ref",
        "coordinates": "spatial_ref",
        # The form that rioxarray has for names of bands.
        "long_name": list(bands),
        "color_interpretation": list(profile.colours),
    }
    if profile.nodata is not None:
        attributes["_FillValue"] = _fill_value(profile.nodata, profile.dtype)
    if profile.masked:
        attributes["ancillary_variables"] = "valid"
    plain = (1.0,) * profile.bands, (0.0,) * profile.bands
    if len(set(profile.scales)) == len(set(profile.offsets)) == 1:
        if (profile.scales, profile.offsets) != plain:
            attributes["scale_factor"] = profile.scales[0]
            attributes["add_offset"] = profile.offsets[0]
    else:  # CF has one number for all bands
        attributes["band_scales"] = list(profile.scales)
        attributes["band_offsets"] = list(profile.offsets)
    return attributes


def valid_attributes(profile: RasterProfile, level: int, shape: Shape) -> dict[str, Any]:
    """Attributes of the mask [y, x] of a level."""
    return {
        **place_attributes(profile, level, shape),
        "grid_mapping": "spatial_ref",
        "coordinates": "spatial_ref",
        "long_name": "whether a pixel is valid",
    }


def grid_mapping(profile: RasterProfile, level: int) -> dict[str, Any]:
    """Attributes of the variable ``spatial_ref``; only WKT says all of any CRS."""
    wkt = CRS.from_wkt(profile.crs).to_wkt()
    return {
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "GeoTransform": " ".join(repr(v) for v in level_transform(profile, level).to_gdal()),
    }


def coordinates(
    profile: RasterProfile, level: int, shape: Shape
) -> dict[str, tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Pixel centres along ``x`` and ``y``, and attributes; none for a grid that is turned."""
    transform = level_transform(profile, level)
    if transform.b or transform.d:
        return {}
    axes = {axis.get("axis"): axis for axis in CRS.from_wkt(profile.crs).cs_to_cf()}
    return {
        "x": (transform.c + transform.a * (np.arange(shape[1]) + 0.5), axes.get("X", {})),
        "y": (transform.f + transform.e * (np.arange(shape[0]) + 0.5), axes.get("Y", {})),
    }


def _fill_value(nodata: float, dtype: str) -> int | str:
    """CF's ``_FillValue`` as xarray writes it into Zarr v3: floats as base64 of their bytes."""
    if np.dtype(dtype).kind == "f":
        return base64.standard_b64encode(struct.pack("<d", nodata)).decode()
    return int(nodata)
