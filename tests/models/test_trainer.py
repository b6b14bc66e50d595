from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from models.checkpoint import list_checkpoints, load_checkpoint
from models.config import OBJECTIVES, BalanceConfig, HealthConfig, TrainConfig
from models.config_networks import (
    DISCRIMINATORS,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
)
from models.data import ListedPairs, Pair, PairLike, PairSpec, Window
from models.errors import CheckpointError, ConfigError, DataError, TrainingError
from models.evaluate import Evaluation, evaluate
from models.export import load_card
from models.layers import KeysBicubic
from models.predict import Predictor
from models.selection import Selection
from models.trainer import TrainResult, train

SPEC = PairSpec(scale=4, bands=("red", "nir"), data_range=10_000.0)
TINY = TrainConfig(
    generator=GeneratorConfig(channels=8, blocks=1),
    discriminator=DiscriminatorConfig(channels=4, stages=3),
    batch_size=4,
    patch_lr=8,
    content_steps=6,
    adversarial_steps=4,
    discriminator_steps=2,
    warmup_steps=2,
    val_every=4,
    checkpoint_every=5,
    log_every=2,
    val_pairs=3,
    precision="float32",
    device="cpu",
)


def make_pairs(count: int, *, size: int = 16, seed: int = 0, scale: int = 4) -> ListedPairs:
    """Soft-edged shapes, blurred and averaged down: what is lost can partly be learned back."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        noise = gaussian_filter(random.standard_normal((2, size * scale, size * scale)), (0, 3, 3))
        hr = 3000 + 1500 * np.tanh(60 * noise)
        blurred = gaussian_filter(hr, (0, scale / 2, scale / 2))
        lr = blurred.reshape(2, size, scale, size, scale).mean((2, 4))
        pairs.append(
            Pair(
                lr=lr.astype(np.uint16),
                hr=hr.astype(np.uint16),
                valid=np.ones(hr.shape[1:], np.bool_),
            )
        )
    return ListedPairs(pairs)


def psnr_score(
    sr: npt.NDArray[Any],
    hr: npt.NDArray[Any],
    lr: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
) -> Mapping[str, float]:
    error = float(np.mean((sr - hr)[:, valid].astype(np.float64) ** 2))
    return {"psnr_db": 10 * np.log10(SPEC.data_range**2 / error)}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.progress: list[dict[str, Any]] = []
        self.validations: list[tuple[int, Evaluation]] = []
        self.checkpoints: list[int] = []
        self.events: list[tuple[int, str]] = []

    def on_progress(self, **told: Any) -> None:
        self.progress.append(told)

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        self.validations.append((step, evaluation))

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        assert path.is_file()
        self.checkpoints.append(step)

    def on_event(self, *, step: int, text: str) -> None:
        self.events.append((step, text))

    def series(self, name: str) -> list[float]:
        return [told["metrics"][name] for told in self.progress if name in told["metrics"]]


def run(config: TrainConfig, folder: Path, **options: Any) -> TrainResult:
    arguments: dict[str, Any] = {
        "train_pairs": make_pairs(10),
        "val_pairs": make_pairs(5, seed=1),
        "spec": SPEC,
        "score": psnr_score,
        "folder": folder,
        **options,
    }
    return train(config, **arguments)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.generator / "generator.safetensors")


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, through mappings and lists."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def stop_after(steps: int) -> Any:
    """Ask to stop before step `steps` + 1."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", [3, 6, 8])
def test_stopping_and_resuming_changes_no_bit(tmp_path: Path, at: int) -> None:
    straight = run(TINY, tmp_path / "straight")
    first = run(TINY, tmp_path / "halves", stop=stop_after(at))
    assert first.stopped_by == "request"
    assert first.clock.step == at if at < 6 else first.clock.step in (at, at - 1)
    second = run(TINY, tmp_path / "halves", resume=True)
    assert (straight.stopped_by, second.stopped_by) == ("steps", "steps")
    assert same(weights(straight), weights(second))
    assert straight.validation == second.validation
    ends = [
        load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[0])
        for name in ("straight", "halves")
    ]
    for part in ("generator", "discriminator", "ema", "rng"):
        assert same(ends[0][part], ends[1][part]), part
    for part in ("generator_optimiser", "discriminator_optimiser"):
        assert same(ends[0][part]["state"], ends[1][part]["state"]), part
    assert ends[0]["clock"]["batches"] == ends[1]["clock"]["batches"] == 6 + 4 * 3


