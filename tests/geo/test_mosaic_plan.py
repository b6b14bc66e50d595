"""Which scenes make a mosaic, in which order; the others say why they do not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from geo.catalog.scene import Scene
from geo.errors import CatalogError
from geo.mosaic_plan import MosaicRules
from tests.geo import rasters
from tests.geo.mosaics import (
    ALL,
    DAY_0,
    GRID,
    classes,
    flat,
    lonlat,
    order,
    plan,
    reasons,
    write_scene,
)


class TestOrder:
    def test_least_cloud_then_nearest_date(self, tmp_path: Path) -> None:
        def scene(name: str, share: float, days: float) -> Scene:
            rows = round(share * GRID.shape.y)
            scl = classes(cloud=(slice(0, rows), slice(0, 80)))
            return write_scene(tmp_path, name, flat(GRID, 1), GRID, scl=scl, days=days)

        scenes = [
            scene("clear, far", 0, 40),
            scene("nearly clear, near", 0.03, 1),
            scene("some cloud, near", 0.2, 0),
            scene("overcast", 0.9, 0),
            scene("clear, farther", 0, -60),
        ]
        wanted = [
            "nearly clear, near",
            "clear, far",
            "clear, farther",
            "some cloud, near",
            "overcast",
        ]
        assert order(plan(scenes, near=DAY_0).source) == wanted
        assert order(plan(scenes[::-1], near=DAY_0).source) == wanted

    def test_without_a_date_the_clearest_scene_sets_it(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, name, flat(GRID, 1), GRID, days=days, cloud=cloud)
            for name, days, cloud in [("a", 0, 0.3), ("b", 50, 0.0), ("c", 90, 0.3), ("d", 55, 0.3)]
        ]
        assert order(plan(scenes).source) == ["b", "d", "c", "a"]

    def test_masks_over_the_area_beat_the_catalogue(self, tmp_path: Path) -> None:
        """A scene that is overcast elsewhere is clear here, and the other way round."""
        here = (slice(0, 60), slice(0, 40))
        there = (slice(0, 60), slice(42, 80))
        scenes = [
            write_scene(
                tmp_path, "overcast elsewhere", flat(GRID, 1), GRID, cloud=0.9,
                scl=classes(cloud=there),
            ),
            write_scene(
                tmp_path, "overcast here", flat(GRID, 2), GRID, cloud=0.0, scl=classes(cloud=here)
            ),
        ]  # fmt: skip
        area = lonlat(GRID, slice(5, 55), slice(2, 38))
        found = plan(scenes, area, max_cloud=0.5)
        assert order(found.source) == ["overcast elsewhere"]
        assert reasons(found) == {"overcast here": "cloud"}
        assert found.source.scenes[0].cloud_fraction == 0
        assert found.source.scenes[0].cloud_measured
        assert "100% cloud over the area by its masks" in found.refusals[0].detail

    def test_unknown_cloud_counts_as_middling(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, name, flat(GRID, 1), GRID, cloud=cloud)
            for name, cloud in [("cloudy", 0.6), ("unknown", None), ("fair", 0.2)]
        ]
        assert order(plan(scenes).source) == ["fair", "unknown", "cloudy"]

    def test_scenes_that_can_fill_next_to_nothing_are_left_out(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, f"s{i:02}", flat(GRID, i + 1), GRID, days=i) for i in range(10)
        ]
        found = plan(scenes, near=DAY_0, looks=3)
        assert order(found.source) == [f"s{i:02}" for i in range(8)]  # looked at side by side
        assert reasons(found) == {"s08": "not_needed", "s09": "not_needed"}


class TestRefusals:
    def test_each_scene_says_why(self, tmp_path: Path) -> None:
        far = rasters.grid((60, 80), left=600_000.0)
        empty = flat(GRID, 0)
        broken = tmp_path / "broken.tif"
        scenes = [
            write_scene(tmp_path, "good", flat(GRID, 7), GRID, cloud=0.1),
            write_scene(tmp_path, "good too", flat(GRID, 8), GRID, cloud=0.1, scl=classes()),
            write_scene(tmp_path, "far", flat(far, 7), far),
            write_scene(tmp_path, "overcast", flat(GRID, 7), GRID, cloud=0.95),
            write_scene(tmp_path, "no nir", flat(GRID, 7), GRID, bands=("red", "green")),
            write_scene(tmp_path, "broken", flat(GRID, 7), GRID),
            write_scene(tmp_path, "floats", flat(GRID, 7, "float32"), GRID),
            write_scene(tmp_path, "misplaced", flat(far, 7), far, footprint=lonlat(GRID, *ALL)),
            write_scene(tmp_path, "bright", flat(GRID, 40), GRID, offset_dn=-1000),
            write_scene(
                tmp_path, "nothing", empty, GRID, scl=classes(nothing=(slice(0, 60), slice(0, 80)))
            ),
        ]
        broken.write_bytes(b"no raster")
        found = plan(scenes, lonlat(GRID, *ALL), max_cloud=0.8)
        assert sorted(order(found.source)) == ["good", "good too"]
        assert reasons(found) == {
            "far": "no_overlap",
            "overcast": "cloud",
            "no nir": "missing_band",
            "broken": "unreadable",
            "floats": "other_dtype",
            "misplaced": "footprint_mismatch",
            "bright": "doubtful_offset",
            "nothing": "nodata",
        }
        assert all(refusal.detail and refusal.href for refusal in found.refusals)

    def test_other_units_are_not_mixed(self, tmp_path: Path) -> None:
        import rasterio

        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, days=d) for d, n in enumerate("abc")
        ]
        with rasterio.open(scenes[2].assets["data"].href, "r+") as file:
            file.scales = (0.0001, 0.0001)
        found = plan(scenes)
        assert order(found.source) == ["b", "a"]
        assert reasons(found) == {"c": "other_scale"}

    def test_with_none_left_the_reasons_are_told(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, cloud=0.9, days=d)
            for d, n in enumerate("ab")
        ]
        told = (
            r"no scene of 2 can be used: 2 cloud \(b: 90% .* 50% at most\); .* a higher cloud limit"
        )
        with pytest.raises(CatalogError, match=told) as caught:
            plan(scenes, max_cloud=0.5)
        assert [refusal.id for refusal in caught.value.facts["refusals"]] == ["b", "a"]
        pickle.loads(pickle.dumps(caught.value))

    @pytest.mark.parametrize(
        ("rules", "told"),
        [
            ({"crs": "EPSG:nonsense"}, "crs"),
            ({"gsd_m": 0}, "gsd_m"),
            ({"max_cloud": 30}, "share from 0 to 1"),
            ({"near": DAY_0.replace(tzinfo=None)}, "zone"),
            ({"looks": 0}, "looks"),
        ],
    )
    def test_rules_check_themselves(self, rules: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=told):
            MosaicRules(**rules)
