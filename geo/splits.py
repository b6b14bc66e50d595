"""Train, validation and test ground, split by place and for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from geo.chips import Cell

SPLITS = ("train", "val", "test", "buffer")
_PRECEDENCE = {"train": 0, "val": 1, "test": 2}
_MACRO = 3  # blocks on a side of a macro cell: one for test, one for validation, seven for training


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """Whole blocks of ground on one side.

    Parameters
    ----------
    block_chips : int
        Cells on a side of a block.
    buffer_chips : int
        A chip within this many cells of held-out ground is set aside: neither trained on nor
        scored (``buffer``).

    Notes
    -----
    Each 3 by 3 blocks hold one block of test and one of validation ground, at places drawn by a
    hash of where they are. So even a small region has all three, and the side of a place depends
    on nothing but the place: whatever is ingested later, it stays where it is.
    """

    block_chips: int = 4
    buffer_chips: int = 1

    def __post_init__(self) -> None:
        if self.block_chips < 1:
            raise ValueError(f"block_chips is {self.block_chips}; wanted 1 or more")
        if not 0 <= self.buffer_chips <= self.block_chips:
            raise ValueError(
                f"buffer_chips is {self.buffer_chips}; wanted 0 to block_chips ({self.block_chips})"
            )

    def split_of(self, cell: Cell, crs: str) -> str:
        """Side of a cell: ``train``, ``val``, ``test`` or ``buffer``."""
        side = self._side(cell.row, cell.col, crs)
        near = range(-self.buffer_chips, self.buffer_chips + 1)
        around = {self._side(cell.row + y, cell.col + x, crs) for y in near for x in near}
        higher = any(_PRECEDENCE[other] > _PRECEDENCE[side] for other in around)
        return "buffer" if higher else side

    def _side(self, row: int, col: int, crs: str) -> str:
        block = (row // self.block_chips, col // self.block_chips)
        test, val = _held_out(crs, block[0] // _MACRO, block[1] // _MACRO)
        place = (block[0] % _MACRO) * _MACRO + block[1] % _MACRO
        return "test" if place == test else "val" if place == val else "train"


@lru_cache(maxsize=65536)
def _held_out(crs: str, macro_row: int, macro_col: int) -> tuple[int, int]:
    """Places (0 to 8) of the test and the validation block in a macro cell."""
    text = f"{crs}|{macro_row}|{macro_col}".encode()
    draw = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    places = _MACRO * _MACRO
    test = draw % places
    val = draw // places % (places - 1)
    return test, val + (val >= test)
