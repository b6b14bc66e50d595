"""Whether enough new pairs have arrived to train again: counted since the champion was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows import registry, tracking
from geo.errors import StoreError

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore


@dataclass(frozen=True, kw_only=True)
class News:
    """Training pairs that no generator has been tried with.

    Parameters
    ----------
    count : int
    told : str
        The same in words, with what they are new to.
    champion : str or None
        ``NAME/VERSION`` of the champion.
    """

    count: int
    told: str
    champion: str | None


def count_new_pairs(store: PairStore, version: int) -> News:
    """Count training pairs of a version of the store that the champion was not trained on.

    Nor any that went on from it and was not promoted: the same pairs would only come to the same
    again, night after night. Where there is no champion, those of the challenger count in its
    place. What was trained on another store knows none of these pairs.

    Raises
    ------
    FlowError
        If the registry cannot be asked.
    """
    now = set(_training_rows(store, version)["identity"].to_pylist())
    champion = registry.champion_version()
    best: tuple[int, str] | None = None
    for model, title in _tried(champion):
        found = _new_since(store, now, model)
        if found is None:
            continue
        count, place = found
        if best is None or count < best[0]:
            best = count, f"{count} new pairs since {title} ({place})"
    if best is None:
        since = "no champion yet" if champion is None else f"{_title(champion)} saw none of them"
        best = len(now), f"{len(now)} training pairs, and {since}"
    name = None if champion is None else f"{champion.name}/{champion.version}"
    return News(count=best[0], told=best[1], champion=name)


def _title(champion: Any) -> str:
    return f"champion v{champion.version}"


def _tried(champion: Any | None) -> list[tuple[Any, str]]:
    """Model versions whose pairs are known already, with their names for people."""
    if champion is None:
        last = registry.challenger_version()
        return [] if last is None else [(last, f"v{last.version}, which was not promoted")]
    further = [
        (model, f"v{model.version}, which went on from {_title(champion)} and was not promoted")
        for model in registry.versions_begun_as(f"{champion.name}/{champion.version}")
    ]
    return [(champion, _title(champion)), *further]


def _new_since(store: PairStore, now: set[str], model: Any) -> tuple[int, str] | None:
    """How many of these pairs are new to a model, and what it was trained on.

    None where that was another store, or nobody knows.
    """
    from geo.pairstore.rows import digest_rows

    run = tracking.find_run(model.run_id)
    if run is None or not str(run.data.tags.get("store_version", "")).isdigit():
        return None
    version = int(run.data.tags["store_version"])
    place = f"trained on {store.place.name}@{version}"
    try:
        rows = store.rows(
            kind="pair", version=store.tags.check(version), columns=["row_sha256", "split"]
        )
    except StoreError:  # expired, or never there
        counted = run.data.params.get("pairs.train")
        if run.data.tags.get("store") != store.url or counted is None or version > store.version:
            return None
        return max(0, len(now) - int(counted)), f"{place}, which is expired: by counts alone"
    if digest_rows(rows) != run.data.tags.get("store_digest"):
        return None
    old = {row["identity"] for row in rows.to_pylist() if row["split"] == "train"}
    return len(now - old), place


def _training_rows(store: PairStore, version: int) -> Any:
    return store.rows(kind="pair", split="train", version=version, columns=[])
