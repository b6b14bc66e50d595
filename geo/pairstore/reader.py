"""Pairs of a store by index, for training and for looking at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from geo.pairstore.parts import read_pairs
from geo.pairstore.rows import digest_rows

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore


@dataclass(frozen=True)
class Pair:
    """Pixels of one pair: ``lr`` [C, h, w], ``hr`` [C, H, W], ``valid`` [H, W]."""

    lr: npt.NDArray[Any]
    hr: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PairReader:
    """Pairs as of one version, ordered by identity; safe to use from threads.

    Parameters
    ----------
    store : PairStore
    version : int
        Of the index; later commits are not seen.
    split : str or None
        None for all.
    categories : tuple of str or None
        None for all, those without a category included.

    Notes
    -----
    It travels to another process as these four, not with its rows: they are read again there.
    """

    store: PairStore
    version: int
    split: str | None = None
    categories: tuple[str, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Absolute, since the other process may stand in another folder.
        path = self.store.path.absolute()
        return _reopen, (type(self.store), path, self.version, self.split, self.categories)

    @cached_property
    def rows(self) -> pa.Table:
        """Rows of the pairs, in the order of their indices."""
        table = self.store.rows(kind="pair", split=self.split, version=self.version)
        if self.categories is not None:
            table = table.filter(pc.is_in(table["category"], pa.array(self.categories)))
        return table

    def row(self, index: int) -> dict[str, Any]:
        """What the index says of a pair."""
        return dict(self.rows.slice(index, 1).to_pylist()[0])

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @cached_property
    def _places(self) -> list[tuple[str, int]]:
        parts, indexes = (self.rows[c].to_pylist() for c in ("part", "part_index"))
        return list(zip(parts, indexes, strict=True))

    def read(self, indices: Sequence[int]) -> list[Pair]:
        """Pixels of pairs, in the order asked for.

        Raises
        ------
        StoreError
            If a part is missing or damaged.
        """
        places = [self._places[int(i)] for i in indices]
        return [Pair(*triple) for triple in read_pairs(self.store.parts, places)]

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.store.config.bands

    @property
    def scale(self) -> int:
        """LR pixel over HR pixel."""
        return self.store.config.scale

    @property
    def data_range(self) -> float:
        """The DN that means 1.0."""
        return self.store.config.data_range

    @cached_property
    def digest(self) -> str:
        """Hash of these pairs; see `PairStore.digest`."""
        return digest_rows(self.rows)


def _reopen(
    kind: type[PairStore],
    path: Any,
    version: int,
    split: str | None,
    categories: tuple[str, ...] | None,
) -> PairReader:
    return PairReader(store=kind.open(path), version=version, split=split, categories=categories)
