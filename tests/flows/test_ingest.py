"""Scene pairs through the workers: the same store however many there are, whatever breaks off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely

from flows.ingest_books import DateBook, ShiftBook
from flows.ingest_form import usual_form
from flows.ingest_scenes import Outcome, PairingLine
from flows.runtime import dask_client
from geo.alignment import Alignment
from geo.catalog.sources import read_scenes
from geo.chips import Cell
from geo.decisions import PairingRules
from geo.errors import GeoError
from geo.match import Candidate, MatchRules, match_scenes
from geo.pairmap.expect import expect_pair
from geo.pairstore.config import StoreConfig
from geo.pairstore.store import PairStore
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes
from geo.splits import SplitRule

BANDS = ("red", "green", "blue")
RULES = PairingRules(bands=BANDS)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    """Three dates of one aerial scene; the last one lies under clouds."""
    folder = tmp_path_factory.mktemp("made") / "scenes"
    dates = (
        SatelliteDate(gap_days=3, cloud_fraction=0.3),
        SatelliteDate(gap_days=-4),
        SatelliteDate(gap_days=9, cloud_fraction=0.85),
    )
    make_scenes(folder, ScenesConfig(width_px=680, height_px=664, dates=dates))
    sides = [read_scenes(str(folder / side))[0] for side in ("satellite", "aerial")]
    found, _ = match_scenes(sides[0], sides[1], MatchRules(max_cloud=1.0))
    assert len(found) == 3
    return list(found)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with dask_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def every(
    client: Any, candidates: list[Candidate], tmp_path_factory: pytest.TempPathFactory
) -> tuple[PairStore, list[Outcome]]:
    """All dates in one store, and what became of them."""
    store = new_store(tmp_path_factory.mktemp("every") / "store")
    return store, pair_all(client, store, candidates)


def new_store(path: Path) -> PairStore:
    return PairStore.create_or_open(path, StoreConfig(bands=BANDS))


def pair_all(
    client: Any, store: PairStore, candidates: Sequence[Candidate], **more: Any
) -> list[Outcome]:
    line = PairingLine(client, store, candidates, RULES, landcover=None, run_name="run", **more)
    outcomes = list(line)
    line.flush()
    return outcomes


def damaged(candidate: Candidate, folder: Path) -> Candidate:
    """The same scenes, but the satellite's file breaks off."""
    name, asset = next((k, a) for k, a in candidate.satellite.assets.items() if "data" in a.roles)
    whole = Path(asset.href).read_bytes()
    file = folder / f"{candidate.satellite.id}.tif"
    file.write_bytes(whole[: len(whole) * 2 // 3])
    assets = {**candidate.satellite.assets, name: replace(asset, href=str(file))}
    return replace(candidate, satellite=replace(candidate.satellite, assets=assets))


def test_the_store_does_not_depend_on_the_number_of_workers(
    every: tuple[PairStore, list[Outcome]], candidates: list[Candidate], tmp_path: Path
) -> None:
    many, outcomes = every
    with dask_client(1) as alone:
        one = new_store(tmp_path / "one")
        pair_all(alone, one, candidates)
    assert many.digest() == one.digest()
    assert many.summary()["rejected"] == one.summary()["rejected"]
    assert [o.candidate for o in outcomes] == candidates
    counts = sum((o.counts for o in outcomes), Counter())
    assert counts["pairs"] == many.summary()["pairs"] > 10


def test_a_second_run_finds_nothing_to_do(
    client: Any, every: tuple[PairStore, list[Outcome]], candidates: list[Candidate]
) -> None:
    store, _ = every
    version, digest = store.version, store.digest()
    outcomes = pair_all(client, store, candidates)
    assert {o.state for o in outcomes} == {"known"}
    assert (store.version, store.digest()) == (version, digest)


def test_a_place_keeps_its_side_in_all_later_versions(
    client: Any, candidates: list[Candidate], tmp_path: Path
) -> None:
    """So a generator that is trained further is tested on nothing that it has been shown."""
    chip_m = 128.0
    config = StoreConfig(bands=BANDS, split=SplitRule(block_m=chip_m, buffer_m=0))
    store = PairStore.create_or_open(tmp_path / "store", config)
    for known in (1, 2):  # dates
        pair_all(client, store, candidates[:known])
    versions = [commit.version for commit in store.index.history()]
    sides: dict[tuple[str, int, int], set[str]] = {}
    dates: Counter[tuple[str, int, int]] = Counter()
    for version in versions:
        rows = store.rows(kind="pair", version=version).to_pylist()
        for row in rows:
            sides.setdefault((row["crs"], row["row"], row["col"]), set()).add(row["split"])
        dates = Counter((row["crs"], row["row"], row["col"]) for row in rows)
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "val", "test"} == {side for one in sides.values() for side in one}
    assert dates.most_common(1)[0][1] == 2, "the second date came to places of the first"


def test_one_bad_scene_stops_no_other_and_is_tried_again(
    client: Any,
    every: tuple[PairStore, list[Outcome]],
    candidates: list[Candidate],
    tmp_path: Path,
) -> None:
    whole, undisturbed = every
    store = new_store(tmp_path / "store")
    outcomes = pair_all(client, store, [damaged(candidates[0], tmp_path), *candidates[1:]])
    assert (outcomes[0].state, outcomes[0].reason) == ("failed", "unreadable")
    assert [o.state for o in outcomes[1:]] == [o.state for o in undisturbed[1:]]
    mended = pair_all(client, store, candidates)
    assert [o.state for o in mended] == [undisturbed[0].state, "known", "known"]
    assert store.digest() == whole.digest()


def test_what_nobody_foresaw_fails_one_scene_pair_and_not_the_run(
    client: Any, candidates: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import geo.pairing

    original = geo.pairing.align_pair

    def fails_once(pair: Any, rules: Any) -> Any:
        if pair.candidate.satellite.id == candidates[0].satellite.id:
            raise ZeroDivisionError("nobody thought of it")
        return original(pair, rules)

    monkeypatch.setattr(geo.pairing, "align_pair", fails_once)
    outcomes = pair_all(client, new_store(tmp_path / "store"), candidates[:2])
    assert [o.state for o in outcomes] == ["failed", "paired"]
    assert outcomes[0].reason == "failed"
    assert "ZeroDivisionError: nobody thought of it" in outcomes[0].detail


class TestDatesPerChip:
    def test_the_best_dates_of_each_place_are_kept(
        self,
        client: Any,
        every: tuple[PairStore, list[Outcome]],
        candidates: list[Candidate],
        tmp_path: Path,
    ) -> None:
        best = new_store(tmp_path / "best")
        pair_all(client, best, candidates, dates_per_chip=1)
        ranks = {c.satellite.id: rank for rank, c in enumerate(candidates)}

        def dates(store: PairStore) -> dict[tuple[int, int], list[int]]:
            found: dict[tuple[int, int], list[int]] = {}
            for row in store.rows(kind="pair").to_pylist():
                found.setdefault((row["row"], row["col"]), []).append(ranks[row["satellite_id"]])
            return found

        assert dates(best) == {place: [min(r)] for place, r in dates(every[0]).items()}
        assert any(len(r) > 1 for r in dates(every[0]).values())

    def test_more_dates_can_be_asked_for_later(
        self, client: Any, candidates: list[Candidate], tmp_path: Path
    ) -> None:
        grown, direct = new_store(tmp_path / "grown"), new_store(tmp_path / "direct")
        for most in (1, 2):
            pair_all(client, grown, candidates, dates_per_chip=most)
        pair_all(client, direct, candidates, dates_per_chip=2)
        assert grown.digest() == direct.digest()

    def test_worse_dates_that_were_first_do_not_count(
        self, candidates: list[Candidate], tmp_path: Path, client: Any
    ) -> None:
        store = new_store(tmp_path / "store")
        pair_all(client, store, candidates[1:2], dates_per_chip=1)
        book = DateBook(store, candidates, RULES, 1)
        row = store.rows(kind="pair").to_pylist()[0]
        cell = Cell(row["row"], row["col"])
        assert book.wanted(0, [cell], row["crs"]) == [cell]
        assert book.wanted(2, [cell], row["crs"]) == []
        assert book.wanted(2, [Cell(10**6, 0)], row["crs"]) == [Cell(10**6, 0)]


def alignment(**facts: Any) -> Alignment:
    plain = {
        "dy_px": 0.5,
        "dx_px": 0.0,
        "reliability": 0.9,
        "accepted": True,
        "reason": None,
        "value": None,
        "limit": None,
        "residual_px": 0.02,
        "colours": None,
        "cloud_fraction": 0.0,
    }
    return Alignment(**(plain | facts))


REFUSED = alignment(accepted=False, reason="unreliable_registration")


class TestBorrowing:
    @pytest.fixture
    def quads(self, candidates: list[Candidate]) -> list[Candidate]:
        """One satellite scene over four aerial ones."""
        first = candidates[0]
        return [replace(first, aerial=replace(first.aerial, id=f"quad{i}")) for i in range(4)]

    def test_a_borrower_waits_until_all_neighbours_are_aligned(
        self, quads: list[Candidate]
    ) -> None:
        book = ShiftBook(quads, borrow=True)
        assert book.add(0, REFUSED) == []
        assert book.wants(0, REFUSED)
        assert book.neighbours(0) is None
        assert book.add(1, alignment()) == []
        assert book.add(2, None) == []  # failed: nobody waits for it for ever
        assert book.add(3, alignment(dy_px=0.4)) == [0]
        found = book.neighbours(0)
        assert found is not None
        assert [(c.aerial.id, a.dy_px) for c, a in found] == [("quad1", 0.5), ("quad3", 0.4)]
        assert not book.wants(0, REFUSED)  # asks once

    def test_nobody_borrows_unasked(self, quads: list[Candidate]) -> None:
        book = ShiftBook(quads, borrow=False)
        assert not book.wants(0, REFUSED)
        assert book.is_final(REFUSED)
        assert not ShiftBook(quads, borrow=True).is_final(REFUSED)

    def test_a_wrong_place_is_not_a_place_with_nothing_to_see(self, quads: list[Candidate]) -> None:
        book = ShiftBook(quads, borrow=True)
        assert not book.wants(0, alignment(accepted=False, reason="cloud"))


def test_most_scenes_decide_what_a_store_is_made_of(candidates: list[Candidate]) -> None:
    first = candidates[0]
    aerial = {"data": next(iter(first.aerial.assets.values()))}
    gray = replace(aerial["data"], bands=("gray", "green", "blue"))
    strange = replace(
        first,
        satellite=replace(first.satellite, id="strange", assets={"data": gray}),
        aerial=replace(first.aerial, assets={"data": gray}),
    )
    form = usual_form([strange, *candidates], None, scale=4)
    assert (form.bands, form.dtype) == (BANDS, "uint16")


def test_when_nothing_can_be_joined_the_error_says_why(
    candidates: list[Candidate], tmp_path: Path
) -> None:
    with pytest.raises(GeoError, match="infrared"):
        usual_form(candidates, ["infrared"], scale=4)


def test_headers_tell_what_a_run_decides(
    client: Any, candidates: list[Candidate], tmp_path: Path
) -> None:
    expected = expect_pair(candidates[0], RULES)
    store = new_store(tmp_path / "store")
    [outcome] = pair_all(client, store, candidates[:1])
    assert len(expected.cells) == outcome.counts.total()
    assert shapely.area(shapely.polygons(expected.corners)).min() > 0
    lr, scale = RULES.lr_size, RULES.scale
    size = len(BANDS) * lr**2 * 2 * (1 + scale**2) + (lr * scale) ** 2
    assert expected.write_bytes == len(expected.cells) * size
    assert expected.aerial_px == pytest.approx(expected.satellite_px * scale**2, rel=0.1)
