"""The table of scenes is refreshed by what is new: of folders, static catalogues and APIs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from geo.catalog import folder as folder_module
from geo.catalog.http import HttpRules
from geo.catalog.query import SceneQuery
from geo.catalog.refresh import RefreshCounts, refresh_scenes
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError
from tests.geo.catalogs import facts, item
from tests.servers.stac_server import Faults, StacServer

QUICK = HttpRules(first_wait_s=0.01, longest_wait_s=1.0, read_timeout_s=0.2, attempts=5)


class TestFolder:
    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Rasters that were opened."""
        seen: list[str] = []
        inspect: Callable[[str], Any] = folder_module.inspect_raster

        def spy(href: str) -> Any:
            seen.append(Path(href).name)
            return inspect(href)

        monkeypatch.setattr(folder_module, "inspect_raster", spy)
        return seen

    def test_only_what_is_new_or_changed_is_opened(
        self, rasters: ModuleType, tmp_path: Path, opened: list[str]
    ) -> None:
        folder, table = tmp_path / "in", tmp_path / "scenes.parquet"

        def place(name: str, **options: Any) -> Path:
            image = np.full((1, 12, 15), 7, "uint16")
            return Path(rasters.write(folder / name, image, rasters.grid((12, 15)), **options))

        def refresh() -> Any:
            opened.clear()
            scenes, refusals, counts = refresh_scenes(str(folder), table)
            assert facts((scenes, refusals)) == facts(read_scenes(str(folder)))
            return [s.id for s in scenes], [r.id for r in refusals], counts

        first, second = place("a_20230815.tif"), place("b_20230816.tif")
        (folder / "bad_20230817.tif").write_text("no raster")
        assert refresh() == (
            ["a_20230815", "b_20230816"],
            ["bad_20230817"],
            RefreshCounts(new=3),
        )
        before = table.read_bytes()
        opened.clear()
        _, _, counts = refresh_scenes(str(folder), table)
        assert (opened, counts) == ([], RefreshCounts(kept=3))
        assert table.read_bytes() == before

        place("c_20230818.tif")
        place("b_20230816.tif", bands=("red",))
        opened.clear()
        _, _, counts = refresh_scenes(str(folder), table)
        assert sorted(opened) == ["b_20230816.tif", "c_20230818.tif"]
        assert counts == RefreshCounts(new=1, changed=1, kept=2)

        first.unlink()
        second.with_suffix(".json").write_text('{"datetime": "2023-09-01T10:00:00Z"}')
        ids, bad, counts = refresh()
        assert ids == ["c_20230818", "b_20230816"]
        assert bad == ["bad_20230817"]
        assert counts == RefreshCounts(changed=1, kept=2, gone=1)

        place("b_20230816_SCL.tif")
        _, _, counts = refresh()
        assert counts.changed == 1, "a mask beside changes its scene"

    def test_a_touched_file_is_opened_once_more(
        self, rasters: ModuleType, tmp_path: Path, opened: list[str]
    ) -> None:
        folder, table = tmp_path / "in", tmp_path / "scenes.parquet"
        path = folder / "a_20230815.tif"
        rasters.write(path, np.ones((1, 12, 15), "uint8"), rasters.grid((12, 15)))
        refresh_scenes(str(folder), table)
        os.utime(path, (1, 1))
        for want in (["a_20230815.tif"], []):
            opened.clear()
            assert refresh_scenes(str(folder), table)[2] == RefreshCounts(kept=1)
            assert opened == want

    def test_another_source_makes_the_table_anew(self, rasters: ModuleType, tmp_path: Path) -> None:
        for name in ("one", "two"):
            rasters.write(
                tmp_path / name / f"{name}_20230815.tif",
                np.ones((1, 12, 15), "uint8"),
                rasters.grid((12, 15)),
            )
        table = tmp_path / "scenes.parquet"
        refresh_scenes(str(tmp_path / "one"), table)
        scenes, _, counts = refresh_scenes(str(tmp_path / "two"), table)
        assert [s.id for s in scenes] == ["two_20230815"]
        assert counts == RefreshCounts(new=1)


class TestStatic:
    def write(self, folder: Path, records: list[Any]) -> None:
        folder.mkdir(exist_ok=True)
        links = [{"rel": "item", "href": f"./{r['id']}.json"} for r in records]
        for record in records:
            path = folder / f"{record['id']}.json"
            text = json.dumps(record)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        collection = {"type": "Collection", "stac_version": "1.1.0", "id": "c", "links": links}
        (folder / "collection.json").write_text(json.dumps(collection))

    @pytest.mark.parametrize("faults", [None, Faults(share=0.5, stall_s=0.3)])
    def test_a_web_catalogue_sends_only_what_changed(
        self, tmp_path: Path, faults: Faults | None
    ) -> None:
        folder, table = tmp_path / "c", tmp_path / "scenes.parquet"
        records = [item(f"s{n}", n) for n in range(6)]
        self.write(folder, records)
        with StacServer(folder, faults=faults) as server:
            source = f"{server.files}/collection.json"
            assert refresh_scenes(source, table, http=QUICK)[2] == RefreshCounts(new=6)
            records[2]["properties"]["eo:cloud_cover"] = 50.0
            self.write(folder, [*records[:5], item("new", 9)])
            scenes, refusals, counts = refresh_scenes(source, table, http=QUICK)
            assert counts == RefreshCounts(new=1, changed=1, kept=4, gone=1)
            assert facts((scenes, refusals)) == facts(read_scenes(source, http=QUICK))

    def test_an_item_out_of_reach_stays_as_it_was(self, tmp_path: Path) -> None:
        folder, table = tmp_path / "c", tmp_path / "scenes.parquet"
        self.write(folder, [item(f"s{n}", n) for n in range(3)])
        faults = Faults()
        with StacServer(folder, faults=faults) as server:
            object.__setattr__(faults, "of", lambda key, attempt: None)
            source = f"{server.files}/collection.json"
            refresh_scenes(source, table, http=QUICK)
            object.__setattr__(
                faults, "of", lambda key, attempt: "unavailable" if "s1" in key else None
            )
            scenes, refusals, counts = refresh_scenes(source, table, http=QUICK)
            assert [s.id for s in scenes] == ["s0", "s1", "s2"]
            assert (refusals, counts) == ([], RefreshCounts(kept=3))
            table.unlink()
            scenes, refusals, _ = refresh_scenes(source, table, http=QUICK)
            assert ([s.id for s in scenes], refusals[0].reason) == (["s0", "s2"], "unreachable")
            object.__setattr__(faults, "of", lambda key, attempt: None)
            scenes, refusals, _ = refresh_scenes(source, table, http=QUICK)
            assert (len(scenes), refusals) == (3, []), "what may pass is tried again"


