"""Regions as Cloud Optimized GeoTIFF: each tile compressed once, by who computed it.

A COG has its overviews before its pixels, so it cannot be written while it is computed. GDAL and
rio-cogeo therefore write, read and compress all pixels two or three times at the end, on one
machine. Here every worker leaves its block as finished tiles of the full size and of the overviews
that lie within the block; what is left for the end is to draw the few coarser overviews, to lay out
the header, and to copy bytes.

Layout: Open Geospatial Consortium, "Cloud Optimized GeoTIFF", 21-026, 2023.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geo.block_file import DamagedFileError, Piece, write_pieces
from geo.cog_layout import COARSE, IMAGE, MASK, CogGrid, cog_directories, copy_tiles, tile_tables
from geo.cog_overviews import write_coarse_levels
from geo.durable import sync_folder
from geo.errors import UpscaleError
from geo.overviews import halve
from geo.raster_profile import RasterProfile
from geo.region_sink import json_number
from geo.tiff_tiles import Compression, TileCodec, compress
from geo.tiling import Block

TILE_PX = 512


@dataclass(frozen=True, kw_only=True)
class CogSink:
    """A region that becomes a COG; see `geo.region_sink.RegionSink`.

    Parameters
    ----------
    profile : RasterProfile
    scale : int
        HR pixels in an LR pixel, along each axis.
    block_lr_px : int
        Edge of a block; a multiple of `block_multiple_lr_px`.
    compression : {"deflate", "zstd", "none"}
    tile_px : int
        Edge of the tiles; a multiple of 16.
    """

    profile: RasterProfile
    scale: int
    block_lr_px: int
    compression: Compression = "deflate"
    tile_px: int = TILE_PX

    def __post_init__(self) -> None:
        if self.block_lr_px % self.block_multiple_lr_px:
            raise ValueError(
                f"block_lr_px is {self.block_lr_px}; wanted a multiple of "
                f"{self.block_multiple_lr_px}, whole tiles of {self.tile_px} px"
            )

    @property
    def block_multiple_lr_px(self) -> int:
        """Blocks are whole tiles."""
        return tiles_edge_lr_px(self.tile_px, self.scale)

    @property
    def facts(self) -> dict[str, Any]:
        """What the file's bytes depend on."""
        profile = asdict(self.profile) | {"nodata": json_number(self.profile.nodata)}
        return {
            "format": "cog",
            "profile": profile,
            "compression": self.compression,
            "tile_px": self.tile_px,
        }

    @property
    def grid(self) -> CogGrid:
        """Levels and tiles."""
        return CogGrid.of(
            self.profile.height,
            self.profile.width,
            tile_px=self.tile_px,
            block_px=self.block_lr_px * self.scale,
        )

    @property
    def codec(self) -> TileCodec:
        """How tiles become bytes."""
        return TileCodec(self.compression, self.profile.dtype)

    def create(self, folder: Path) -> None:
        """Make the folder of blocks."""
        (folder / "blocks").mkdir(parents=True)

    def write(
        self,
        folder: Path,
        block: Block,
        pixels: npt.NDArray[Any] | None,
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Write a block's tiles; see `RegionSink`."""
        path = folder / "blocks" / str(block.index)
        write_pieces(path, () if pixels is None else self._pieces(block, pixels, valid))

    def finish(self, folder: Path, output: Path, tags: Mapping[str, str]) -> Path:
        """Put the file together and under its name; see `RegionSink`."""
        whole = folder / "whole.tif"
        try:
            self._put_together(folder, whole, tags)
            _check(whole, self.grid)
            whole.replace(output)
            sync_folder(output.parent)
        except DamagedFileError as error:
            raise UpscaleError(
                f"{output}: a finished block was damaged on the disk ({error}); it is forgotten, "
                "so run again",
                damaged=error.block,
            ) from error
        except (RasterioError, OSError) as error:
            raise UpscaleError(
                f"{output}: cannot be written ({error}); finished blocks are kept, so run again "
                "when there is room on the disk",
                output=str(output),
            ) from error
        finally:
            whole.unlink(missing_ok=True)
        return output

    def _pieces(
        self, block: Block, pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> Iterator[Piece]:
        """Tiles of the block at all levels that are its own, then its share of the next level."""
        hr = block.scaled(self.scale)
        top, left = hr.rows.start // self.tile_px, hr.cols.start // self.tile_px
        good = None if valid.all() else valid.repeat(self.scale, 0).repeat(self.scale, 1)
        for level in range(self.grid.own_levels + 1):
            if level:
                pixels, good = halve(pixels, good, self.profile.nodata)
            yield from self.tiles_of(pixels, good, level, top >> level, left >> level)
        if self.grid.own_levels + 1 < len(self.grid.shapes):
            pixels, good = halve(pixels, good, self.profile.nodata)
            content = np.ascontiguousarray(pixels).tobytes()
            if good is None:
                good = np.ones(pixels.shape[1:], np.bool_)
            packed = np.packbits(good).tobytes()
            yield COARSE, self.grid.own_levels + 1, *pixels.shape[1:], content + packed

    def tiles_of(
        self,
        pixels: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_] | None,
        level: int,
        top: int,
        left: int,
    ) -> Iterator[Piece]:
        """Encoded tiles of a piece of a level that begins at a tile.

        Parameters
        ----------
        pixels : array, [C, h, w]
        valid : array of bool, [h, w], or None
            None where all is valid.
        level : int
            0 for the full size.
        top, left : int
            Row and column of its first tile.
        """
        size, codec = self.tile_px, self.codec
        for row in range(0, pixels.shape[1], size):
            for col in range(0, pixels.shape[2], size):
                window = np.s_[..., row : row + size, col : col + size]
                at = (level, top + row // size, left + col // size)
                if valid is not None and not valid[window].any():
                    continue
                tile = np.moveaxis(pixels[window], 0, -1)
                yield IMAGE, *at, codec.encode(_padded(tile, size, self.profile.fill))
                if self.profile.masked:
                    yield MASK, *at, self._mask_tile(None if valid is None else valid[window], tile)

    def empty_tile(self, kind: int) -> bytes:
        """A tile without data."""
        size = self.tile_px
        if kind == MASK:
            return compress(np.zeros((size, size // 8), np.uint8), "deflate")
        shape = (size, size, self.profile.bands)
        return self.codec.encode(np.full(shape, self.profile.fill, self.profile.dtype))

    def _mask_tile(self, valid: npt.NDArray[np.bool_] | None, tile: npt.NDArray[Any]) -> bytes:
        if valid is None:
            valid = np.ones(tile.shape[:2], np.bool_)
        padded = _padded(valid[..., None], self.tile_px, 0)[..., 0]
        return compress(np.packbits(padded, axis=1), "deflate")

    def _put_together(self, folder: Path, whole: Path, tags: Mapping[str, str]) -> None:
        tables = tile_tables(folder, self.grid, masked=self.profile.masked)
        write_coarse_levels(folder, self, tables)
        empty = {kind: self.empty_tile(kind) for kind in (IMAGE, MASK)}
        header = cog_directories(self, tags, tables, empty)
        with whole.open("wb") as file:
            file.write(header)
            copy_tiles(file, tables, empty)
            file.flush()
            os.fsync(file.fileno())


def tiles_edge_lr_px(tile_px: int, scale: int) -> int:
    """Least edge in LR pixels of blocks that are whole tiles."""
    return int(np.lcm(tile_px, scale)) // scale


def _padded(tile: npt.NDArray[Any], size: int, fill: float) -> npt.NDArray[Any]:
    """A tile [h, w, C] of full size; what lies beyond the raster is never shown."""
    height, width = tile.shape[:2]
    if (height, width) == (size, size):
        return tile
    whole = np.full((size, size, tile.shape[2]), fill, tile.dtype)
    whole[:height, :width] = tile
    return whole


def _check(path: Path, grid: CogGrid) -> None:
    """Ask GDAL whether it finds what was meant: size, overviews, a tile of each.

    Tiles have been checked by their sums when they were copied.
    """
    with rasterio.open(path) as dataset:
        found = [dataset.shape]
        corner = Window(0, 0, min(grid.tile_px, dataset.width), min(grid.tile_px, dataset.height))
        dataset.read(window=corner)
    for level in range(len(grid.shapes) - 1):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.shape)
            dataset.read(1, window=Window(0, 0, 1, 1))
    if found != list(grid.shapes):
        raise OSError(f"it came out with levels of {found}; wanted {list(grid.shapes)}")
