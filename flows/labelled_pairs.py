"""Pairs of a store with what their pixels show, which the store itself does not know."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geo.labels import Labels, open_labels
from geo.pairstore.reader import PairReader
from models.data import Pair, Window

_PIECE = 1 << 20


class LabelledPairs:
    """Pairs with labels as a `models.data.PairSource`.

    Parameters
    ----------
    reader : PairReader
        Of pairs, without chips alone.
    labels : Labels
    classes : tuple of str
        Those wanted.
    """

    def __init__(self, reader: PairReader, labels: Labels, classes: tuple[str, ...]) -> None:
        self._reader = reader
        self._labels = labels
        self._classes = classes

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, indices: Sequence[int], windows: Sequence[Window] | None = None) -> list[Pair]:
        """See `models.data.PairSource`; labels lie where the aerial image was read."""
        pairs = self._reader.read(indices, windows)
        places = [None] * len(pairs) if windows is None else windows
        return [
            Pair(
                lr=pair.lr,
                hr=pair.hr,
                valid=pair.valid,
                labels=self._labels.read(self._reader.ground(int(index), place), self._classes),
            )
            for index, place, pair in zip(indices, places, pairs, strict=True)
        ]

    @property
    def groups(self) -> list[str | None]:
        """Category of each pair."""
        return self._reader.groups

    @property
    def sides(self) -> list[str | None] | None:
        """None: all are pairs."""
        return None


def describe_labels(path: str) -> dict[str, Any]:
    """What tells labels from others: their classes, and the digest of a local file."""
    labels = open_labels(path)
    file, sha = Path(path), None
    if file.is_file():
        digest = hashlib.sha256()
        with file.open("rb") as content:
            while piece := content.read(_PIECE):
                digest.update(piece)
        sha = digest.hexdigest()
    return {"labels": path, "labels_sha256": sha, "classes": list(labels.classes)}
