"""How many pairs are new to the champion: a real store that grows, a real registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import registry, tracking
from flows.train_job import settle_job
from flows.train_news import News, count_new_pairs
from geo.pairstore.care import expire_store
from geo.pairstore.store import PairStore
from tests.flows.test_train_job import config
from tests.flows.training_store import make_store

NAME = registry.MODEL_NAME


@pytest.fixture
def store(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """32 training pairs, and a registry with nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return make_store(tmp_path / "store")


def trained(store: Path, **tags: Any) -> str:
    """A model version as a training of the newest pairs leaves it; nothing is trained."""
    version = registry.register(settle_job(config(store))["run_id"], tags)
    registry.challenge(version)
    return version


def grow(store: Path, pairs: int = 72) -> None:
    """Of each six new pairs four are for training."""
    make_store(store, pairs)


def count(store: Path) -> News:
    opened = PairStore.open(store)
    return count_new_pairs(opened, opened.version)


def test_pairs_that_came_after_the_champions_version_are_new(store: Path) -> None:
    registry.promote(trained(store), "by hand")
    before = PairStore.open(store).version
    assert count(store).count == 0
    grow(store)
    news = count(store)
    assert (news.count, news.champion) == (16, f"{NAME}/1")
    assert news.told == f"16 new pairs since champion v1 (trained on store@{before})"


def test_without_a_champion_all_pairs_are_new(store: Path) -> None:
    news = count(store)
    assert (news.count, news.champion) == (32, None)
    assert news.told == "32 training pairs, and no champion yet"


def test_a_challenger_that_never_became_champion_has_seen_its_pairs(store: Path) -> None:
    trained(store)
    grow(store)
    news = count(store)
    assert news.count == 16
    assert "16 new pairs since v1, which was not promoted" in news.told


def test_what_went_on_from_the_champion_in_vain_is_not_tried_again_with_the_same_pairs(
    store: Path,
) -> None:
    registry.promote(trained(store), "by hand")
    grow(store)
    trained(store)  # from scratch: says nothing of what going on would come to
    assert count(store).count == 16
    trained(store, start_from=f"{NAME}/1")
    news = count(store)
    assert news.count == 0
    assert "v3, which went on from champion v1 and was not promoted" in news.told
    grow(store, 84)
    assert count(store).count == 8


def test_the_champion_of_another_store_knows_none_of_the_pairs(store: Path, tmp_path: Path) -> None:
    registry.promote(trained(make_store(tmp_path / "elsewhere", 36)), "by hand")
    news = count(store)
    assert (news.count, news.champion) == (32, f"{NAME}/1")
    assert "champion v1 saw none of them" in news.told


def test_a_champion_of_whom_nobody_knows_what_it_was_trained_on(store: Path) -> None:
    registry.promote(registry.register(tracking.start_run("by hand", {}, {}), {}), "by hand")
    assert count(store).count == 32


def test_where_its_version_is_expired_counts_have_to_do(store: Path) -> None:
    registry.promote(trained(store), "by hand")
    opened = PairStore.open(store)
    version = opened.version
    grow(store)
    expire_store(opened, keep_days=0, grace_s=0)
    assert "by counts" not in count(store).told, "a run tags its version, which keeps it"
    for tag in opened.tags.of_version(version):
        opened.tags.remove(tag)
    expire_store(opened, keep_days=0, grace_s=0)
    news = count(store)
    assert news.count == 16
    assert f"trained on store@{version}, which is expired: by counts alone" in news.told
