"""Who becomes champion: a real registry, a real store, real networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flows import registry, tracking
from flows.champion import judge
from flows.train_folder import RunFolder
from geo.pairstore.store import PairStore
from geo.reporting.scored import read_scored, write_scored
from tests.flows.training_store import make_store
from tests.geo.scored_tiles import changed, of_tiles

if TYPE_CHECKING:
    from flows.train_evaluate import ScoredPairs

BANDS = ("red", "green")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of runs, and a registry with nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(folder: Path, scale: int = 4, bands: tuple[str, ...] = BANDS) -> None:
    """A small network that draws about what bicubic draws."""
    import torch

    from models.config_networks import GeneratorConfig
    from models.export import GeneratorCard, save_generator
    from models.generators.registry import build_generator

    torch.manual_seed(0)
    config = GeneratorConfig(name="edsr", channels=8, blocks=1)
    network = build_generator(config, bands=len(bands), scale=scale).eval()
    card = GeneratorCard(
        architecture=config, scale=scale, bands=bands, data_range=10_000.0, halo=network.halo
    )
    save_generator(folder, network, card)


@cache
def drawn(store: Path) -> tuple[Path, ScoredPairs]:
    """A generator, and its scores of the test pairs."""
    from flows.train_evaluate import PairScore, score_pairs
    from models.predict import Predictor

    folder = store.parent / "generator"
    save(folder)
    opened, score = PairStore.open(store), PairScore(scale=4, data_range=10_000.0)
    scored = score_pairs(Predictor(folder), opened, opened.version, "test", score)
    assert scored is not None
    return folder, scored


class Candidate:
    """A training that has ended: its run, its scores of test pairs, its version."""

    def __init__(
        self, folder: Path, store: Path, *, digest: str = "one", compared_with: str | None = None
    ) -> None:
        self.run_id = tracking.start_run("train", {"stage": "train"}, {})
        self.folder = RunFolder(folder / self.run_id)
        generator, scored = drawn(store)
        shutil.copytree(generator, self.folder.product)
        tracking.log_files(self.run_id, {"generator": self.folder.product})
        opened = PairStore.open(store)
        self.job = {
            "run_id": self.run_id,
            "folder": str(self.folder.path),
            "store": str(store),
            "store_version": opened.version,
            "store_digest": digest,
            "champion_version": compared_with,
            "config": {},
        }
        self.evaluation: dict[str, Any] = {"test": dict(scored.summary)}
        write_scored(scored.tiles, self.folder.test)

    def with_errors(self, factors: np.ndarray) -> Candidate:
        """As if it had drawn other images: squared errors of its test pairs times something."""
        scored = read_scored(self.folder.test)
        error = scored.columns["squared_error"]
        write_scored(changed(scored, squared_error=error * factors), self.folder.test)
        return self

    def judged(self, again: bool = False) -> tuple[bool, str]:
        """Whether it is champion now, and the reason that is written on it."""
        if not again:
            tags = {"store_digest": self.job["store_digest"]}
            self.version = registry.register(self.run_id, tags)
        judge(self.version, self.job, self.evaluation)
        client = tracking.mlflow_client()
        reason = client.get_model_version(registry.MODEL_NAME, self.version).tags["promotion"]
        champion = registry.champion_version()
        return champion is not None and str(champion.version) == self.version, reason


def luck(places: int = 8) -> np.ndarray:
    """Better on half of the pairs, worse on the others."""
    return np.where(np.arange(places) % 2, 0.7, 1.4)


def test_the_first_is_champion_unless_its_input_contradicts_it(store: Path, tracker: Path) -> None:
    doubtful = Candidate(tracker, store)
    plain = doubtful.evaluation["test"]["bicubic_lr_consistency"]
    doubtful.evaluation["test"]["lr_consistency"] = 1.5 * plain
    champion, reason = doubtful.judged()
    assert not champion
    assert reason.startswith("not promoted: less consistent")
    champion, reason = Candidate(tracker, store).judged()
    assert champion
    assert reason.startswith("promoted: no champion to compare with; test gain")


def test_without_test_ground_nobody_is_promoted(store: Path, tracker: Path) -> None:
    candidate = Candidate(tracker, store)
    candidate.evaluation["test"] = None
    assert candidate.judged() == (False, "not promoted: there is no test ground to judge on")


def test_a_challenger_wins_only_where_the_interval_lies_above_nothing(
    store: Path, tracker: Path
) -> None:
    first = Candidate(tracker, store)
    assert first.judged()[0]

    champion, reason = Candidate(tracker, store).judged()
    assert not champion
    assert "a tie" in reason
    assert f"against champion version {first.version} on the same test pairs" in reason

    champion, reason = Candidate(tracker, store).with_errors(luck()).judged()
    assert not champion
    assert "the interval holds 0" in reason

    champion, reason = Candidate(tracker, store).with_errors(np.full(8, 1.2)).judged()
    assert not champion
    assert "worse by merit" in reason

    better = Candidate(tracker, store).with_errors(np.linspace(0.7, 0.9, 8))
    champion, reason = better.judged()
    assert champion
    for words in ("promoted: better by merit", "PSNR +", "95 % interval +", "8 test tiles of 8"):
        assert words in reason
    assert better.folder.comparison.exists()
    # As where the tracker was lost when this was to be written.
    assert better.judged(again=True) == (True, reason)


def test_one_that_its_input_contradicts_is_never_champion(store: Path, tracker: Path) -> None:
    assert Candidate(tracker, store).judged()[0]
    candidate = Candidate(tracker, store).with_errors(np.full(8, 0.5))
    scored = read_scored(candidate.folder.test)
    worse = 1.5 * scored.columns["bicubic_lr_consistency"]
    write_scored(changed(scored, lr_consistency=worse), candidate.folder.test)
    champion, reason = candidate.judged()
    assert not champion
    assert "less consistent with its LR input than bicubic" in reason


def test_a_champion_made_meanwhile_is_compared_with(store: Path, tracker: Path) -> None:
    late = Candidate(tracker, store)  # when it began, there was no champion
    assert Candidate(tracker, store).judged()[0]
    champion, reason = late.judged()
    assert not champion
    assert "a tie" in reason
    assert len(read_scored(late.folder.champion)) == 8


def test_scores_that_the_ranks_made_are_taken(store: Path, tracker: Path) -> None:
    first = Candidate(tracker, store)
    first.judged()
    name = f"{registry.MODEL_NAME}/{first.version}"
    second = Candidate(tracker, store, compared_with=name)
    scored = read_scored(first.folder.test)
    twice = changed(scored, squared_error=2 * scored.columns["squared_error"])
    write_scored(twice, second.folder.champion)
    champion, reason = second.judged()
    assert champion
    assert "PSNR +3.010 dB" in reason


def test_a_champion_of_other_pairs_is_scored_on_these_and_that_is_said(
    store: Path, tracker: Path
) -> None:
    assert Candidate(tracker, store, digest="other").judged()[0]
    champion, reason = Candidate(tracker, store).judged()
    assert not champion
    assert "a tie" in reason
    assert "trained on other pairs" in reason


@pytest.mark.parametrize(
    ("scale", "bands", "draws"),
    [(2, BANDS, "red, green at scale 2"), (4, ("red", "nir"), "red, nir at scale 4")],
)
def test_a_champion_of_another_scale_or_other_bands_keeps_its_place(
    store: Path, tracker: Path, scale: int, bands: tuple[str, ...], draws: str
) -> None:
    other = tracking.start_run("train", {}, {})
    save(tracker / "other", scale=scale, bands=bands)
    tracking.log_files(other, {"generator": tracker / "other"})
    registry.promote(registry.register(other, {}), "by hand")
    candidate = Candidate(tracker, store)
    champion, reason = candidate.judged()
    assert not champion
    assert f"it draws {draws}, this one red, green at scale 4" in reason
    assert not candidate.folder.comparison.exists()

    # What the reason says can be done.
    assert "give it the alias `champion` in MLflow" in reason
    client = tracking.mlflow_client()
    client.set_registered_model_alias(registry.MODEL_NAME, "champion", candidate.version)
    champion, reason = Candidate(tracker, store).judged()
    assert not champion
    assert "a tie; merit +0.000 dB (95 % interval +0.000 to +0.000)" in reason
    assert f"against champion version {candidate.version}" in reason


def test_less_that_is_right_than_of_bicubic_is_no_champion_and_gives_way(
    store: Path, tracker: Path
) -> None:
    def drawing(candidate: Candidate, right: float) -> Candidate:
        """As if so much of what it draws were right."""
        scored = read_scored(candidate.folder.test)
        part = {"improvement": right, "hallucination": 1 - right}
        columns = {name: np.full(len(scored), value) for name, value in part.items()}
        write_scored(changed(scored, **columns), candidate.folder.test)
        return candidate

    first = drawing(Candidate(tracker, store), 0.05)
    assert first.judged()[0]  # there is nobody else
    name = f"{registry.MODEL_NAME}/{first.version}"
    second = drawing(Candidate(tracker, store, compared_with=name), 0.95)
    shutil.copytree(first.folder.test, second.folder.champion)
    champion, reason = second.judged()
    assert champion
    assert reason.startswith("promoted: less of what the other draws is right than of bicubic")

    noisy = drawing(Candidate(tracker, store).with_errors(np.full(8, 0.5)), 0.05)
    champion, reason = noisy.judged()
    assert not champion
    assert reason.startswith("not promoted: less of what it draws is right than of bicubic")


def test_one_place_is_too_few_to_become_champion_on(store: Path, tracker: Path) -> None:
    first = Candidate(tracker, store)
    assert first.judged()[0]
    name = f"{registry.MODEL_NAME}/{first.version}"
    candidate = Candidate(tracker, store, compared_with=name).with_errors(np.full(8, 0.5))
    for target, scored in (
        (candidate.folder.test, read_scored(candidate.folder.test)),
        (candidate.folder.champion, read_scored(first.folder.test)),
    ):
        write_scored(of_tiles(scored, np.array([3])), target)
    champion, reason = candidate.judged()
    assert not champion
    assert "too few places for an interval; merit +3.010 dB, PSNR +3.010 dB" in reason
    assert "1 test tiles of 1 places" in reason


def test_a_champion_whose_files_are_gone_keeps_its_place_and_training_can_begin(
    store: Path, tracker: Path
) -> None:
    from flows.train_job import settle_job
    from tests.flows.test_train_job import config

    registry.promote(registry.register(tracking.start_run("train", {}, {}), {}), "by hand")
    assert settle_job(config(store))["champion"] is None
    champion, reason = Candidate(tracker, store).judged()
    assert not champion
    assert "cannot be compared with" in reason
    assert "its files cannot be had" in reason
    assert "give it the alias `champion` in MLflow if it should be" in reason


def test_a_champion_whose_files_went_after_the_ranks_had_scored_it_is_compared_with(
    store: Path, tracker: Path
) -> None:
    first = Candidate(tracker, store)
    assert first.judged()[0]
    name = f"{registry.MODEL_NAME}/{first.version}"
    second = Candidate(tracker, store, compared_with=name).with_errors(np.full(8, 0.5))
    shutil.copytree(first.folder.test, second.folder.champion)
    artifacts = tracking.mlflow_client().get_run(first.run_id).info.artifact_uri
    shutil.rmtree(Path(artifacts.removeprefix("file://")) / "generator")
    champion, reason = second.judged()
    assert champion
    assert "better by merit" in reason
