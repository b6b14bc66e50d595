"""Versions of a store: listed, named, compared, and let go."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo.errors import StoreError
from geo.pairstore.index import Commit, PairIndex, only
from geo.pairstore.place import Place
from geo.pairstore.rows import digest_rows

TAGS = "tags"
EXPIRED = "expired"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A name for a version: it will be kept, with its pixels, until the tag is removed."""

    name: str
    version: int
    pairs: int
    digest: str
    created: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What has happened to pairs from one version to another: identities, and counts by split."""

    first: int
    second: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: tuple[str, ...]
    added_by_split: dict[str, int]


class Tags:
    """Tags and versions of the store at a place."""

    def __init__(self, place: Place, index: PairIndex) -> None:
        self._place, self._index = place, index

    def add(self, name: str, version: int | None = None) -> Tag:
        """Name a version (the newest by default).

        Raises
        ------
        StoreError
            If the name is no name, is taken by another version, or the version is not there.
        """
        if not _NAME.fullmatch(name) or name.isdigit():
            raise StoreError(
                f"a tag cannot be called {name!r}; wanted letters, digits, dot, dash and "
                "underscore, and not digits alone"
            )
        version = self._index.version if version is None else self.check(version)
        pairs = self._index.read(
            ["identity", "row_sha256"], version=version, where=only({"kind": "pair"})
        ).sort_by("identity")
        tag = Tag(
            name=name,
            version=version,
            pairs=pairs.num_rows,
            digest=digest_rows(pairs),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        text = json.dumps(tag.__dict__, indent=2) + "\n"
        if not self._place.write_once(f"{TAGS}/{name}.json", text.encode()):
            here = self.get(name)
            if here.version != version:
                raise StoreError(
                    f"{self._place.url}: tag {name} is version {here.version}; wanted to name "
                    f"{version}: remove the tag first (--untag {name}), or choose another name"
                )
            return here
        return tag

    def remove(self, name: str) -> None:
        """Forget a name; the version stays until it is expired."""
        self.get(name)
        self._place.delete([f"{TAGS}/{name}.json"])

    def get(self, name: str) -> Tag:
        """A tag by its name.

        Raises
        ------
        StoreError
            If there is none; the message lists those there are.
        """
        for tag in self.all():
            if tag.name == name:
                return tag
        names = ", ".join(tag.name for tag in self.all()) or "none"
        raise StoreError(f"{self._place.url}: no tag {name}; tags are {names}")

    def all(self) -> list[Tag]:
        """Tags by version."""
        tags = []
        for file in self._place.children(TAGS):
            if file.startswith(".") or (text := self._place.read(f"{TAGS}/{file}")) is None:
                continue
            try:
                tags.append(Tag(**json.loads(text)))
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"{self._place.url}/{TAGS}/{file}: damaged ({error}); remove the file and tag "
                    "the version again"
                ) from error
        return sorted(tags, key=lambda tag: (tag.version, tag.name))

    def of_version(self, version: int) -> list[str]:
        """Names of a version."""
        return [tag.name for tag in self.all() if tag.version == version]

    def resolve(self, text: str | int | None) -> int:
        """Version that a user means by a number, a tag, or nothing (the newest).

        Raises
        ------
        StoreError
            If there is no such version, or it is expired.
        """
        if text is None:
            return self._index.version
        if str(text).isdigit():
            return self.check(int(text))
        return self.get(str(text)).version

    def check(self, version: int) -> int:
        """Refuse a version that is not there (any more)."""
        newest = self._index.version
        if not 0 <= version <= newest:
            raise StoreError(
                f"{self._place.url}: there is no version {version}; versions are 0 to {newest}"
            )
        if version < self.horizon() and version not in {tag.version for tag in self.all()}:
            raise StoreError(
                f"{self._place.url}: version {version} is expired; kept are tags and versions "
                f"{self.horizon()} to {newest}"
            )
        return version

    def horizon(self) -> int:
        """Oldest version that is kept without a tag."""
        return max((int(name) for name in self._place.children(EXPIRED)), default=0)

    def set_horizon(self, version: int) -> None:
        """Note that versions before this one are gone, but for tagged ones."""
        if version > self.horizon():
            self._place.write_once(f"{EXPIRED}/{version:020d}", b"")

    def versions(self) -> list[Commit]:
        """Commits whose versions can still be read, oldest first."""
        horizon, tagged = self.horizon(), {tag.version for tag in self.all()}
        return [c for c in self._index.history() if c.version >= horizon or c.version in tagged]

    def compare(self, first: int, second: int) -> Difference:
        """What happened to the pairs between two versions."""
        columns = ("identity", "row_sha256", "split")
        old, new = (
            self._index.read(columns, version=self.check(v), where=only({"kind": "pair"}))
            for v in (first, second)
        )
        before = dict(zip(old["identity"].to_pylist(), old["row_sha256"].to_pylist(), strict=True))
        after = dict(zip(new["identity"].to_pylist(), new["row_sha256"].to_pylist(), strict=True))
        splits = dict(zip(new["identity"].to_pylist(), new["split"].to_pylist(), strict=True))
        added = _sorted(after.keys() - before.keys())
        return Difference(
            first=first,
            second=second,
            added=added,
            removed=_sorted(before.keys() - after.keys()),
            replaced=_sorted(i for i in before.keys() & after.keys() if before[i] != after[i]),
            added_by_split=_count(splits[identity] for identity in added),
        )


def _sorted(identities: Any) -> tuple[str, ...]:
    return tuple(sorted(identities))


def _count(splits: Any) -> dict[str, int]:
    return dict(sorted(Counter(split or "none" for split in splits).items()))
