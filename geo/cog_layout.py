"""Where each tile of a COG comes from and where it goes: tables, header, copying.

Order in the file: directories, then the tiles of the coarsest overview, and so on to the full size,
row by row (Open Geospatial Consortium, "Cloud Optimized GeoTIFF", 21-026, 2023, section 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geo import bigtiff
from geo.bigtiff import LONG, LONG8, SHORT, Field
from geo.block_file import INDEX_DTYPE, DamagedFileError, read_index, read_run
from geo.overviews import overview_shapes
from geo.tiff_tiles import COMPRESSIONS
from geo.tiling import Tiling

if TYPE_CHECKING:
    from geo.cog import CogSink

IMAGE, MASK, COARSE = 0, 1, 2
"""What a piece of a block shows: pixels, validity, or both unencoded, for coarser overviews."""

EMPTY, DRAWN_LAST = -2, -1  # instead of a block's index
_ENTRY = np.dtype([("source", "<i8"), *INDEX_DTYPE.descr])

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

TableKey = tuple[int, int]
"""Kind and level."""


@dataclass(frozen=True, kw_only=True)
class CogGrid:
    """Levels of a raster and its tiles.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Height and width of each level, the full size first.
    tile_px : int
    block_px : int
        Edge of a block at the full size; whole tiles.
    own_levels : int
        Overviews of which a block has whole tiles to itself.
    """

    shapes: tuple[tuple[int, int], ...]
    tile_px: int
    block_px: int
    own_levels: int

    @classmethod
    def of(cls, height: int, width: int, *, tile_px: int, block_px: int) -> CogGrid:
        """Levels down to one tile."""
        shapes = ((height, width), *overview_shapes(height, width, tile_px))
        own, tiles = 0, block_px // tile_px
        while tiles % 2 == 0 and own < len(shapes) - 1:
            own, tiles = own + 1, tiles // 2
        return cls(shapes=shapes, tile_px=tile_px, block_px=block_px, own_levels=own)

    @property
    def blocks(self) -> Tiling:
        """All blocks, at the full size."""
        return Tiling(*self.shapes[0], self.block_px)

    def tiles(self, level: int) -> tuple[int, int]:
        """Rows and columns of tiles of a level."""
        height, width = self.shapes[level]
        return -(-height // self.tile_px), -(-width // self.tile_px)


@dataclass
class TileTables:
    """Where the tiles of each level lie.

    Parameters
    ----------
    folder : Path
        Of the run.
    grid : CogGrid
    tables : dict of (kind, level) to array of entries [rows, columns]
        Coarsest level first, as they follow each other in the file.
    coarse : dict of int to entry
        What each block has for the coarser overviews.
    """

    folder: Path
    grid: CogGrid
    tables: dict[TableKey, npt.NDArray[np.void]]
    coarse: dict[int, npt.NDArray[np.void]] = field(default_factory=dict)

    def path_of(self, source: int) -> Path:
        """File that a tile lies in."""
        return self.folder / ("coarse" if source == DRAWN_LAST else f"blocks/{source}")

    def take(self, source: int, index: npt.NDArray[np.void]) -> None:
        """Enter the tiles of a file."""
        for entry in index:
            kind, level = int(entry["kind"]), int(entry["level"])
            if kind == COARSE:
                self.coarse[source] = entry
            else:
                place = self.tables[kind, level][entry["row"], entry["col"]]
                place["source"] = source
                for name in INDEX_DTYPE.names or ():
                    place[name] = entry[name]


def tile_tables(folder: Path, grid: CogGrid, *, masked: bool) -> TileTables:
    """Tables of all tiles that blocks have.

    Raises
    ------
    DamagedFileError
        With the `block` whose file is not as it was written.
    """
    tables = {}
    for level in reversed(range(len(grid.shapes))):
        for kind in (IMAGE, MASK) if masked else (IMAGE,):
            table = np.zeros(grid.tiles(level), _ENTRY)
            table["source"] = EMPTY
            tables[kind, level] = table
    found = TileTables(folder, grid, tables)
    for block in range(len(grid.blocks)):
        with naming(block):
            found.take(block, read_index(found.path_of(block)))
    return found


class naming:  # noqa: N801  # reads as a verb, like contextlib's own
    """Let a damage name its block."""

    def __init__(self, block: int) -> None:
        self._block = block

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DamagedFileError):
            error.block = self._block


def cog_directories(
    sink: CogSink, tags: Mapping[str, str], tables: TileTables, empty: Mapping[int, bytes]
) -> bytes:
    """The beginning of the file, up to where the first tile lies."""
    base = _template(sink, tags)
    keys = [
        (kind, level)
        for level in range(len(sink.grid.shapes))
        for kind in (IMAGE, MASK)
        if (kind, level) in tables.tables
    ]
    sizes = {key: _sizes(tables.tables[key], empty[key[0]]) for key in keys}
    without = [_directory(base, sink, *key, sizes[key], sizes[key]) for key in keys]
    start = bigtiff.directories_bytes(without)
    offsets: dict[TableKey, npt.NDArray[np.int64]] = {}
    for key, table in tables.tables.items():
        offsets[key], start = _offsets(table, sizes[key], start)
    return bigtiff.lay_out([_directory(base, sink, *key, offsets[key], sizes[key]) for key in keys])


def copy_tiles(file: BinaryIO, tables: TileTables, empty: Mapping[int, bytes]) -> None:
    """Append all tiles in their order, checked by their sums.

    Raises
    ------
    DamagedFileError
        With the `block` whose file is not as it was written.
    """
    with _OpenFiles(tables) as files:
        for (kind, _), table in tables.tables.items():
            has_empty = False
            for run in _runs(table.ravel()):
                source = int(run["source"][0])
                if source == EMPTY:
                    if not has_empty:
                        file.write(empty[kind])
                    has_empty = True
                    continue
                with naming(source):
                    for content in read_run(files[source], run):
                        file.write(content)


def _runs(entries: npt.NDArray[np.void]) -> Iterator[npt.NDArray[np.void]]:
    """Entries cut where one does not lie right behind the one before it in the same file."""
    ends = entries["offset"] + entries["size"]
    breaks = (entries["source"][1:] != entries["source"][:-1]) | (
        entries["offset"][1:] != ends[:-1]
    )
    yield from np.split(entries, np.flatnonzero(breaks) + 1)


class _OpenFiles:
    """Files of the blocks at hand, so that each is opened once for a row of blocks."""

    def __init__(self, tables: TileTables, most: int = 200) -> None:
        self._tables, self._most = tables, most
        self._files: dict[int, BinaryIO] = {}

    def __enter__(self) -> _OpenFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def __getitem__(self, source: int) -> BinaryIO:
        if source not in self._files:
            if len(self._files) >= self._most:
                self._files.pop(next(iter(self._files))).close()
            self._files[source] = self._tables.path_of(source).open("rb", buffering=0)
        return self._files[source]


def _sizes(table: npt.NDArray[np.void], empty: bytes) -> npt.NDArray[np.int64]:
    flat = table.ravel()
    return np.where(flat["source"] == EMPTY, len(empty), flat["size"]).astype(np.int64)


def _offsets(
    table: npt.NDArray[np.void], sizes: npt.NDArray[np.int64], start: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Where tiles go, and where the next table begins; all empty ones of a level are one."""
    is_empty = table.ravel()["source"] == EMPTY
    written = sizes.copy()
    if is_empty.any():
        first = int(np.argmax(is_empty))
        written[is_empty] = 0
        written[first] = sizes[first]
    offsets = start + np.cumsum(written) - written
    if is_empty.any():
        offsets[is_empty] = offsets[first]
    return offsets, start + int(written.sum())


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
