"""Where the pixels of a region go: what a store of blocks asks of a file format.

The store (`geo.regionstore`) knows which blocks are done; a sink knows how pixels lie on disk.
A sink is a value without open files: workers get it with the plan, pickled, and give it the
working folder with each call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geo.read_back import ReadBack
from geo.tiling import Block


class Mover(Protocol):
    """Brings finished blocks to their place while others are computed."""

    def move(self) -> None:
        """Bring those that have come since.

        Raises
        ------
        OSError
            If the disk does not take them, or a block is damaged.
        """
        ...

    def settle(self) -> None:
        """Let what was brought be in its new place alone; called before `RegionSink.finish`.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        ...


class RegionSink(Protocol):
    """Takes the blocks of a region in any order from any number of workers.

    Blocks share nothing on disk, and what is on disk is whole at any moment, so a worker may die
    anywhere; its block is written again.
    """

    @property
    def block_multiple_lr_px(self) -> int:
        """What blocks have to be multiples of, in LR pixels; those at the end are smaller."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the output's bytes depend on beside plan and pixels; JSON values."""
        ...

    def create(self, folder: Path) -> None:
        """Make what is there before the first block.

        Parameters
        ----------
        folder : Path
            Working folder, on the output's file system.

        Raises
        ------
        OSError, ValueError
            If the disk does not take it.
        """
        ...

    def write(
        self,
        folder: Path,
        block: Block,
        strips: Iterable[npt.NDArray[Any]] | None,
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Write a block; on disk for good when it returns.

        A block may be written again, by this or another worker, with the same pixels. Nothing of
        it counts when the strips end in an exception.

        Parameters
        ----------
        folder : Path
        block : Block
            On the LR grid.
        strips : iterable of array, [C, rows, W], or None
            Its pixels on the HR grid from top to bottom, in the output's dtype, holes as nodata;
            None where all is hole. A strip is used up before the next one is asked for.
        valid : array of bool, [h, w]
            On the LR grid.

        Raises
        ------
        OSError, ValueError
            If the disk does not take it.
        """
        ...

    def mover(self, folder: Path) -> Mover | None:
        """What may run beside the blocks; one at a time. None where there is nothing to do.

        Parameters
        ----------
        folder : Path

        Raises
        ------
        OSError
            If what is there cannot be read.
        """
        ...

    def read_back(self, output: Path, block: Block) -> ReadBack:
        """Read a block of an output that a sink of this grid has made, as `write` takes it.

        Raises
        ------
        ReadBackError
            If it cannot be read.
        """
        ...

    def finish(self, folder: Path, output: Path, tags: Mapping[str, str]) -> Path:
        """Complete the output from all blocks and put it under its name.

        Called again after it was cut off anywhere, it goes on.

        Parameters
        ----------
        folder : Path
        output : Path
            Stands there only when it is whole; an older output is replaced.
        tags : mapping of str to str
            Provenance to keep in the output.

        Raises
        ------
        UpscaleError
            If the output cannot be completed or put in place; the blocks are kept.
        """
        ...


def check_blocks(block_lr_px: int, multiple: int, tile_px: int) -> None:
    """Refuse blocks that are no whole tiles or chunks.

    Raises
    ------
    ValueError
    """
    if block_lr_px % multiple:
        raise ValueError(
            f"block_lr_px is {block_lr_px}; wanted a multiple of {multiple}, "
            f"whole tiles of {tile_px} px"
        )


def json_number(value: float | None) -> float | int | str | None:
    """Write a number as Zarr's JSON does: whole ones as integers, non-finite ones as words."""
    if value is None:
        return None
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
