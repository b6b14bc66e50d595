"""Scenes without partners into a store: each side on its own, the same whoever works and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_bounds
from typer.testing import CliRunner

from flows.cli import app
from flows.errors import UsageError
from flows.ingest_alone_line import LoneLine, LoneOutcome
from flows.ingest_derive import find_deriver
from flows.ingest_settings import IngestConfig
from flows.runtime import dask_client
from geo.catalog.sources import read_scenes
from geo.decisions import PairingRules
from geo.lone_scene import LoneRules
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import BUCKETED_BY
from geo.pairstore.store import PairStore
from geo.pairstore.verify import verify_store
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes

BANDS = ("red", "green", "blue")
RULES = LoneRules(pairing=PairingRules(bands=BANDS, lr_size=16), pixel_m=4.0, coloured=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One aerial scene and three dates, of which the last lies under clouds."""
    folder = tmp_path_factory.mktemp("made") / "scenes"
    dates = (
        SatelliteDate(gap_days=3, cloud_fraction=0.3),
        SatelliteDate(gap_days=400),
        SatelliteDate(gap_days=9, cloud_fraction=0.85),
    )
    make_scenes(folder, ScenesConfig(width_px=680, height_px=664, dates=dates))
    return folder


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with dask_client(2) as client:
        yield client