class TestApi:
    def test_only_what_is_new_is_asked_for(self, tmp_path: Path) -> None:
        table = tmp_path / "scenes.parquet"
        items = [item(f"s{n}", n, updated=n) for n in range(20)]
        with StacServer(tmp_path, {"made": items}) as server:
            source = f"stac-api:{server.api}#made"
            assert refresh_scenes(source, table, http=QUICK)[2] == RefreshCounts(new=20)
            server.searches.clear()
            items[3] = item("s3", 3, updated=30, **{"eo:cloud_cover": 1.0})
            items.append(item("late", 1, updated=31))
            scenes, _, counts = refresh_scenes(source, table, http=QUICK)
            (asked,) = server.searches
            assert asked["query"] == {"updated": {"gte": "2023-08-20T04:00:00Z"}}
            assert counts == RefreshCounts(new=1, changed=1, kept=19)
            assert facts((scenes, [])) == facts(read_scenes(source, http=QUICK))
            assert facts(read_scenes(str(table))) == facts((scenes, []))

    def test_without_times_of_update_the_last_weeks_are_asked_for(self, tmp_path: Path) -> None:
        table = tmp_path / "scenes.parquet"
        items = [item(f"s{n}", n * 10) for n in range(20)]
        with StacServer(tmp_path, {"made": items}, can_query=False) as server:
            source = f"stac-api:{server.api}#made"
            refresh_scenes(source, table, http=QUICK)
            server.searches.clear()
            items.append(item("late", 195))
            scenes, _, counts = refresh_scenes(source, table, http=QUICK)
            assert server.searches[0]["datetime"] == "2023-12-09T10:00:00Z/.."
            assert counts == RefreshCounts(new=1, kept=20)
            assert len(scenes) == 21

    def test_what_was_withdrawn_is_noticed_when_asked_for_everything(self, tmp_path: Path) -> None:
        table = tmp_path / "scenes.parquet"
        items = [item(f"s{n}", n, updated=n) for n in range(5)]
        with StacServer(tmp_path, {"made": items}) as server:
            source = f"stac-api:{server.api}#made"
            refresh_scenes(source, table, http=QUICK)
            del items[2]
            assert len(refresh_scenes(source, table, http=QUICK)[0]) == 5
            scenes, _, counts = refresh_scenes(source, table, whole=True, http=QUICK)
            assert len(scenes) == 4
            assert counts == RefreshCounts(kept=4, gone=1)
            assert len(refresh_scenes(source, table, http=QUICK)[0]) == 4

    def test_another_query_asks_anew(self, tmp_path: Path) -> None:
        table = tmp_path / "scenes.parquet"
        items = [item(f"s{n}", n, updated=n) for n in range(5)]
        with StacServer(tmp_path, {"made": items}) as server:
            source = f"stac-api:{server.api}#made"
            narrow = SceneQuery(end=datetime(2023, 8, 2, 12))
            assert len(refresh_scenes(source, table, narrow, http=QUICK)[0]) == 2
            assert len(refresh_scenes(source, table, http=QUICK)[0]) == 5

    def test_a_server_that_is_down_leaves_the_table(self, tmp_path: Path) -> None:
        table = tmp_path / "scenes.parquet"
        with StacServer(tmp_path, {"made": [item("a", updated=0)]}) as server:
            source = f"stac-api:{server.api}#made"
            refresh_scenes(source, table, http=QUICK)
        before = table.read_bytes()
        with pytest.raises(CatalogError):
            refresh_scenes(source, table, http=QUICK)
        assert table.read_bytes() == before


def test_a_table_of_a_real_folder(shared_data: Path, tmp_path: Path) -> None:
    """Whatever lies in a folder: the second look opens nothing and tells the same."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in (shared_data / "odd").iterdir():
        shutil.copy(path, folder / f"{path.stem}_20230815{path.suffix}")
    table = tmp_path / "scenes.parquet"
    first = refresh_scenes(str(folder), table)
    second = refresh_scenes(str(folder), table)
    assert facts(first) == facts(second) == facts(read_scenes(str(folder)))
    assert second[2] == RefreshCounts(kept=first[2].new)
