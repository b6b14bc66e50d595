"""Flow `ingest`: scenes in, pairs in the store, refusals listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import get_run_context
from prefect.tasks import exponential_backoff

from flows.artifacts import publish_table
from flows.console import Progress, say
from flows.ingest_settings import IngestConfig, match_rules, open_store, pairing_rules
from flows.runtime import dask_client, run_all
from geo.errors import GeoError

if TYPE_CHECKING:
    from geo.catalog.scene import Refusal, Scene
    from geo.decisions import PairingRules
    from geo.landcover import LandCover
    from geo.match import Candidate, MatchRules
    from geo.pairrow import Row
    from geo.pairstore import PairStore

# Rows of this many cells are committed at once: few versions, little to do again after a crash.
_ROWS_A_COMMIT = 1024


@flow(name="ingest", description="Scenes in, aligned pairs in the store, refusals listed.")
def ingest(config: IngestConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale ingest --json`` prints."""
    rules = match_rules(config)
    found = find_scenes(config.satellite, config.aerial)
    candidates, rejections = match(found, rules)
    pairing = pairing_rules(config, candidates)
    if config.dry_run:
        return _estimate(config, candidates, rejections, pairing)
    store = open_store(config, candidates, pairing)
    before = _count_pairs(store)
    run_name = _run_name()
    _commit_refusals(store, found, rejections, pairing, run_name)
    landcover = _read_landcover(config.landcover)
    with dask_client(config.workers) as client:
        for number, candidate in enumerate(candidates, 1):
            say(
                f"ingest: scene pair {number} of {len(candidates)}: {candidate.satellite.id} + "
                f"{candidate.aerial.id}, {candidate.gap_days:.1f} days apart"
            )
            pair_scenes(client, candidate, str(store.path), pairing, landcover, run_name)
    result = _result(store, before)
    publish_table("ingest", result, title="Ingest")
    return result


@task(
    name="find scenes", retries=2, retry_delay_seconds=exponential_backoff(5), cache_policy=NO_CACHE
)
def find_scenes(satellite: str, aerial: str) -> dict[str, tuple[list[Scene], list[Refusal]]]:
    """List the scenes of both sides."""
    from geo.catalog.sources import read_scenes

    found = {"satellite": read_scenes(satellite), "aerial": read_scenes(aerial)}
    for side, (scenes, refusals) in found.items():
        refused = f", {len(refusals)} refused" if refusals else ""
        say(f"ingest: {len(scenes)} {side} scenes{refused}")
    return found


@task(name="match scenes", cache_policy=NO_CACHE)
def match(
    found: dict[str, tuple[list[Scene], list[Refusal]]], rules: MatchRules
) -> tuple[list[Candidate], list[Any]]:
    """Pair scenes by place and time."""
    from geo.match import match_scenes

    candidates, rejections = match_scenes(found["satellite"][0], found["aerial"][0], rules)
    reasons = Counter(r.reason for r in rejections)
    say(f"ingest: {len(candidates)} scene pairs match; refused: {_say_counts(reasons)}")
    return candidates, rejections


@task(name="pair scenes", task_run_name="pair {candidate.satellite.id}", cache_policy=NO_CACHE)
def pair_scenes(
    client: Any,
    candidate: Candidate,
    store_path: str,
    rules: PairingRules,
    landcover: LandCover | None,
    run_name: str,
) -> dict[str, int]:
    """Align one scene pair, cut it into the store, commit; a bad scene becomes a refusal."""
    from geo.decisions import failed_row, scenes_digest, scenes_row
    from geo.pairrow import scenes_identity
    from geo.pairstore import PairStore

    store = PairStore.open(store_path)
    done = store.known(scenes_digest(candidate, rules))
    if done.get(scenes_identity(candidate.satellite.id, candidate.aerial.id)) == "scenes":
        say("ingest:   known already, nothing to do")
        return {}
    try:
        alignment = _align(client, candidate, rules)
    except GeoError as error:
        say(f"ingest:   refused: {error}")
        store.commit([failed_row(candidate, error, rules, run_name)], run_name)
        return {"rejected": 1}
    last = scenes_row(candidate, alignment, rules, run_name)
    if not alignment.accepted:
        say(f"ingest:   refused: {alignment.reason} ({_versus(alignment)})")
        store.commit([last], run_name)
        return {"rejected": 1}
    say(
        f"ingest:   shift {alignment.dy_px:+.2f}, {alignment.dx_px:+.2f} px (down, right), "
        f"reliability {alignment.reliability:.2f}, correlation {alignment.correlation:.3f}"
    )
    try:
        counts = _cut(client, candidate, alignment, store, rules, landcover, run_name)
    except GeoError as error:  # a file that breaks off in the middle: what is committed stays
        say(f"ingest:   stopped: {error}")
        store.commit([failed_row(candidate, error, rules, run_name)], run_name)
        return {"rejected": 1}
    store.commit([last], run_name)
    say(f"ingest:   {_say_counts(counts)}")
    return dict(counts)