def run(*words: object) -> dict[str, Any]:
    """What a command prints."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def satellites(made: Path) -> list[Any]:
    scenes = read_scenes(str(made / "satellite"))[0]
    return [("lr", scene, scene.footprint) for scene in scenes]


def cut_all(client: Any, store: PairStore, scenes: list[Any], **more: Any) -> list[LoneOutcome]:
    options = {"colours": None, "landcover": None, "run_name": "run"} | more
    line = LoneLine(client, store, scenes, RULES, **options)
    list(line)
    line.flush()
    return line.outcomes


def new_store(path: Path) -> PairStore:
    return PairStore.create_or_open(path, StoreConfig(bands=BANDS, lr_size=16))


class TestLine:
    def test_the_store_depends_neither_on_workers_nor_on_the_order(
        self, client: Any, made: Path, tmp_path: Path
    ) -> None:
        many, one = new_store(tmp_path / "many"), new_store(tmp_path / "one")
        outcomes = cut_all(client, many, satellites(made))
        with dask_client(1) as alone:
            cut_all(alone, one, satellites(made)[::-1])
        assert many.chips_digest() == one.chips_digest()
        assert many.summary()["rejected"] == one.summary()["rejected"]
        states = {o.scene.id: (o.state, o.reason) for o in outcomes}
        assert sorted(states.values(), key=str) == [("cut", None)] * 2 + [("refused", "cloud")]
        kept = sum(o.counts["kept"] for o in outcomes)
        assert kept == sum(many.summary()["chips"]["lr"].values()) > 20
        assert verify_store(many).is_well

    def test_a_second_run_finds_nothing_to_do(
        self, client: Any, made: Path, tmp_path: Path
    ) -> None:
        store = new_store(tmp_path / "store")
        cut_all(client, store, satellites(made))
        version = store.version
        outcomes = cut_all(client, store, satellites(made))
        assert {o.state for o in outcomes} == {"known"}
        assert store.version == version

    def test_a_wider_area_adds_only_what_is_new(
        self, client: Any, made: Path, tmp_path: Path
    ) -> None:
        _, scene, whole = satellites(made)[0]
        west, south, east, north = whole.bounds
        half = whole.intersection(shapely.box(west, south, (west + east) / 2, north))
        grown, direct = new_store(tmp_path / "grown"), new_store(tmp_path / "direct")
        cut_all(client, grown, [("lr", scene, half)])
        some = sum(grown.summary()["chips"]["lr"].values())
        (outcome,) = cut_all(client, grown, [("lr", scene, whole)])
        cut_all(client, direct, [("lr", scene, whole)])
        assert grown.chips_digest() == direct.chips_digest()
        assert 0 < outcome.counts["kept"] < outcome.counts["kept"] + some

    def test_a_bad_file_stops_no_other_and_is_tried_again(
        self, client: Any, made: Path, tmp_path: Path
    ) -> None:
        good, bad = (s for s in satellites(made) if s[1].cloud_fraction < 0.5)
        name, asset = next((k, a) for k, a in bad[1].assets.items() if "data" in a.roles)
        file = tmp_path / "cut.tif"
        whole = Path(asset.href).read_bytes()
        file.write_bytes(whole[: len(whole) * 2 // 3])
        assets = {**bad[1].assets, name: replace(asset, href=str(file))}
        broken = ("lr", replace(bad[1], assets=assets), bad[2])
        store, undisturbed = new_store(tmp_path / "store"), new_store(tmp_path / "undisturbed")
        outcomes = cut_all(client, store, [broken, good])
        assert [(o.state, o.reason) for o in outcomes] == [("failed", "unreadable"), ("cut", None)]
        mended = cut_all(client, store, [bad, good])
        assert [o.state for o in mended] == ["cut", "known"]
        cut_all(client, undisturbed, [bad, good])
        assert store.chips_digest() == undisturbed.chips_digest()
        assert store.summary()["rejected"] == undisturbed.summary()["rejected"]

    def test_other_numbers_are_a_refusal_and_not_a_mixture(
        self, client: Any, made: Path, tmp_path: Path
    ) -> None:
        config = StoreConfig(bands=BANDS, lr_size=16, dtype="uint8", data_range=255.0)
        store = PairStore.create_or_open(tmp_path / "bytes", config)
        outcomes = cut_all(client, store, satellites(made)[:1])
        assert (outcomes[0].state, outcomes[0].reason) == ("failed", "other_dtype")
        assert not store.summary()["chips"]["lr"]


class TestSettings:
    def test_pairs_want_both_sides_and_chips_one(self) -> None:
        with pytest.raises(UsageError, match="--aerial missing: pairs want both"):
            IngestConfig(satellite="a", store="s")
        with pytest.raises(UsageError, match="both missing"):
            IngestConfig(store="s", unpaired=True)
        with pytest.raises(UsageError, match="--dates-per-chip is for pairs"):
            IngestConfig(satellite="a", store="s", unpaired=True, dates_per_chip=2)
        assert IngestConfig(aerial="a", store="s", unpaired=True).alone

    def test_what_is_derived_is_derived_of_something(self) -> None:
        with pytest.raises(UsageError, match="LR images are derived of aerial ones"):
            IngestConfig(satellite="a", store="s", degrade="sensor")
        with pytest.raises(UsageError, match="wanted one"):
            IngestConfig(aerial="a", store="s", degrade="sensor", unpaired=True)
        assert IngestConfig(aerial="a", store="s", degrade="sensor").alone
        with pytest.raises(UsageError, match="'blur'; wanted sensor, models:"):
            find_deriver("blur")


@pytest.fixture(scope="module")
def paired(services: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    store = tmp_path_factory.mktemp("derived") / "store"
    sides = ("--satellite", made / "satellite", "--aerial", made / "aerial")
    split = ("--split-block", 1, "--split-buffer", 0)
    run("ingest", *sides, "--store", store, "--lr-size", 16, *split)
    return PairStore.open(store)


def save_untrained(folder: Path, **settings: Any) -> Path:
    """A degrader that is the mean over LR pixels."""
    from models.degrade import DegraderCard, save_degrader
    from models.degrader import Degrader

    values = {"scale": 4, "bands": BANDS, "data_range": 10_000.0, **settings}
    network = Degrader(bands=len(values["bands"]), scale=values["scale"], channels=4, blocks=1)
    card = DegraderCard(channels=4, blocks=1, halo=network.halo, **values)
    save_degrader(folder, network, card)
    return folder


@pytest.fixture(scope="module")
def degrader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("degrader") / "degrader")


@pytest.mark.slow
class TestDerivedPairs:
    """An aerial archive beside true pairs of the same ground."""

    @staticmethod
    def degrade(store: PairStore, made: Path, by: object = "sensor") -> dict[str, Any]:
        words = ("--degrade", by, "--aerial", made / "aerial", "--store", store.url)
        return run("ingest", *words, "--lr-size", 16)

    def test_they_are_like_true_ones_and_for_training_alone(
        self, paired: PairStore, made: Path
    ) -> None:
        store = paired
        before = store.summary()
        found = self.degrade(store, made)
        after = store.summary()
        new = found["derived_added"]
        assert new == after["derived"]["sensor"] == found["pairs_added"] > 10
        held_out = {s: after["splits"][s] for s in ("val", "test")}
        assert held_out == {s: before["splits"][s] for s in ("val", "test")}
        assert after["splits"]["train"] == before["splits"]["train"] + new
        assert found["refused"]["held_out"] > 0
        rows = store.rows(kind="pair", columns=["derived"])["derived"].to_pylist()
        pairs = store.reader().read(range(len(rows)))
        made_of = [
            np.stack([p.lr for p, d in zip(pairs, rows, strict=True) if (d is None) is true])
            for true in (True, False)
        ]
        true, derived = (x.astype(float) for x in made_of)
        np.testing.assert_allclose(derived.mean((0, 2, 3)), true.mean((0, 2, 3)), rtol=0.15)
        np.testing.assert_allclose(derived.std((0, 2, 3)), true.std((0, 2, 3)), rtol=0.25)
        assert verify_store(store).is_well

    def test_a_second_run_adds_nothing_and_another_store_the_same(
        self, paired: PairStore, made: Path
    ) -> None:
        store = paired
        self.degrade(store, made)
        version, digest = store.version, store.digest()
        again = self.degrade(store, made)
        assert (again["derived_added"], again["version"]) == (0, version)
        assert store.digest() == digest
        derived = store.rows(where="derived IS NOT NULL").to_pylist()
        gone = [
            {name: row[name] for name in ("identity", "kind", "settings_digest", *BUCKETED_BY)}
            for row in derived
        ]
        scenes = store.rows(where="side = 'hr' AND \"row\" IS NULL").to_pylist()
        store.index.commit([], "test", forget=[*gone, *scenes])  # as if they had been damaged
        assert self.degrade(store, made)["derived_added"] == len(derived)
        assert store.digest() == digest, "noise and all"

    def test_a_degrader_that_was_trained_takes_the_place_of_the_sensor_model(
        self, paired: PairStore, made: Path, degrader: Path
    ) -> None:
        store = paired
        before = self.degrade(store, made)["version"]
        places = store.summary(before)["derived"]["sensor"]
        self.degrade(store, made, degrader)
        (name,) = store.summary()["derived"]
        assert name.startswith("degrader-4x1-x4@")
        assert store.summary()["derived"][name] == places
        digest = store.digest()
        assert self.degrade(store, made, degrader)["derived_added"] == 0
        assert store.digest() == digest
        rows = store.rows(kind="pair", columns=["derived"])["derived"].to_pylist()
        pairs = store.reader().read(range(len(rows)))
        for pair, derived in zip(pairs, rows, strict=True):
            if derived is not None and pair.valid.all():  # untrained, it is the mean
                mean = pair.hr.reshape(3, 16, 4, 16, 4).mean((2, 4))
                assert np.abs(mean - pair.lr).max() <= 1
        assert verify_store(store).is_well

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"scale": 2}, "scale 2 \\(the store: 4\\)"),
            ({"bands": ("red", "nir", "blue")}, "bands red, nir, blue \\(the store: red, green, b"),
            ({"data_range": 255.0}, "data range 255 \\(the store: 10000\\)"),
        ],
    )
    def test_a_degrader_of_other_imagery_is_refused(
        self, paired: PairStore, tmp_path: Path, settings: dict[str, Any], told: str
    ) -> None:
        folder = save_untrained(tmp_path / "other", **settings)
        with pytest.raises(UsageError, match=told):
            find_deriver(str(folder)).check(paired.config)


@pytest.mark.slow
class TestCommand:
    @staticmethod
    def ingest(*arguments: object) -> dict[str, Any]:
        return run("ingest", "--unpaired", *arguments, "--lr-size", 16)

    @staticmethod
    def fail(*arguments: object) -> str:
        words = ["ingest", "--unpaired", *map(str, arguments), "--lr-size", "16"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1
        return done.stderr.strip().splitlines()[-1] + done.stdout

    def test_both_sides_together_and_again(
        self, services: Path, made: Path, tmp_path: Path
    ) -> None:
        sides = ("--satellite", made / "satellite", "--aerial", made / "aerial")
        store = tmp_path / "store"
        dry = self.ingest(*sides, "--store", store, "--dry-run", "--map", tmp_path / "map")
        assert not store.exists()
        first = self.ingest(*sides, "--store", store)
        assert first["chips_total"] == first["chips_added"]
        assert 0 < first["chips_added"]["lr"] <= dry["chips_at_most"]["lr"]
        assert first["chips_added"]["hr"] == dry["chips_at_most"]["hr"] > 0
        assert first["pairs_total"] == 0
        assert Path(first["map"]["html"]).read_text().count('"alone":true') == 1
        again = self.ingest(*sides, "--store", store)
        assert (again["chips_added"], again["version"]) == ({"lr": 0, "hr": 0}, first["version"])
        reader = PairStore.open(store).reader(chips=True)
        of_side: dict[str, list[Any]] = {"lr": [], "hr": []}
        for side, pair in zip(reader.sides, reader.read(range(len(reader))), strict=True):
            assert side is not None
            of_side[side].append(getattr(pair, side).mean(axis=(1, 2)))
        lr, hr = (np.mean(of_side[side], axis=0) for side in ("lr", "hr"))
        np.testing.assert_allclose(hr, lr, rtol=0.1)

    def test_the_satellite_side_may_come_later_and_its_colours_with_it(
        self, services: Path, made: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "store"
        message = self.fail("--aerial", made / "aerial", "--store", self.of_uint16(store, made))
        assert "hold uint8" in message
        assert "give --satellite as well, or ingest the satellite side first" in message
        self.ingest("--satellite", made / "satellite", "--store", store)
        later = self.ingest("--aerial", made / "aerial", "--store", store)
        together = tmp_path / "together"
        self.ingest(
            *("--satellite", made / "satellite", "--aerial", made / "aerial", "--store", together)
        )
        assert later["chips_total"] == {
            side: sum(of.values())
            for side, of in PairStore.open(together).summary()["chips"].items()
        }
        rows = PairStore.open(store).rows(where="side = 'hr' AND kind = 'chip'").to_pylist()
        assert {row["resolution_x"] for row in rows} == {4.0}
        assert len({row["colours"] for row in rows}) == 1

    @staticmethod
    def of_uint16(store: Path, made: Path) -> Path:
        """Another store, of the satellite's numbers, that holds no image yet."""
        empty = store.with_name("empty")
        PairStore.create_or_open(empty, StoreConfig(bands=BANDS, lr_size=16))
        return empty

    def test_an_archive_alone_stays_as_it_is(
        self, services: Path, made: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "store"
        found = self.ingest("--aerial", made / "aerial", "--store", store)
        assert found["config"]["dtype"] == "uint8"
        assert found["chips_added"]["hr"] > 0
        row = PairStore.open(store).rows(kind="chip").to_pylist()[0]
        assert (row["resolution_x"], row["gains"]) == (4.0, None)
        assert self.ingest("--aerial", made / "aerial", "--store", store)["chips_added"]["hr"] == 0

    def test_sides_of_other_pixels_do_not_meet(
        self, services: Path, made: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "store"
        self.ingest("--aerial", made / "aerial", "--store", store, "--scale", 2)
        message = self.fail(*("--satellite", made / "satellite", "--store", store, "--scale", 2))
        assert "LR pixels of 2 m" in message
        assert "of 4 m" in message

    def test_an_area_of_interest_is_kept_to(
        self, services: Path, made: Path, tmp_path: Path
    ) -> None:
        file = next((made / "satellite").glob("*/B04B03B02.tif"))
        with rasterio.open(file) as scene:
            west, south, east, north = transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
        part = f"{west},{south},{(west + east) / 2},{north}"
        store = tmp_path / "store"
        some = self.ingest("--aerial", made / "aerial", "--store", store, "--aoi", part)
        more = self.ingest("--aerial", made / "aerial", "--store", store)
        assert 0 < some["chips_added"]["hr"] < more["chips_total"]["hr"]