GROUPS = ["farm"] * 7 + ["port"] * 2 + [None]


@pytest.mark.usefixtures("one_thread")
def test_a_balanced_run_resumes_exactly_and_shows_other_pairs(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, balance=0.8)
    straight = run(config, tmp_path / "straight", groups=GROUPS)
    run(config, tmp_path / "halves", groups=GROUPS, stop=stop_after(4))  # sample 16 of epochs of 10
    second = run(config, tmp_path / "halves", groups=GROUPS, resume=True)
    assert same(weights(straight), weights(second))
    plain = run(TINY, tmp_path / "plain", groups=GROUPS)
    assert not same(weights(straight), weights(plain))
    with pytest.raises(CheckpointError, match=r"balance was 0.8, is 0.0"):
        run(TINY, tmp_path / "halves", resume=True)


@pytest.mark.usefixtures("one_thread")
def test_without_balance_categories_change_nothing(tmp_path: Path) -> None:
    runs = [run(TINY, tmp_path / "with", groups=GROUPS), run(TINY, tmp_path / "without")]
    assert same(*map(weights, runs))


def test_a_run_from_before_there_was_balance_goes_on(tmp_path: Path) -> None:
    run(TINY, tmp_path, stop=stop_after(3))
    path = list_checkpoints(tmp_path / "checkpoints")[0]
    state = load_checkpoint(path)
    del state["config"]["balance"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"balance was 0.0, is 0.5"):
        run(dataclasses.replace(TINY, balance=0.5), tmp_path, groups=GROUPS, resume=True)
    assert run(TINY, tmp_path, resume=True).clock.step == 10


def test_balance_needs_the_category_of_each_pair(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, balance=0.5)
    with pytest.raises(ConfigError, match=r"balance is 0.5, but the categories .* not known"):
        run(config, tmp_path)
    with pytest.raises(DataError, match="9 categories for 10 training pairs"):
        run(config, tmp_path, groups=GROUPS[1:])
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_the_same_whether_pairs_are_kept_or_read_by_windows(tmp_path: Path) -> None:
    kept = run(TINY, tmp_path / "kept")
    windows = run(dataclasses.replace(TINY, cache_mb=0), tmp_path / "windows")
    assert same(weights(kept), weights(windows))


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_a_function_of_its_seed(tmp_path: Path) -> None:
    results = [
        weights(run(dataclasses.replace(TINY, seed=seed), tmp_path / str(n)))
        for n, seed in enumerate((1, 1, 2))
    ]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_listener_hears_everything(tmp_path: Path) -> None:
    recorder = Recorder()
    before = torch.get_rng_state()
    result = run(TINY, tmp_path, listener=recorder)
    assert torch.equal(torch.get_rng_state(), before)
    assert [told["step"] for told in recorder.progress] == [2, 4, 6, 8, 10]
    assert [told["phase"] for told in recorder.progress] == ["content"] * 3 + ["adversarial"] * 2
    assert [told["images"] for told in recorder.progress] == [8, 16, 24, 48, 72]
    assert [step for step, _ in recorder.validations] == [4, 6, 8, 10]
    assert recorder.checkpoints == [0, 5, 6, 10, 10]
    assert len(recorder.validations[0][1].samples) == 3
    last = recorder.progress[-1]["metrics"]
    assert set(last) == {
        "train/content_loss",
        "train/loss_lattice",
        "train/adversarial_loss",
        "train/adversarial_weight",
        "train/discriminator_loss",
        "train/d_real",
        "train/d_fake",
        "train/d_accuracy",
        "train/generator_grad_norm",
        "train/discriminator_grad_norm",
        "train/generator_skipped",
        "train/discriminator_skipped",
        "train/bicubic_loss",
        "train/r1",
        "train/r2",
        "train/diversity",
        "train/lr_generator",
        "train/lr_discriminator",
        "train/images_per_s",
        "train/data_wait_share",
    }
    assert all(math.isfinite(value) for value in last.values())
    assert all(0 <= last[f"train/{name}"] <= 1 for name in ("d_real", "d_fake", "d_accuracy"))
    assert recorder.progress[-1]["eta_s"] == 0
    assert result.validation in [evaluation.scores for _, evaluation in recorder.validations]
    assert recorder.events == []
    assert (result.clock.content_steps, result.clock.adversarial_steps) == (6, 4)


