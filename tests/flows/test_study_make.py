"""A study made of test pairs, and its results in MLflow: a real store, network and registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import tracking
from flows.errors import FlowError, UsageError
from flows.study.make import MakeConfig, study_of_store
from flows.study.order import trials_of
from flows.study.plan import BICUBIC, LR, REAL, REAL_OR_GENERATED, SR, read_study
from flows.study.records import Records
from flows.study.results import results_of
from tests.flows.test_champion import save
from tests.flows.training_store import make_store

TRIALS = {REAL_OR_GENERATED: 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_store(folder / "store", 72)
    save(folder / "generator")
    config = MakeConfig(out=folder / "study", trials=TRIALS)
    study_of_store(config, str(folder / "store"), str(folder / "generator"), None)
    return folder


def images_of(folder: Path, source: str) -> list[np.ndarray]:
    study = read_study(folder)
    found = []
    for place in study.places:
        with Image.open(folder / "images" / place.images[source]) as image:
            found.append(np.asarray(image, np.float64))
    return found


def test_all_images_are_of_one_size_in_pixels_and_in_bytes(made: Path) -> None:
    files = list((made / "study/images").iterdir())
    study = read_study(made / "study")
    assert len(files) == 4 * len(study.places)
    assert len({file.stat().st_size for file in files}) == 1
    shapes = {image.shape for source in (REAL, SR) for image in images_of(made / "study", source)}
    assert shapes == {(study.side_px, study.side_px, 3)}


def test_names_of_files_and_their_order_tell_nothing(made: Path) -> None:
    study = read_study(made / "study")
    names = sorted(
        (file, source) for place in study.places for source, file in place.images.items()
    )
    thirds = [source for _, source in names]
    half = len(thirds) // 2
    for source in (REAL, SR, BICUBIC, LR):
        assert 0 < thirds[:half].count(source) < len(study.places)


def test_what_is_shown_is_the_same_place_in_each_source(made: Path) -> None:
    """SR of a network that has learned nothing is bicubic; LR squares are its means."""
    real, sr, bicubic, lr = (images_of(made / "study", s) for s in (REAL, SR, BICUBIC, LR))
    for r, s, b, c in zip(real, sr, bicubic, lr, strict=True):
        assert np.abs(s - b).max() <= 1
        assert np.corrcoef(r.ravel(), b.ravel())[0, 1] > 0.5
        blocks = c.reshape(c.shape[0] // 4, 4, c.shape[1] // 4, 4, 3)
        assert np.ptp(blocks, axis=(1, 3)).max() == 0


def test_only_test_pairs_are_shown(made: Path) -> None:
    from geo.pairstore.store import PairStore

    rows = PairStore.open(made / "store").rows(kind="pair", columns=("identity", "split"))
    split = {row["identity"]: row["split"] for row in rows.to_pylist()}
    assert {split[place.name] for place in read_study(made / "study").places} == {"test"}


def test_a_folder_with_a_study_is_left_alone(made: Path) -> None:
    config = MakeConfig(out=made / "study", trials=TRIALS)
    with pytest.raises(UsageError, match="holds the study"):
        study_of_store(config, str(made / "store"), str(made / "generator"), None)


def test_a_network_for_other_imagery_is_refused(made: Path, tmp_path: Path) -> None:
    save(tmp_path / "other", scale=2)
    config = MakeConfig(out=tmp_path / "study", trials=TRIALS)
    with pytest.raises(UsageError, match=r"scale 2.*scale 4"):
        study_of_store(config, str(made / "store"), str(tmp_path / "other"), None)


def test_nobody_has_answered_is_said(made: Path) -> None:
    with pytest.raises(FlowError, match="nobody has answered"):
        results_of(made / "study")


def test_results_go_to_the_run_of_the_model(
    made: Path, tmp_path: Path, new_tracker: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    run_id = tracking.start_run("train", {"stage": "train"}, {})
    folder = tmp_path / "study"
    config = MakeConfig(out=folder, trials=TRIALS, run_id=run_id)
    study_of_store(config, str(made / "store"), str(made / "generator"), None)
    study = read_study(folder)
    records = Records(f"sqlite:///{folder / 'answers.db'}")
    for _ in range(3):
        rater = records.add_rater()
        for trial in trials_of(study, rater.number):
            records.answer(
                rater, trial, sorted(trial.right)[0], exposure_ms=1000, took_ms=1, opened=1
            )
    records.close()
    results_of(folder)
    run = tracking.mlflow_client().get_run(run_id)
    assert run.data.metrics["study/judged_real/real"] == 1.0
    assert run.data.metrics["study/judged_real/sr"] == 0.0
    assert 0 < run.data.metrics["study/judged_real/sr_high"] < 1
    assert run.data.metrics["study/raters"] == 3
    assert "Study: 3 raters" in run.data.tags["mlflow.note.content"]
    logged = {f.path for f in tracking.mlflow_client().list_artifacts(run_id, "study")}
    assert logged == {"study/results.json", "study/study.html"}
