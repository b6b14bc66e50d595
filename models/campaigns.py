"""HR images of two campaigns as a source of pairs that are no pairs."""

from __future__ import annotations

from collections.abc import Sequence

from models.data import Pair, PairSource, Window, cut_all
from models.errors import DataError


class Campaigns:
    """HR images of one campaign as `lr`, of another as `hr`, on one grid.

    To be shown apart (see `models.data.BatchMaker`), so that no two of them belong together. Each
    place is valid where both of its images are: whichever of the two is shown.

    Parameters
    ----------
    pairs : PairSource
    source, target : sequence of int
        Places in `pairs` whose HR images are of each campaign. The shorter one begins again until
        the longer one ends.

    Raises
    ------
    DataError
        When one of them is empty.
    """

    def __init__(self, pairs: PairSource, source: Sequence[int], target: Sequence[int]) -> None:
        for name, places in (("source", source), ("target", target)):
            if not places:
                raise DataError(f"there are no images of the {name} campaign", campaign=name)
        self._pairs = pairs
        self._places = tuple(source), tuple(target)

    def __len__(self) -> int:
        return max(map(len, self._places))

    @property
    def groups(self) -> list[str | None]:
        """None for all: two campaigns have no categories in common."""
        return [None] * len(self)

    @property
    def sides(self) -> list[str | None]:
        """None for all: each place has an image of either campaign."""
        return [None] * len(self)

    def read(self, indices: Sequence[int], windows: Sequence[Window] | None = None) -> list[Pair]:
        """Images at these places, in this order, each with one of the other campaign."""
        wanted = [places[index % len(places)] for places in self._places for index in indices]
        chips = self._pairs.read(wanted)
        both = [
            Pair(lr=a.hr, hr=b.hr, valid=a.valid & b.valid)
            for a, b in zip(chips[: len(indices)], chips[len(indices) :], strict=True)
        ]
        return cut_all(both, windows)  # type: ignore[arg-type,return-value]  # lists are invariant