def _align(client: Any, candidate: Candidate, rules: PairingRules) -> Any:
    """Register and harmonise on a worker."""
    from geo.pairing import align_pair, inspect_pair

    return client.submit(
        lambda: align_pair(inspect_pair(candidate, rules), rules), pure=False
    ).result()


def _cut(
    client: Any,
    candidate: Candidate,
    alignment: Any,
    store: PairStore,
    rules: PairingRules,
    landcover: LandCover | None,
    run_name: str,
) -> Counter[str]:
    """Cut blocks of cells on the workers and commit their rows in batches."""
    from geo.pairing import BlockJob, blocks_of, inspect_pair, pair_block, unknown_cells

    pair = inspect_pair(candidate, rules)
    cells = unknown_cells(pair, rules, store.known(rules.digest))
    jobs = (
        BlockJob(
            pair=pair,
            alignment=alignment,
            rules=rules,
            cells=tuple(block),
            store=str(store.path),
            split_rule=store.config.split,
            landcover=landcover,
            run_name=run_name,
        )
        for block in blocks_of(cells)
    )
    progress = Progress("ingest", len(cells), "chips")
    counts: Counter[str] = Counter()
    waiting: list[Row] = []
    for rows in run_all(client, pair_block, jobs):
        waiting += rows
        progress.add(len(rows))
        counts.update(row.get("reason") or "pairs" for row in rows)
        if len(waiting) >= _ROWS_A_COMMIT:
            store.commit(waiting, run_name)
            waiting = []
    store.commit(waiting, run_name)
    return counts


def _read_landcover(path: str | None) -> LandCover | None:
    from geo.landcover import LandCover

    return LandCover.read(path) if path else None


def _commit_refusals(
    store: PairStore,
    found: dict[str, tuple[list[Scene], list[Refusal]]],
    rejections: Iterable[Any],
    rules: PairingRules,
    run_name: str,
) -> None:
    """List what never became a candidate."""
    from geo.decisions import match_row, refusal_row

    rows = [match_row(rejection, rules, run_name) for rejection in rejections]
    for side, (_, refusals) in found.items():
        for refusal in refusals:
            say(f"ingest: refused {side} {refusal.id}: {refusal.reason}: {refusal.detail}")
            rows.append(refusal_row(refusal, side, rules, run_name))
    store.commit(rows, run_name)


def _estimate(
    config: IngestConfig, candidates: list[Candidate], rejections: list[Any], rules: PairingRules
) -> dict[str, Any]:
    """What a run would read and write, from the catalogue and file headers alone."""
    from geo.pairing import cells_of, inspect_pair

    cells, pixels, refused = 0, 0, Counter(r.reason for r in rejections)
    for candidate in candidates:
        try:
            pair = inspect_pair(candidate, rules)
        except GeoError as error:
            refused[str(error.facts.get("cause", "unreadable"))] += 1
            continue
        cells += len(cells_of(pair, rules))
        pixels += (pair.area[0].stop - pair.area[0].start) * (
            pair.area[1].stop - pair.area[1].start
        )
    size = config.lr_size**2 * len(rules.bands) * 2
    result = {
        "dry_run": True,
        "scene_pairs": len(candidates),
        "chips_at_most": cells,
        "megabytes_at_most": round(cells * size * (1 + config.scale**2) / 1e6, 1),
        "satellite_megapixels": round(pixels / 1e6, 2),
        "rejected": dict(refused),
        "bands": list(rules.bands),
    }
    say(
        f"ingest (dry run): {len(candidates)} scene pairs, at most {cells} pairs, "
        f"{result['megabytes_at_most']} MB before compression"
    )
    return result


def _result(store: PairStore, before: int) -> dict[str, Any]:
    summary = store.summary()
    return {
        "store": str(store.path),
        "pairs_added": summary["pairs"] - before,
        "pairs_total": summary["pairs"],
        "rejected": summary["rejected"],
        "splits": summary["splits"],
        "categories": summary["categories"],
        "version": summary["version"],
        "digest": summary["digest"],
        "config": store.config.to_dict(),
    }


def _count_pairs(store: PairStore) -> int:
    return int(store.rows(kind="pair", columns=[]).num_rows)


def _run_name() -> str:
    return str(getattr(get_run_context(), "flow_run").name)  # noqa: B009 - typed as either context


def _versus(alignment: Any) -> str:
    value = "none" if alignment.value is None else f"{alignment.value:.2f}"
    return f"{value} against a limit of {alignment.limit:g}"


def _say_counts(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
