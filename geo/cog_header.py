"""The beginning of a COG: directories of all levels, with what GDAL says of such a raster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geo import bigtiff
from geo.bigtiff import LONG, LONG8, SHORT, Directory, Field
from geo.tiff_tiles import COMPRESSIONS

if TYPE_CHECKING:
    from geo.cog import CogSink

IMAGE, MASK = 0, 1
"""Kinds of tiles: pixels and validity."""

TableKey = tuple[int, int]
"""Kind and level."""

Numbers = Mapping[TableKey, npt.NDArray[np.int64]]
"""One of each tile, row by row."""

# GDAL's, beside those of the standard.
_EXTRA_SAMPLES, _GDAL_NODATA = 338, 42113
_OF_OVERVIEWS = (
    bigtiff.BITS,
    bigtiff.COMPRESSION,
    bigtiff.PHOTOMETRIC,
    bigtiff.SAMPLES,
    bigtiff.PLANAR,
    bigtiff.PREDICTOR,
    bigtiff.TILE_WIDTH,
    bigtiff.TILE_LENGTH,
    bigtiff.SAMPLE_FORMAT,
    _EXTRA_SAMPLES,
    _GDAL_NODATA,
)
_STRIPS = (273, 278, 279)
_RGB = ("red", "green", "blue")


def header_bytes(sink: CogSink, tags: Mapping[str, str], sizes: Numbers) -> int:
    """How long `write_header` is; values do not matter, only their number."""
    return bigtiff.directories_bytes(_directories(sink, tags, sizes, sizes))


def write_header(sink: CogSink, tags: Mapping[str, str], offsets: Numbers, sizes: Numbers) -> bytes:
    """Everything of the file but its tiles."""
    return bigtiff.lay_out(_directories(sink, tags, offsets, sizes))


def _directories(
    sink: CogSink, tags: Mapping[str, str], offsets: Numbers, sizes: Numbers
) -> list[Directory]:
    """The full size first, each level's mask behind it."""
    base = _template(sink, tags)
    keys = sorted(sizes, key=lambda key: (key[1], key[0]))
    return [_directory(base, sink, *key, offsets[key], sizes[key]) for key in keys]


def _directory(
    base: Mapping[int, Field],
    sink: CogSink,
    kind: int,
    level: int,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> dict[int, Field]:
    height, width = sink.grid.shapes[level]
    if kind == MASK:
        fields = {
            bigtiff.BITS: Field.of(SHORT, 1),
            bigtiff.COMPRESSION: Field.of(SHORT, COMPRESSIONS["deflate"]),
            bigtiff.PHOTOMETRIC: Field.of(SHORT, 4),
            bigtiff.SAMPLES: Field.of(SHORT, 1),
            bigtiff.PLANAR: Field.of(SHORT, 1),
            bigtiff.SAMPLE_FORMAT: Field.of(SHORT, 1),
        }
    elif level:
        fields = {tag: base[tag] for tag in _OF_OVERVIEWS if tag in base}
    else:
        fields = dict(base)
    return fields | {
        bigtiff.NEW_SUBFILE_TYPE: Field.of(LONG, (1 if level else 0) + (4 if kind == MASK else 0)),
        bigtiff.WIDTH: Field.of(LONG, width),
        bigtiff.LENGTH: Field.of(LONG, height),
        bigtiff.TILE_WIDTH: Field.of(LONG, sink.tile_px),
        bigtiff.TILE_LENGTH: Field.of(LONG, sink.tile_px),
        bigtiff.TILE_OFFSETS: Field.of_array(LONG8, offsets),
        bigtiff.TILE_COUNTS: Field.of_array(LONG, sizes),
    }


def _template(sink: CogSink, tags: Mapping[str, str]) -> dict[int, Field]:
    """What GDAL says of a raster of this profile: georeference, colours, names, tags."""
    profile = sink.profile
    colours = tuple(ColorInterp[name] for name in profile.colours)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=sink.tile_px,
            width=sink.tile_px,
            count=profile.bands,
            dtype=profile.dtype,
            crs=CRS.from_wkt(profile.crs),
            transform=Affine(*profile.transform),
            nodata=profile.nodata,
            tiled=True,
            blockxsize=sink.tile_px,
            blockysize=sink.tile_px,
            interleave="pixel",
            bigtiff="YES",
            endianness="LITTLE",
            sparse_ok=True,
            photometric="RGB" if profile.colours[:3] == _RGB else "MINISBLACK",
        ) as dataset:
            dataset.colorinterp = colours
            dataset.scales = profile.scales
            dataset.offsets = profile.offsets
            for position, description in enumerate(profile.descriptions, start=1):
                if description:
                    dataset.set_band_description(position, description)
            dataset.update_tags(**tags)
        fields = bigtiff.read_first_directory(memory.read())
    for tag in _STRIPS:
        fields.pop(tag, None)
    codec = sink.codec
    fields[bigtiff.COMPRESSION] = Field.of(SHORT, COMPRESSIONS[codec.compression])
    fields[bigtiff.PREDICTOR] = Field.of(SHORT, codec.predictor)
    return fields
