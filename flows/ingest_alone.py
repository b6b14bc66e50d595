"""The half of the flow `ingest` that wants no partners: each scene is cut on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import progress_teller
from flows.console import say
from flows.ingest_alone_estimate import estimate_alone
from flows.ingest_alone_form import (
    SIDES,
    find_colours,
    form_alone,
    rules_alone,
    with_settled_split,
)
from flows.ingest_alone_line import LoneLine, LoneOutcome
from flows.ingest_alone_report import publish_alone, result_alone
from flows.ingest_report import say_counts
from flows.ingest_settings import IngestConfig, home_of, open_store, pairing_rules, store_config
from flows.runtime import dask_client
from flows.stage import masked

if TYPE_CHECKING:
    import shapely

    from flows.ingest_derive import Deriver
    from flows.ingest_sources import Found
    from geo.catalog.scene import Scene
    from geo.landcover import LandCover
    from geo.lone_scene import LoneRules
    from geo.match import MatchRules
    from geo.pairstore.store import PairStore

_MOST_TASKS = 40


def ingest_alone(
    config: IngestConfig,
    rules: MatchRules,
    found: Found,
    run_name: str,
    landcover: LandCover | None,
    deriver: Deriver | None = None,
) -> dict[str, Any]:
    """Cut the scenes of either side into the store; returns what the command prints.

    Parameters
    ----------
    found : Found
        Scenes of both sides; of one that was not asked for there are none. Where LR images are
        derived, those of satellites are not cut: they say what colours are like.
    """
    from geo.match import scenes_alone

    cut_sides = {s: of for s, of in SIDES.items() if deriver is None or of == "hr"}
    wanted: dict[str, list[tuple[Scene, shapely.Geometry]]] = {}
    refused: list[tuple[str, Scene, str]] = []
    for side, of in SIDES.items():
        wanted[side], against = scenes_alone(found.scenes[side], rules, satellite=of == "lr")
        if side in cut_sides:
            refused += [(of, scene, reason) for scene, reason in against]
        if getattr(config, side):
            reasons = Counter(reason for _, reason in against)
            what = "to cut" if side in cut_sides else "whose colours count"
            say(f"ingest: {len(wanted[side])} {side} scenes {what}; refused: {say_counts(reasons)}")
    form = form_alone(config, wanted)
    pairing = pairing_rules(config, form)
    derived = None if deriver is None else deriver.name
    lone_rules = rules_alone(config, form, pairing, wanted, derived)
    scenes = [
        (of, scene, ground) for side, of in cut_sides.items() for scene, ground in wanted[side]
    ]
    with dask_client(config.workers) as client:
        settled = with_settled_split(config, form)
        if deriver is not None and form is not None:
            deriver.check(store_config(config, settled, pairing))
        if config.dry_run:
            return estimate_alone(client, config, found, scenes, refused, lone_rules, form)
        store = open_store(config, settled, pairing)
        found.keep_tables(home_of(config.store))
        before, version = store.summary(), store.version
        _commit_refusals(store, found, refused, lone_rules, run_name)
        line = LoneLine(
            client,
            store,
            scenes,
            lone_rules,
            colours=find_colours(client, lone_rules, wanted, store),
            landcover=landcover,
            run_name=run_name,
            deriver=deriver,
            tell=progress_teller("ingest-progress", title="Scenes"),
        )
        outcomes = _cut_all(line)
    why = [reason for _, _, reason in refused]
    result = result_alone(store, before, outcomes, found, why, derived=deriver is not None)
    news = store.version != version
    publish_alone(result, config, store, found, outcomes, lone_rules, run_name, news=news)
    return result


def _cut_all(line: LoneLine) -> list[LoneOutcome]:
    """Take all scenes through the line, a Prefect task for each or for a batch of them."""
    coming, total = iter(line), len(line.outcomes)
    size = -(-total // _MOST_TASKS) or 1
    for start in range(0, total, size):
        count = min(size, total - start)
        name = f"cut scenes {start + 1} to {start + count}"
        cut_scenes.with_options(task_run_name=name)(line, coming, start, count, total)
    for _ in coming:
        pass
    line.flush()
    return line.outcomes


@task(name="cut scenes", cache_policy=NO_CACHE, persist_result=False)
@masked
def cut_scenes(
    line: LoneLine, coming: Iterator[LoneOutcome], start: int, count: int, total: int
) -> None:
    """Cut scenes into the store and commit; a bad scene becomes a refusal."""
    for number, outcome in enumerate(islice(coming, count), start + 1):
        _tell(outcome, f"ingest: scene {number} of {total}: {outcome.scene.id}")
    line.flush()


def _tell(outcome: LoneOutcome, head: str) -> None:
    if outcome.state == "known":
        say(f"{head}: known already, nothing to do")
    elif outcome.state == "refused":
        value = "none" if outcome.value is None else f"{outcome.value:.2f}"
        limit = "" if outcome.limit is None else f" against a limit of {outcome.limit:g}"
        say(f"{head}: refused: {outcome.reason} ({value}{limit})")
    elif outcome.state == "failed":
        say(f"{head}: stopped: {outcome.detail}")
    else:
        say(f"{head}: {outcome.side.upper()} chips: {say_counts(outcome.counts)}")


def _commit_refusals(
    store: PairStore,
    found: Found,
    refused: Sequence[tuple[str, Scene, str]],
    rules: LoneRules,
    run_name: str,
) -> None:
    """List what is not even looked at."""
    import shapely

    from geo.decisions import refusal_row
    from geo.lone_rows import lone_refusal, lone_row

    nowhere = shapely.Point()
    rows = [
        lone_refusal(lone_row(scene, side, nowhere, rules, run_name), reason)
        for side, scene, reason in refused
    ]
    for side, refusals in found.refusals.items():
        for refusal in refusals:
            say(f"ingest: refused {side} {refusal.id}: {refusal.reason}: {refusal.detail}")
            rows.append(refusal_row(refusal, side, rules.pairing, run_name))
    store.commit(rows, run_name)
