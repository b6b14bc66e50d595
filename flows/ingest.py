"""Flow `ingest`: scenes in, pairs in the store, refusals listed, a map of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import get_run_context

from flows.artifacts import progress_teller
from flows.console import say
from flows.ingest_alone import ingest_alone
from flows.ingest_derive import find_deriver
from flows.ingest_estimate import estimate
from flows.ingest_report import closing, count_refusals, publish, result_of, say_counts
from flows.ingest_scenes import Outcome, PairingLine
from flows.ingest_settings import (
    IngestConfig,
    choose_form,
    home_of,
    match_rules,
    open_store,
    pairing_rules,
)
from flows.ingest_sources import Found, find_scenes_of
from flows.notices import HOOKS
from flows.runtime import dask_client
from flows.stage import masked, stage
from flows.transient import TRIED_AGAIN

if TYPE_CHECKING:
    from geo.decisions import PairingRules
    from geo.landcover import LandCover
    from geo.match import Candidate, MatchRules
    from geo.pairstore.store import PairStore

# Prefect keeps a task for each scene pair, or for a batch of them where there are many: its
# database has to stay far below the work that it keeps.
_MOST_TASKS = 40


@flow(name="ingest", description="Scenes in, aligned pairs in the store, refusals listed.", **HOOKS)
@stage("ingest", closing)
def ingest(config: IngestConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale ingest --json`` prints."""
    rules = match_rules(config)
    deriver = None if config.degrade is None else find_deriver(config.degrade)
    found = find_scenes(config, rules)
    if config.alone:
        landcover = _read_landcover(config.landcover)
        return ingest_alone(config, rules, found, _run_name(), landcover, deriver)
    candidates, rejections = match(found, rules)
    form = choose_form(config, candidates)
    pairing = pairing_rules(config, form)
    if config.dry_run:
        with dask_client(config.workers) as client:
            return estimate(client, config, found, candidates, rejections, pairing)
    store = open_store(config, form, pairing)
    found.keep_tables(home_of(config.store))
    before, version = store.count_pairs(), store.version
    run_name = _run_name()
    _commit_refusals(store, found, rejections, pairing, run_name)
    with dask_client(config.workers) as client:
        line = PairingLine(
            client,
            store,
            candidates,
            pairing,
            landcover=_read_landcover(config.landcover),
            run_name=run_name,
            dates_per_chip=config.dates_per_chip,
            borrow_shift=config.borrow_shift,
            tell=progress_teller("ingest-progress", title="Scene pairs"),
        )
        outcomes = _pair_all(line, candidates)
    result = result_of(store, before, outcomes)
    result["refused"] = count_refusals(found, rejections, outcomes)
    news = store.version != version
    publish(result, config, store, found, candidates, run_name, news=news)
    return result


@task(name="find scenes", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def find_scenes(config: IngestConfig, rules: MatchRules) -> Found:
    """List the scenes of both sides; the catalogue itself is patient with networks."""
    return find_scenes_of(config, rules)


@task(name="match scenes", cache_policy=NO_CACHE)
@masked
def match(found: Found, rules: MatchRules) -> tuple[list[Candidate], list[Any]]:
    """Pair scenes by place and time."""
    from geo.match import match_scenes

    candidates, rejections = match_scenes(found.scenes["satellite"], found.scenes["aerial"], rules)
    reasons = Counter(r.reason for r in rejections)
    say(f"ingest: {len(candidates)} scene pairs match; refused: {say_counts(reasons)}")
    return candidates, rejections


def _pair_all(line: PairingLine, candidates: Sequence[Candidate]) -> list[Outcome]:
    """Take all scene pairs through the line, a Prefect task for each or for a batch of them."""
    coming = iter(line)
    size = -(-len(candidates) // _MOST_TASKS) or 1
    outcomes: list[Outcome] = []
    for start in range(0, len(candidates), size):
        batch = candidates[start : start + size]
        name = f"pair {batch[0].satellite.id} + {batch[0].aerial.id}"
        if len(batch) > 1:
            name += f" and {len(batch) - 1} more"
        outcomes += pair_scenes.with_options(task_run_name=_literal(name))(
            line, coming, start, len(batch), len(candidates)
        )
    line.flush()
    return outcomes


@task(name="pair scenes", cache_policy=NO_CACHE, persist_result=False)
@masked
def pair_scenes(
    line: PairingLine, coming: Iterator[Outcome], start: int, count: int, total: int
) -> list[Outcome]:
    """Align scene pairs, cut them into the store, commit; a bad scene becomes a refusal.

    The line works ahead on the scene pairs of later tasks, so that no worker waits for this one.
    """
    outcomes = []
    for number, outcome in enumerate(islice(coming, count), start + 1):
        _tell(outcome, f"ingest: scene pair {number} of {total}")
        outcomes.append(outcome)
    line.flush()
    return outcomes


def _tell(outcome: Outcome, head: str) -> None:
    candidate, alignment = outcome.candidate, outcome.alignment
    say(
        f"{head}: {candidate.satellite.id} + {candidate.aerial.id}, "
        f"{candidate.gap_days:.1f} days apart"
    )
    if outcome.state == "known":
        say("ingest:   known already, nothing to do")
    elif outcome.state == "refused":
        value = "none" if outcome.value is None else f"{outcome.value:.2f}"
        limit = "" if outcome.limit is None else f" against a limit of {outcome.limit:g}"
        say(f"ingest:   refused: {outcome.reason} ({value}{limit})")
    elif alignment is not None and alignment.accepted:
        say(
            f"ingest:   shift {alignment.dy_px:+.2f}, {alignment.dx_px:+.2f} px (down, right), "
            f"reliability {alignment.reliability:.2f}, correlation {alignment.correlation:.3f}"
        )
        say(f"ingest:   {say_counts(outcome.counts)}")
    if outcome.state == "failed":
        say(f"ingest:   stopped: {outcome.detail}")


def _read_landcover(path: str | None) -> LandCover | None:
    from geo.landcover import LandCover

    return LandCover.read(path) if path else None


def _commit_refusals(
    store: PairStore,
    found: Found,
    rejections: Iterable[Any],
    rules: PairingRules,
    run_name: str,
) -> None:
    """List what never became a candidate."""
    from geo.decisions import match_row, refusal_row

    rows = [match_row(rejection, rules, run_name) for rejection in rejections]
    for side, refusals in found.refusals.items():
        for refusal in refusals:
            say(f"ingest: refused {side} {refusal.id}: {refusal.reason}: {refusal.detail}")
            rows.append(refusal_row(refusal, side, rules, run_name))
    store.commit(rows, run_name)


def _run_name() -> str:
    return str(getattr(get_run_context(), "flow_run").name)  # noqa: B009 - typed as either context


def _literal(name: str) -> str:
    """Prefect fills in what stands in braces."""
    return name.replace("{", "{{").replace("}", "}}")