def test_training_beats_bicubic_and_the_export_is_what_was_validated(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        generator=GeneratorConfig(channels=16, blocks=2),
        batch_size=8,
        patch_lr=16,
        content_steps=150,
        adversarial_steps=20,
        warmup_steps=10,
        val_every=1000,
        checkpoint_every=1000,
        val_pairs=100,
    )
    val = make_pairs(8, seed=1)
    recorder = Recorder()
    result = run(config, tmp_path, train_pairs=make_pairs(40), val_pairs=val, listener=recorder)
    layer = KeysBicubic(bands=2, scale=4)
    bicubic = evaluate(
        lambda lr: layer(torch.from_numpy(lr)[None])[0].numpy(), val, psnr_score
    ).scores["psnr_db"]
    assert result.validation["psnr_db"] > bicubic + 1.0
    again = evaluate(Predictor.load(result.generator), val, psnr_score).scores["psnr_db"]
    assert again == pytest.approx(result.validation["psnr_db"], abs=1e-4)
    content = recorder.series("train/content_loss")
    assert content[-1] < 0.7 * content[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_stays_finite_and_the_discriminator_learns(
    tmp_path: Path, objective: str
) -> None:
    config = dataclasses.replace(
        TINY,
        objective=objective,
        content_steps=0,
        adversarial_steps=40,
        lr_discriminator=2e-3,
        log_every=10,
        val_every=1000,
    )
    recorder = Recorder()
    run(config, tmp_path, listener=recorder)
    losses = recorder.series("train/discriminator_loss")
    assert all(
        math.isfinite(value) for told in recorder.progress for value in told["metrics"].values()
    )
    assert losses[-1] < losses[0]
    assert recorder.series("train/d_accuracy")[-1] > 0.6
    assert recorder.series("train/d_real")[-1] > recorder.series("train/d_fake")[-1]


def test_bfloat16_trains(tmp_path: Path) -> None:
    recorder = Recorder()
    run(dataclasses.replace(TINY, precision="bfloat16"), tmp_path, listener=recorder)
    assert math.isfinite(recorder.series("train/content_loss")[-1])


def test_the_schedules_that_are_told_are_those_configured(tmp_path: Path) -> None:
    recorder = Recorder()
    free = BalanceConfig(accuracy_low=0.0, accuracy_high=1.0)
    config = dataclasses.replace(
        TINY, adversarial_steps=10, adversarial_ramp=0.4, log_every=1, balance_networks=free
    )
    run(config, tmp_path, listener=recorder)

    def rates(peak: float, steps: int) -> list[float]:
        """Two steps of warm-up, half a cosine down to a fiftieth; on updates of the generator."""
        decay = [0.02 + 0.49 * (1 + math.cos(math.pi * n / steps)) for n in range(steps)]
        return [peak * min(1, (n + 1) / 3) * d for n, d in enumerate(decay)]

    content, adversarial = config.content_steps, config.adversarial_steps
    assert recorder.series("train/lr_generator") == pytest.approx(
        rates(config.lr_content, content) + rates(config.lr_generator, adversarial), rel=1e-5
    )
    assert recorder.series("train/lr_discriminator") == pytest.approx(
        rates(config.lr_discriminator, adversarial), rel=1e-5
    )
    assert recorder.series("train/adversarial_weight") == pytest.approx(
        [config.adversarial_weight * min(1, n / 4) for n in range(adversarial)], rel=1e-5
    )
    # Updates of the discriminator beside them do not move the clock; images count all the same.
    per_step = [config.batch_size] * content + [3 * config.batch_size] * adversarial
    assert [told["images"] for told in recorder.progress] == np.cumsum(per_step).tolist()


def test_a_time_limit_ends_both_phases(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        content_steps=10**6,
        adversarial_steps=10**6,
        max_minutes=2 / 60,
        val_every=10**6,
        checkpoint_every=10**6,
        content_time_share=0.5,
    )
    recorder = Recorder()
    result = run(config, tmp_path, listener=recorder)
    assert result.stopped_by == "time"
    assert result.clock.content_steps > 0
    assert result.clock.adversarial_steps > 0
    assert result.clock.elapsed_s == pytest.approx(2, abs=0.9)
    assert [step for step, _ in recorder.validations] == [
        result.clock.content_steps,
        result.clock.step,
    ]
    # The limit is on the run, not on the sitting: nothing is left to be done.
    again = run(config, tmp_path, resume=True)
    assert again.clock == result.clock
    assert again.validation == pytest.approx(result.validation)


def test_a_finished_run_can_be_given_more_steps(tmp_path: Path) -> None:
    run(TINY, tmp_path)
    longer = dataclasses.replace(TINY, adversarial_steps=6)
    assert run(longer, tmp_path, resume=True).clock.adversarial_steps == 6


class Poisoned:
    """Pairs of which one holds NaN where it should be valid, and one an infinity in its LR."""

    def __init__(self) -> None:
        self.pairs = make_pairs(6)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        found = []
        for index, pair in zip(indices, self.pairs.read(indices, windows), strict=True):
            lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
            if index == 2:
                hr[..., ::3, :] = np.nan
            if index == 4:
                lr[..., ::3, ::2] = np.inf
            found.append(Pair(lr=lr, hr=hr, valid=pair.valid))
        return found


def test_a_finished_run_is_exported_at_another_price_without_training(tmp_path: Path) -> None:
    steps = run(TINY, tmp_path).clock.step
    for cost in (0.0, 0.01, 100.0):
        again = run(dataclasses.replace(TINY, psnr_cost_db=cost), tmp_path, resume=True)
        assert again.clock.step == steps
        selection = Selection(tmp_path / "checkpoints")
        selection.load()
        share = load_card(again.generator).training["sharp_share"]
        assert same(weights(again), selection.blend(share))
        assert selection.faithful is not None
        assert again.validation["psnr_db"] >= selection.faithful.scores["psnr_db"] - cost
    assert share == 1


def test_broken_pairs_are_named_and_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    run(TINY, tmp_path, train_pairs=Poisoned(), listener=recorder)
    assert recorder.events[-1][1].startswith("2 training pairs hold values that are not finite")
    assert ": 2, 4 (numbers within the split)" in recorder.events[-1][1]
    assert all(math.isfinite(v) for told in recorder.progress for v in told["metrics"].values())
    assert max(recorder.series("train/generator_skipped")) == 0


WILD = dataclasses.replace(
    TINY,
    content_steps=60,
    adversarial_steps=0,
    lr_content=3.0,
    checkpoint_every=10,
    val_every=1000,
    health=HealthConfig(patience=2, rollbacks=2, rollback_rate=0.9),
)


def test_a_run_that_diverges_goes_back_with_lower_rates_and_gives_up_in_the_end(
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    with pytest.raises(
        TrainingError, match=r"fell ill at step \d+ \(content phase\): diverged"
    ) as it:
        run(WILD, tmp_path, listener=recorder)
    assert [text.split("times ")[-1] for _, text in recorder.events] == [
        "0.9 (1 of 2 times)",
        "0.81 (2 of 2 times)",
    ]
    assert "lower lr_content" in str(it.value)
    newest = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0])
    assert all(t.isfinite().all() for t in newest["generator"].values())
    assert not (tmp_path / "generator").exists()


