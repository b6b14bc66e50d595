"""Regions as Cloud Optimized GeoTIFF: each tile compressed once, by who computed it.

A COG has its overviews before its pixels, so it cannot be written while it is computed. GDAL and
rio-cogeo therefore write, read and compress all pixels two or three times at the end, on one
machine. Here every worker leaves its block as finished tiles of the full size and of the overviews
that lie within the block; what is left for the end is to draw the few coarser overviews, to lay out
the header, and to copy bytes.

Layout: Open Geospatial Consortium, "Cloud Optimized GeoTIFF", 21-026, 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.block_file import Piece, write_pieces
from geo.cog_finish import finish_cog
from geo.cog_header import IMAGE, MASK
from geo.cog_layout import COARSE, CogGrid
from geo.cog_mover import CogMover
from geo.raster_profile import RasterProfile
from geo.read_back import ReadBack, read_back_cog
from geo.region_sink import check_blocks, json_number
from geo.tiff_tiles import Compression, TileCodec, compress
from geo.tile_rows import RowsKept, chain, emptied
from geo.tiling import Block, stretch_mask

TILE_PX = 512
# A file of fewer bytes, uncompressed, is put together in no time.
_WORTH_MOVING = 256 << 20


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
        check_blocks(self.block_lr_px, self.block_multiple_lr_px, self.tile_px)

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
        strips: Iterable[npt.NDArray[Any]] | None,
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Write a block's tiles; see `RegionSink`."""
        path = folder / "blocks" / str(block.index)
        write_pieces(path, () if strips is None else self._pieces(block, strips, valid))

    def finish(self, folder: Path, output: Path, tags: Mapping[str, str]) -> Path:
        """Put the file together and under its name; see `RegionSink`."""
        return finish_cog(self, folder, output, tags)

    def read_back(self, output: Path, block: Block) -> ReadBack:
        """Read a block of an earlier output; see `RegionSink.read_back`."""
        return read_back_cog(output, block, self.scale, self.tile_px)

    def mover(self, folder: Path) -> CogMover | None:
        """Moves tiles to the file while it is computed; None where that is soon done at the end."""
        return CogMover(self, folder) if self.profile.pixel_bytes >= _WORTH_MOVING else None

    def _pieces(
        self, block: Block, strips: Iterable[npt.NDArray[Any]], valid: npt.NDArray[np.bool_]
    ) -> Iterator[Piece]:
        """Tiles of the block at all levels that are its own, then its share of the next level."""
        hr = block.scaled(self.scale)
        drawn: list[Piece] = []
        own = self.grid.own_levels
        rest = RowsKept() if own + 1 < len(self.grid.shapes) else None
        top, left = hr.rows.start // self.tile_px, hr.cols.start // self.tile_px
        rows = chain(self, range(own + 1), top, left, hr.shape[1], drawn, rest)
        all_valid, done = bool(valid.all()), 0
        for strip in strips:
            span = slice(done, done + strip.shape[1])
            rows.take(strip, None if all_valid else stretch_mask(valid, self.scale, span))
            done = span.stop
            yield from emptied(drawn)
        rows.end()
        yield from emptied(drawn)
        if rest is not None:
            pixels, good = rest.all()
            content = pixels.tobytes() + np.packbits(good).tobytes()
            yield COARSE, own + 1, *good.shape, content

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
                yield IMAGE, *at, codec.encode(_padded(pixels[window], size, self.profile.fill))
                if self.profile.masked:
                    shape = pixels[window].shape[1:]
                    good = np.ones(shape, np.bool_) if valid is None else valid[window]
                    yield MASK, *at, self._mask_tile(good)

    @property
    def empty_tiles(self) -> dict[int, bytes]:
        """A tile without data of each kind that there is."""
        size = self.tile_px
        shape = (self.profile.bands, size, size)
        empty = {IMAGE: self.codec.encode(np.full(shape, self.profile.fill, self.profile.dtype))}
        if self.profile.masked:
            empty[MASK] = self._mask_tile(np.zeros((size, size), np.bool_))
        return empty

    def tile_bytes(self, kind: int) -> int:
        """Of a tile that is not compressed."""
        pixels = self.tile_px**2
        if kind == MASK:
            return pixels // 8
        return pixels * self.profile.bands * np.dtype(self.profile.dtype).itemsize

    def _mask_tile(self, valid: npt.NDArray[np.bool_]) -> bytes:
        return compress(np.packbits(_padded(valid, self.tile_px, 0), axis=1), "deflate")


def tiles_edge_lr_px(tile_px: int, scale: int) -> int:
    """Least edge in LR pixels of blocks that are whole tiles."""
    return int(np.lcm(tile_px, scale)) // scale


def _padded(tile: npt.NDArray[Any], size: int, fill: float) -> npt.NDArray[Any]:
    """A tile [..., h, w] of full size; what lies beyond the raster is never shown."""
    height, width = tile.shape[-2:]
    if (height, width) == (size, size):
        return tile
    whole = np.full((*tile.shape[:-2], size, size), fill, tile.dtype)
    whole[..., :height, :width] = tile
    return whole
