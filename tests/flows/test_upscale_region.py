from __future__ import annotations

from datetime import UTC, datetime

import shapely

from flows.upscale_region import scenes_used
from geo.catalog.scene import Scene


def scene(name: str) -> Scene:
    time = datetime(2026, 6, 1, tzinfo=UTC)
    return Scene(id=name, time=time, footprint=shapely.box(0, 0, 1, 1), assets={})


def test_an_output_derives_from_the_scenes_that_have_pixels_in_it_alone() -> None:
    scenes = [scene("best"), scene("hidden"), scene("filler")]
    shares = [
        {"id": "best", "pixels": 90},
        {"id": "hidden", "pixels": 0},
        {"id": "filler", "pixels": 10},
    ]
    assert [s.id for s in scenes_used(scenes, shares)] == ["best", "filler"]
    assert scenes_used(scenes[:1], []) == scenes[:1]