def test_lower_rates_cure_a_run_that_diverges(tmp_path: Path) -> None:
    recorder = Recorder()
    config = dataclasses.replace(
        WILD, health=HealthConfig(patience=2, rollbacks=1, rollback_rate=3e-4)
    )
    result = run(config, tmp_path, listener=recorder)
    assert (result.stopped_by, result.clock.rollbacks) == ("steps", 1)
    assert result.clock.rate_factor == pytest.approx(3e-4)
    losses, plain = recorder.series("train/content_loss"), recorder.series("train/bicubic_loss")
    assert losses[-1] < 1.05 * plain[-1]


def test_going_back_to_the_end_of_a_shorter_run_does_not_end_the_longer_one(tmp_path: Path) -> None:
    run(dataclasses.replace(TINY, adversarial_steps=0), tmp_path)
    longer = dataclasses.replace(WILD, adversarial_steps=60, lr_generator=3.0, checkpoint_every=999)
    with pytest.raises(TrainingError, match=r"\(adversarial phase\)"):
        run(longer, tmp_path, resume=True)


def test_gradients_that_are_not_finite_move_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    config = dataclasses.replace(TINY, health=HealthConfig(patience=100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
        result = run(config, tmp_path, listener=recorder)
    assert recorder.series("train/generator_skipped") == [1.0] * 5
    layer = KeysBicubic(bands=2, scale=4)
    lr = make_pairs(1).read([0])[0].lr.astype(np.float32)
    np.testing.assert_allclose(
        Predictor.load(result.generator)(lr),
        layer(torch.from_numpy(lr)[None])[0].numpy(),
        rtol=1e-4,
    )


@pytest.mark.usefixtures("one_thread")
def test_pieces_of_a_mini_batch_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        adversarial_steps=2,
        objective="non_saturating",
        losses=LossConfig(lattice=0.0),  # whose sign Adam follows, however small it is
        grad_clip=1e9,
    )
    whole = weights(run(config, tmp_path / "whole"))
    pieces = weights(run(dataclasses.replace(config, accumulate=2), tmp_path / "pieces"))
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, atol=2e-5, rtol=2e-3)


