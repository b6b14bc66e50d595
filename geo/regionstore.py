"""Where the blocks of one upscaling run wait until the whole region is there.

A working folder beside the output::

    OUT.tif.skyscale/
        plan.json         what is being made, with its fingerprint; written last when the folder is
                          made, removed first when it is taken down: without it, nothing counts
        region.zarr/      pixels [C, H, W], one chunk a block; valid [h, w] where a mask is kept
        done/INDEX        one empty file a finished block, made after its pixels are on disk

No two blocks share a chunk, chunks appear by rename, and a marker follows its pixels, so any
number of workers may write different blocks and any of them may die at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from geo.errors import UpscaleError
from geo.tiling import Block

FORMAT = 1
_PLAN = "plan.json"

# Fast enough to cost less than the disk writes it saves (measured: a third less to write).
_BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 1, "shuffle": "bitshuffle"},
}


@dataclass(frozen=True, kw_only=True)
class RegionLayout:
    """Shape of a region's pixels.

    Parameters
    ----------
    bands : int
    height, width : int
        Of the region, in LR pixels.
    scale : int
        HR pixels in an LR pixel, along each axis.
    block_lr_px : int
        Edge of a block.
    dtype : str
    fill : float
        Value of pixels that were never written.
    masked : bool
        Keep validity beside the pixels.
    """

    bands: int
    height: int
    width: int
    scale: int
    block_lr_px: int
    dtype: str
    fill: float
    masked: bool


@dataclass(frozen=True)
class Beginning:
    """What was there when a run began.

    Parameters
    ----------
    state : {"new", "continued", "discarded"}
        Nothing; the same run's work, taken up again; another run's work, thrown away.
    finished : frozenset of int
        Indexes of blocks that need no more work.
    """

    state: Literal["new", "continued", "discarded"]
    finished: frozenset[int]


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Identify a run by everything that its pixels depend on."""
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def begin_region(
    folder: Path, layout: RegionLayout, facts: Mapping[str, Any], *, restart: bool = False
) -> Beginning:
    """Take up the work in a folder if it is the same run's, else start anew.

    Parameters
    ----------
    folder : Path
    layout : RegionLayout
    facts : mapping
        JSON-able; everything that the pixels depend on.
    restart : bool
        Start anew in any case.

    Raises
    ------
    UpscaleError
        If the folder cannot be written.
    """
    wanted = fingerprint(facts)
    if not restart and _stored_fingerprint(folder) == wanted:
        return Beginning("continued", RegionStore(folder, layout, wanted).finished())
    try:
        existed = folder.exists()
        remove_region(folder)
        (folder / "done").mkdir(parents=True)
        _create_arrays(folder / "region.zarr", layout)
        text = json.dumps({"fingerprint": wanted, "format": FORMAT, **facts}, indent=1)
        _write_atomically(folder / _PLAN, text)
    except (OSError, ValueError) as error:
        raise UpscaleError(
            f"{folder}: cannot make the working folder ({error}); is the place writable, "
            "and is there room on the disk?",
            folder=str(folder),
        ) from error
    return Beginning("discarded" if existed else "new", frozenset())


def remove_region(folder: Path) -> None:
    """Take the working folder down; killed half way, it leaves nothing that could be taken up."""
    (folder / _PLAN).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


