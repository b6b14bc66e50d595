"""A COG completed: coarse overviews, header, tiles that still lie with their blocks; then its name.

Cut off anywhere, it can be done again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geo.block_file import DamagedFileError
from geo.cog_layout import CogGrid, TileTables, copy_tiles, lay_out_cog, tile_tables
from geo.cog_mover import growing_file
from geo.cog_overviews import write_coarse_levels
from geo.durable import sync_folder, write_whole
from geo.errors import UpscaleError

if TYPE_CHECKING:
    from geo.cog import CogSink

# Which file has got the name, told before it gets it.
_PUT = "put.json"


def finish_cog(sink: CogSink, folder: Path, output: Path, tags: Mapping[str, str]) -> Path:
    """Put the file together and under its name; see `RegionSink.finish`."""
    whole = growing_file(folder)
    moved = True  # until it is known
    try:
        tables = tile_tables(folder, sink.grid, masked=sink.profile.masked)
        moved = tables.first_moved is not None
        if moved and not _holds(whole, tables.moved_stop):
            if _is_put(folder, output):
                return output
            raise UpscaleError(
                f"{folder}: the file that its tiles were moved to is gone or cut off; run again "
                "from the beginning (--restart)",
                output=str(output),
            )
        complete = _put_together(sink, whole, tables, tags)
        _check(complete, sink.grid)
        write_whole(folder / _PUT, json.dumps(_identity(complete)))
        complete.replace(output)
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
        if not moved:
            whole.unlink(missing_ok=True)
    return output


def _put_together(sink: CogSink, whole: Path, tables: TileTables, tags: Mapping[str, str]) -> Path:
    write_coarse_levels(whole.parent, sink, tables)
    empty = sink.empty_tiles
    layout = lay_out_cog(sink, tags, tables, empty)
    limit = tables.first_moved
    if limit is not None and layout.front_stop > limit:
        whole = _with_room(whole, tables, layout.front_stop - limit)
        layout = lay_out_cog(sink, tags, tables, empty)
    with whole.open("wb" if limit is None else "r+b") as file:
        file.write(layout.header)
        copy_tiles(file, tables, layout, empty)
        file.truncate(layout.stop)  # what was copied behind it and not settled
        file.flush()
        os.fsync(file.fileno())
    return whole


def _with_room(whole: Path, tables: TileTables, more: int) -> Path:
    """A copy whose moved tiles lie so much farther behind; the tables follow."""
    copy = whole.with_name("roomy.tif")
    first = tables.first_moved
    with whole.open("rb") as file, copy.open("wb") as roomy:
        file.seek(first or 0)
        roomy.seek((first or 0) + more)
        shutil.copyfileobj(file, roomy, 16 << 20)
    tables.shift_moved(more)
    return copy


def _holds(whole: Path, stop: int) -> bool:
    return whole.exists() and whole.stat().st_size >= stop


def _identity(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_ino, stat.st_size]


def _is_put(folder: Path, output: Path) -> bool:
    try:
        told = json.loads((folder / _PUT).read_text())
        return bool(told == _identity(output))
    except (OSError, ValueError):
        return False


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
