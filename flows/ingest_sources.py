"""Where the scenes of a run come from: tables that ask their sources only for what is new."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.ingest_settings import home_of

if TYPE_CHECKING:
    from flows.ingest_settings import IngestConfig
    from geo.catalog.query import SceneQuery
    from geo.catalog.scene import Refusal, Scene
    from geo.match import MatchRules

SIDES = ("satellite", "aerial")
_TABLES = tuple(f"{side}.parquet" for side in SIDES)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Scenes of both sides, and what could not be used, by side."""

    scenes: Mapping[str, list[Scene]]
    refusals: Mapping[str, list[Refusal]]
    # Tables made before there was a store to keep them in; by file name.
    tables: Mapping[str, bytes] = field(default_factory=dict)

    def keep_tables(self, store: Path) -> None:
        """Put tables that have no home yet beside the store."""
        for name, content in self.tables.items():
            (store / "catalog").mkdir(parents=True, exist_ok=True)
            (store / "catalog" / name).write_bytes(content)


def find_scenes_of(config: IngestConfig, rules: MatchRules) -> Found:
    """List the scenes of both sources.

    The tables lie in ``catalog_dir``, or beside the store. A dry run, and a run whose store is
    still to be made, work on copies.
    """
    from geo.pairstore.store import PairStore

    given = config.catalog_dir
    home = home_of(config.store) / "catalog" if given is None else Path(given)
    new_store = not PairStore.exists(config.store)
    if not (config.dry_run or (new_store and given is None)):
        home.mkdir(parents=True, exist_ok=True)
        found = _refresh(config, rules, home)
        return found if new_store else _without(found, PairStore.open(config.store).withdrawn())
    with tempfile.TemporaryDirectory(prefix="skyscale-catalog-") as name:
        aside = Path(name)
        for table in _TABLES:
            if (home / table).exists():
                shutil.copy(home / table, aside)
        found = _refresh(config, rules, aside)
        if config.dry_run:
            withdrawn = {} if new_store else PairStore.open(config.store).withdrawn()
            return _without(found, withdrawn)
        tables = {t: (aside / t).read_bytes() for t in _TABLES if (aside / t).exists()}
    return Found(scenes=found.scenes, refusals=found.refusals, tables=tables)


def _without(found: Found, withdrawn: Mapping[str, Any]) -> Found:
    """All but the scenes that were removed from the store to stay out."""
    scenes = {
        side: [scene for scene in scenes if scene.id not in withdrawn]
        for side, scenes in found.scenes.items()
    }
    left_out = sum(map(len, found.scenes.values())) - sum(map(len, scenes.values()))
    if left_out:
        say(f"ingest: {left_out} withdrawn scenes left out (skyscale pairs STORE --readmit-scene)")
    return replace(found, scenes=scenes)


def _refresh(config: IngestConfig, rules: MatchRules, folder: Path) -> Found:
    """Bring both tables up to date, the aerial one first: it says where satellites are wanted."""
    from geo.catalog.query import SceneQuery
    from geo.catalog.refresh import refresh_scenes
    from geo.catalog.sources import answers_queries

    scenes: dict[str, list[Scene]] = {}
    refusals: dict[str, list[Refusal]] = {}
    for side in reversed(SIDES):
        source = getattr(config, side)
        if not source:
            scenes[side], refusals[side] = [], []
            continue
        query = SceneQuery()
        if answers_queries(source) and config.alone:
            query = _query_alone(side, rules)
        elif answers_queries(source):
            query = _aerial_query(rules) if side == "aerial" else _satellite_query(scenes, rules)
        scenes[side], refusals[side], counts = refresh_scenes(
            source, folder / f"{side}.parquet", query, time_pattern=config.time_pattern
        )
        news = [
            f"{n} {what}" for what in ("new", "changed", "gone") if (n := getattr(counts, what))
        ]
        refused = f", {len(refusals[side])} refused" if refusals[side] else ""
        say(
            f"ingest: {len(scenes[side])} {side} scenes ({', '.join(news) or 'as before'}){refused}"
        )
    return Found(scenes=scenes, refusals=refusals)


def _query_alone(side: str, rules: MatchRules) -> SceneQuery:
    """Scenes of a side, whatever the other one holds."""
    from geo.catalog.query import SceneQuery

    if side == "aerial":
        return SceneQuery(intersects=rules.aoi)
    return SceneQuery(start=rules.start, end=rules.end, intersects=rules.aoi)


def _aerial_query(rules: MatchRules) -> SceneQuery:
    """Aerial scenes that may have a satellite partner."""
    from geo.catalog.query import SceneQuery

    gap = _reach(rules)
    return SceneQuery(
        start=rules.start and rules.start - gap,
        end=rules.end and rules.end + gap,
        intersects=rules.aoi,
    )


def _satellite_query(scenes: Mapping[str, Sequence[Scene]], rules: MatchRules) -> SceneQuery:
    """Satellite scenes near aerial ones in place and time."""
    import shapely

    from geo.catalog.query import SceneQuery

    aerials = scenes["aerial"]
    if not aerials:
        return SceneQuery(start=rules.start, end=rules.end, intersects=rules.aoi)
    gap = _reach(rules)
    start, end = min(a.time for a in aerials) - gap, max(a.time for a in aerials) + gap
    place = shapely.box(*shapely.total_bounds([a.footprint for a in aerials]))
    start = max(start, rules.start or start)
    return SceneQuery(
        start=start,
        end=max(start, min(end, rules.end or end)),
        intersects=place if rules.aoi is None else rules.aoi,
    )


def _reach(rules: MatchRules) -> timedelta:
    """Most time between two scenes that may match."""
    return timedelta(seconds=max(end for _, end in rules.time_windows()))
