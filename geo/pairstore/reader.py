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
from affine import Affine
from odc.geo.geobox import GeoBox

from geo.chips import ground_of
from geo.pairstore.index import among, only
from geo.pairstore.parts import Triple, read_pairs
from geo.pairstore.rows import WITH_PIXELS, digest_rows

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore


@dataclass(frozen=True)
class Pair:
    """Pixels of a pair, or of a batch: ``lr`` [C, h, w], ``hr`` [C, H, W], ``valid`` [H, W]."""

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
    chips : bool
        Chips without partners as well, each with zeros for the image that it has not.
    derived : bool
        Pairs whose LR image is derived as well.

    Notes
    -----
    It travels to another process as these six, not with its rows: they are read again there.
    A store on a local disk may be read in forked processes as well.
    """

    store: PairStore
    version: int
    split: str | None = None
    categories: tuple[str, ...] | None = None
    chips: bool = False
    derived: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (
            type(self.store),
            self.store.url,
            self.version,
            self.split,
            self.categories,
            self.chips,
            self.derived,
        )

    @cached_property
    def rows(self) -> pa.Table:
        """Identity, place, category and hash of the pairs, in the order of their indices."""
        return self._select(
            "part", "part_index", "category", "valid_fraction", "row_sha256", "side", "derived"
        )

    def _select(self, *columns: str) -> pa.Table:
        table = self.store.rows(
            split=self.split,
            version=self.version,
            columns=tuple(dict.fromkeys((*columns, "category"))),
            where=among("kind", WITH_PIXELS if self.chips else ("pair",))
            + ("" if self.derived else " AND derived IS NULL"),
        )
        if self.categories is not None:
            table = table.filter(pc.is_in(table["category"], pa.array(self.categories)))
        return table

    @cached_property
    def _places(self) -> list[tuple[Any, ...]]:
        names = ("crs", "left", "top", "resolution_x", "resolution_y", "dy_px", "dx_px")
        table = self._select(*names)
        return list(zip(*(table[name].to_pylist() for name in names), strict=True))

    def ground(self, index: int, window: tuple[int, int, int] | None = None) -> GeoBox:
        """Where the ground of a pair's HR pixels really lies.

        Parameters
        ----------
        window : (row, col, size), optional
            In LR pixels; the whole pair by default.

        Returns
        -------
        GeoBox
            Of the HR grid, moved against its georeference as the aerial image was.
        """
        crs, left, top, res_x, res_y, dy, dx = self._places[index]
        scale = self.scale
        row, col, size = window or (0, 0, self.store.config.lr_size)
        affine = Affine(res_x / scale, 0, left + col * res_x, 0, -res_y / scale, top - row * res_y)
        geobox = GeoBox((size * scale, size * scale), affine, crs)
        return ground_of(geobox, (dy or 0.0, dx or 0.0), scale)

    def row(self, index: int) -> dict[str, Any]:
        """All that the index says of a pair."""
        where = only({"identity": self.rows["identity"][index].as_py()})
        return dict(self.store.rows(version=self.version, where=where).to_pylist()[0])

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @cached_property
    def _lying(self) -> list[tuple[str, int]]:
        # A name is kept once for all pairs of its part.
        parts = self.rows["part"].combine_chunks().dictionary_encode()
        names = parts.dictionary.to_pylist()
        codes, indexes = parts.indices.to_pylist(), self.rows["part_index"].to_pylist()
        return [(names[code], index) for code, index in zip(codes, indexes, strict=True)]

    @cached_property
    def _all_valid(self) -> list[bool]:
        return list(pc.fill_null(pc.equal(self.rows["valid_fraction"], 1.0), False).to_pylist())

    def read(
        self,
        indices: Sequence[int],
        windows: Sequence[tuple[int, int, int]] | None = None,
    ) -> list[Pair]:
        """Pixels of pairs, in the order asked for.

        Parameters
        ----------
        windows : sequence of (row, col, size), optional
            In LR pixels, one for each pair: only these pixels are read.

        Raises
        ------
        StoreError
            If a part is missing or damaged.
        """
        return [Pair(*triple) for triple in self._read(indices, windows, None)]

    def read_batch(
        self,
        indices: Sequence[int],
        windows: Sequence[tuple[int, int, int]] | None = None,
        out: Pair | None = None,
    ) -> Pair:
        """Pixels of pairs as one batch, each array with an axis for the pairs before its own.

        Parameters
        ----------
        windows : sequence of (row, col, size), optional
            In LR pixels, one for each pair and all of one size: only these pixels are read.
        out : Pair, optional
            Batch of that shape to read into, which saves making a new one.

        Raises
        ------
        ValueError
            If windows differ in size, or `out` in shape or type from what is asked for.
        StoreError
            If a part is missing or damaged.
        """
        config = self.store.config
        sizes = {size for _, _, size in windows or [(0, 0, config.lr_size)]}
        if len(sizes) != 1:
            raise ValueError(f"windows of a batch are of one size, but these are {sorted(sizes)}")
        lr = sizes.pop()
        hr, count, bands = lr * config.scale, len(indices), len(config.bands)
        shapes = (count, bands, lr, lr), (count, bands, hr, hr), (count, hr, hr)
        dtypes = np.dtype(config.dtype), np.dtype(config.dtype), np.dtype(bool)
        if out is None:
            out = Pair(*map(np.empty, shapes, dtypes))
        into = out.lr, out.hr, out.valid
        got = tuple((array.shape, array.dtype) for array in into)
        if got != (wanted := tuple(zip(shapes, dtypes, strict=True))):
            raise ValueError(f"out is {got}, but the batch is {wanted}")
        self._read(indices, windows, into)
        return out

    def _read(
        self,
        indices: Sequence[int],
        windows: Sequence[tuple[int, int, int]] | None,
        into: Triple | None,
    ) -> list[Triple]:
        return read_pairs(
            self.store.place,
            self.store.config,
            [self._lying[int(i)] for i in indices],
            windows=windows,
            all_valid=[self._all_valid[int(i)] for i in indices],
            into=into,
        )

    @property
    def groups(self) -> list[str | None]:
        """Category of each pair."""
        return list(self.rows["category"].to_pylist())

    @property
    def sides(self) -> list[str | None]:
        """The one true image that each has: ``lr`` or ``hr``; None for a pair.

        Of a pair whose LR image is derived that is the HR one.
        """
        rows = zip(self.rows["side"].to_pylist(), self.rows["derived"].to_pylist(), strict=True)
        return ["hr" if derived else side for side, derived in rows]

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
    url: str,
    version: int,
    split: str | None,
    categories: tuple[str, ...] | None,
    chips: bool,
    derived: bool,
) -> PairReader:
    return PairReader(
        store=kind.open(url),
        version=version,
        split=split,
        categories=categories,
        chips=chips,
        derived=derived,
    )
