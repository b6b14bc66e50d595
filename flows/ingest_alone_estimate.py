"""What an ingest without partners would cut, from catalogues and file headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.ingest_report import write_map
from flows.runtime import run_all
from geo.errors import GeoError

if TYPE_CHECKING:
    import shapely

    from flows.ingest_form import Form
    from flows.ingest_settings import IngestConfig
    from flows.ingest_sources import Found
    from geo.catalog.scene import Scene
    from geo.lone_scene import LoneRules
    from geo.pairmap.expect import LoneExpectation


def estimate_alone(
    client: Any,
    config: IngestConfig,
    found: Found,
    scenes: Sequence[tuple[str, Scene, shapely.Geometry]],
    refused: Sequence[tuple[str, Scene, str]],
    rules: LoneRules,
    form: Form | None,
) -> dict[str, Any]:
    """Answer a dry run; draws the map when the configuration names a folder for it."""
    looked = dict(run_all(client, _look, ((i, *scenes[i], rules) for i in range(len(scenes)))))
    reasons = Counter(reason for _, _, reason in refused)
    reasons.update(r.reason for side in found.refusals.values() for r in side)
    expected: dict[int, LoneExpectation] = {}
    for index, (_, scene, _) in enumerate(scenes):
        result = looked[index]
        if isinstance(result, GeoError):
            reasons[str(result.facts.get("cause", "unreadable"))] += 1
            say(f"ingest: refused {scene.id}: {result}")
        else:
            expected[index] = result
    chips: Counter[str] = Counter()
    for index, expectation in expected.items():
        chips[scenes[index][0]] += len(expectation.cells)
    answer: dict[str, Any] = {
        "dry_run": True,
        "alone": True,
        "derived": rules.derived,
        "satellite_scenes": len(found.scenes["satellite"]),
        "aerial_scenes": len(found.scenes["aerial"]),
        "scenes": len(expected),
        "chips_at_most": {side: chips[side] for side in ("lr", "hr")},
        "megabytes_at_most": round(sum(e.write_bytes for e in expected.values()) / 1e6, 1),
        "megabytes_to_read": round(sum(e.read_bytes for e in expected.values()) / 1e6, 1),
        "rejected": dict(sorted(reasons.items())),
        "bands": list(rules.pairing.bands),
        "dtype": None if form is None else form.dtype,
        "lr_pixel_m": rules.pixel_m,
        "table": [],
    }
    _draw(config, found, scenes, refused, expected, answer)
    return answer


def _look(
    job: tuple[int, str, Scene, shapely.Geometry, LoneRules],
) -> tuple[int, LoneExpectation | GeoError]:
    """Headers of one scene, on a worker."""
    from geo.lone_scene import inspect_alone
    from geo.pairmap.expect import expect_alone

    index, side, scene, ground, rules = job
    try:
        lone = inspect_alone(scene, side, ground, rules.pairing, rules.pixel_m)
        return index, expect_alone(lone, rules.pairing)
    except GeoError as error:
        return index, error


def _draw(
    config: IngestConfig,
    found: Found,
    scenes: Sequence[tuple[str, Scene, shapely.Geometry]],
    refused: Sequence[tuple[str, Scene, str]],
    expected: dict[int, LoneExpectation],
    answer: dict[str, Any],
) -> None:
    from geo.pairmap.content import lone_entry, map_of_plan
    from geo.pairmap.table import as_text, head_of, table_of
    from geo.pairstore.rows import scene_ids

    refusals: list[dict[str, Any]] = []
    for side, scene, reason in refused:
        satellite, aerial = scene_ids(side, scene.id)
        refusals.append({"satellite": satellite, "aerial": aerial, "reason": reason})
    for name, those in found.refusals.items():
        for r in those:
            empty = {"satellite": "", "aerial": ""}
            refusals.append({**empty, name: r.id, "reason": r.reason, "detail": r.detail})
    sources = " and ".join(filter(None, (config.satellite, config.aerial)))
    content = map_of_plan(
        f"What would be cut: {sources}",
        found.scenes,
        [],
        [e.corners for e in expected.values()],
        [{"value": None, "limit": None, "detail": "", **r} for r in refusals],
        alone=[lone_entry(scenes[i][1], scenes[i][0], scenes[i][2]) for i in expected],
    )
    answer["table"] = as_text(table_of(content), head_of(content))
    if config.map_dir is not None:
        answer["map"] = write_map(content, Path(config.map_dir), "dry-run")