class RegionStore:
    """The blocks of a region that has begun.

    Parameters
    ----------
    folder : Path
    layout : RegionLayout
    fingerprint : str
        Of the run; a folder that belongs to another run is refused.

    Raises
    ------
    UpscaleError
        If the folder is not there or is another run's.
    """

    def __init__(self, folder: Path, layout: RegionLayout, fingerprint: str) -> None:
        found = _stored_fingerprint(folder)
        if found != fingerprint:
            is_there = "holds another run's work" if found else "has not begun"
            raise UpscaleError(f"{folder}: {is_there}; begin this run first", folder=str(folder))
        self._folder = folder
        self._layout = layout
        self._pixels = _open(folder / "region.zarr" / "pixels")
        self._valid = _open(folder / "region.zarr" / "valid") if layout.masked else None

    def write(
        self, block: Block, pixels: npt.NDArray[Any] | None, valid: npt.NDArray[np.bool_]
    ) -> None:
        """Store a block, then mark it as finished.

        Parameters
        ----------
        block : Block
            On the LR grid.
        pixels : array, [C, H, W], or None
            On the HR grid, in the region's dtype; None leaves the fill value.
        valid : array of bool, [h, w]
            On the LR grid; kept where the layout asks for it.

        Raises
        ------
        UpscaleError
            If the disk does not take it.
        """
        try:
            if pixels is not None:
                hr = block.scaled(self._layout.scale)
                # A write returns when the chunk is synced and renamed into place.
                self._pixels[:, hr.rows, hr.cols].write(pixels).result()
            if self._valid is not None:
                self._valid[block.rows, block.cols].write(valid).result()
            _mark(self._folder / "done" / str(block.index))
        except (OSError, ValueError) as error:
            raise UpscaleError(
                f"{self._folder}: writing {block} failed ({error}); finished blocks are kept, "
                "so run again when there is room on the disk",
                block=block.index,
            ) from error

    def read(
        self, rows: slice, cols: slice
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Read a window of the HR grid.

        Returns
        -------
        pixels : array, [C, rows, cols]
        valid : array of bool, [rows, cols], or None
            Where the layout keeps it.
        """
        pixels = np.asarray(self._pixels[:, rows, cols].read().result())
        valid = (
            None
            if self._valid is None
            else _read_repeated(self._valid, rows, cols, self._layout.scale)
        )
        return pixels, valid

    def finished(self) -> frozenset[int]:
        """Indexes of finished blocks."""
        return frozenset(int(name) for name in os.listdir(self._folder / "done"))


def _read_repeated(array: Any, rows: slice, cols: slice, scale: int) -> npt.NDArray[np.bool_]:
    """Read a window of the HR grid from an array on the LR grid."""
    lr_rows, lr_cols = (slice(s.start // scale, -(-s.stop // scale)) for s in (rows, cols))
    lr = np.asarray(array[lr_rows, lr_cols].read().result())
    top, left = rows.start - lr_rows.start * scale, cols.start - lr_cols.start * scale
    hr = lr.repeat(scale, 0).repeat(scale, 1)
    return hr[top : top + rows.stop - rows.start, left : left + cols.stop - cols.start]


def _create_arrays(path: Path, layout: RegionLayout) -> None:
    path.mkdir()
    _write_atomically(path / "zarr.json", '{"zarr_format": 3, "node_type": "group"}')
    scale, block = layout.scale, layout.block_lr_px
    _create(
        path / "pixels",
        shape=(layout.bands, layout.height * scale, layout.width * scale),
        chunk=(layout.bands, block * scale, block * scale),
        dtype=layout.dtype,
        fill=json_number(layout.fill),
    )
    if layout.masked:
        _create(
            path / "valid",
            shape=(layout.height, layout.width),
            chunk=(block, block),
            dtype="bool",
            fill=False,
        )


def _create(
    path: Path, *, shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str, fill: Any
) -> None:
    metadata = {
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, _BLOSC],
        "fill_value": fill,
    }
    ts.open({**_spec(path), "metadata": metadata}, create=True).result()


def _open(path: Path) -> Any:
    return ts.open(_spec(path)).result()


def _spec(path: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}


def json_number(value: float | None) -> float | int | str | None:
    """Write a number as Zarr's JSON does: whole ones as integers, non-finite ones as words."""
    if value is None:
        return None
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def _stored_fingerprint(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _PLAN).read_text())["fingerprint"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None


def _mark(path: Path) -> None:
    # An empty file needs no rename to appear whole.
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
    sync_folder(path.parent)


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were added to or changed in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