@pytest.mark.usefixtures("one_thread")
def test_a_generator_grows_up(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        generator=GeneratorConfig(name="srresnet", channels=8, blocks=1),
        content_steps=12,
        growing_share=0.7,
        val_every=12,
    )
    straight = run(config, tmp_path / "straight")
    run(config, tmp_path / "halves", stop=stop_after(5))
    assert same(weights(straight), weights(run(config, tmp_path / "halves", resume=True)))
    plain = run(dataclasses.replace(config, growing_share=0.0), tmp_path / "plain")
    assert weights(straight).keys() == weights(plain).keys()


def test_span_is_exported_in_its_folded_form(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY, generator=GeneratorConfig(name="span", channels=8, blocks=1), adversarial_steps=0
    )
    recorder = Recorder()
    result = run(config, tmp_path, listener=recorder)
    predictor = Predictor.load(result.generator)
    assert predictor.card.architecture.fused
    again = evaluate(predictor, make_pairs(5, seed=1), psnr_score, limit=3).scores["psnr_db"]
    assert again == pytest.approx(result.validation["psnr_db"], abs=1e-3)


@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.usefixtures("one_thread")
def test_every_setting_of_the_game_resumes_exactly(
    tmp_path: Path, discriminator: str, conditional: bool
) -> None:
    config = dataclasses.replace(
        TINY,
        discriminator=DiscriminatorConfig(
            name=discriminator, channels=4, stages=2, conditional=conditional, resolutions=2
        ),
        objective="relativistic_paired",
        losses=LossConfig(l1=1, ssim=0.1, frequency=0.1, consistency=0.5, feature_matching=0.1),
        adversarial_steps=8,
        r1=1.0,
        r2=0.5,
        penalty_every=3,
        unroll_steps=1,
        balance_networks=BalanceConfig(accuracy_low=0.0, accuracy_high=0.1, skip_below=0.01),
    )
    straight = run(config, tmp_path / "straight")
    run(config, tmp_path / "halves", stop=stop_after(11))
    second = run(config, tmp_path / "halves", resume=True)
    assert same(weights(straight), weights(second))
    newest = load_checkpoint(list_checkpoints(tmp_path / "halves" / "checkpoints")[0])
    assert newest["balance"]["factor"] < 1


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(TINY, tmp_path)
    with pytest.raises(TrainingError, match="holds a run already: resume it or choose another"):
        run(TINY, tmp_path)


def test_unfit_pairs_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pairs"):
        run(TINY, tmp_path, train_pairs=ListedPairs([]))
    with pytest.raises(DataError, match="with 2 bands at scale 4"):
        run(TINY, tmp_path, val_pairs=make_pairs(1, scale=2))
    assert not any(tmp_path.iterdir())


def test_the_card_is_honest_about_the_run(tmp_path: Path) -> None:
    result = run(TINY, tmp_path, store_version="3", store_digest="d1")
    card = Predictor(result.generator).card
    assert (card.store_version, card.store_digest, card.bands) == ("3", "d1", SPEC.bands)
    assert card.training["stopped_by"] == "steps"
    assert card.training["clock"]["content_steps"] == 6
    assert card.training["validation"] == pytest.approx(result.validation)
    assert TrainConfig.from_dict(card.training["config"]) == TINY
