"""Pairs that are kept once they were read."""

from __future__ import annotations

from collections.abc import Sequence

from models.data import PairLike, PairSource, Window, cut_all, cut_pair, labels_of

_MB = 1 << 20


class CachedPairs:
    """A `PairSource` that keeps what it has read, as stored, until its memory is full.

    Small stores are then read once per run instead of once per epoch. While there is room pairs
    are read whole, for the next crop is another one; of what does not fit only the windows are
    read, each time. Nothing is thrown out, for no pair is much likelier to be wanted than others.
    """

    def __init__(self, source: PairSource, *, limit_mb: int) -> None:
        self._source = source
        self._left = limit_mb * _MB
        self._full = limit_mb == 0
        self._kept: dict[int, PairLike] = {}

    def __len__(self) -> int:
        return len(self._source)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        """Pairs at these places, in this order; see `PairSource`."""
        if windows is None or not self._full:
            return cut_all(self._read_whole(indices), windows)
        absent = [place for place, index in enumerate(indices) if index not in self._kept]
        wanted = [indices[place] for place in absent], [windows[place] for place in absent]
        fresh = dict(zip(absent, self._source.read(*wanted), strict=True)) if absent else {}
        return [
            fresh[place] if place in fresh else cut_pair(self._kept[index], windows[place])
            for place, index in enumerate(indices)
        ]

    def _read_whole(self, indices: Sequence[int]) -> list[PairLike]:
        missing = [index for index in dict.fromkeys(indices) if index not in self._kept]
        fresh = dict(zip(missing, self._source.read(missing), strict=True)) if missing else {}
        for index, pair in fresh.items():
            images = pair.lr, pair.hr, pair.valid, labels_of(pair)
            size = sum(image.nbytes for image in images if image is not None)
            if size <= self._left:
                self._left -= size
                self._kept[index] = pair
            else:
                self._full = True
        return [fresh[index] if index in fresh else self._kept[index] for index in indices]
