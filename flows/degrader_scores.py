"""Scores of a trained degrader on ground that it has never seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.log_lines import finite
from flows.train_evaluate import training_of
from flows.train_folder import folder_of, write_text_whole
from geo.pairstore.store import PairStore
from geo.scores.likeness import histogram_distance, spectrum_distance_db
from geo.scores.pixels import psnr_db
from models.data import PairSource, evenly_spaced
from models.degrade import NAME, DegraderModel
from models.degrading import TurnedRound
from models.evaluate import Score, evaluate
from models.trainer import TrainResult

_MOST_CHIPS = 512  # spectra and histograms of more say the same


def score_seen(
    seen: npt.NDArray[Any],
    lr: npt.NDArray[Any],
    hr: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    *,
    data_range: float,
) -> dict[str, float]:
    """PSNR of a derived LR image against the true one, and that of the plain mean.

    Parameters
    ----------
    seen, lr : array, [C, h, w]
    hr : array, [C, s*h, s*w]
    valid : array of bool, [h, w]
    data_range : float
        The DN that means 1.0.
    """
    mine, true, plain = (np.asarray(a, np.float64) for a in (seen, lr, mean_of_cells(hr, lr)))
    scores = {"psnr_db": psnr_db(mine, true, valid, data_range)}
    scores["mean_psnr_db"] = psnr_db(plain, true, valid, data_range)
    return {**scores, "gain_over_mean_db": scores["psnr_db"] - scores["mean_psnr_db"]}


def mean_of_cells(hr: npt.NDArray[Any], lr: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean over each LR pixel, [C, s*h, s*w] to [C, h, w]."""
    bands, height, width = lr.shape
    cells = np.asarray(hr, np.float32).reshape(bands, height, -1, width, hr.shape[2] // width)
    return np.asarray(cells.mean(axis=(2, 4)))


def evaluate_degrader(
    job: Mapping[str, Any],
    store: PairStore,
    score: Score,
    result: TrainResult,
    tell: Callable[[str], None],
    tell_scores: Callable[[Mapping[str, float]], str | None],
) -> dict[str, Any]:
    """Score validation and test pairs, and write ``evaluation.json``.

    Returns
    -------
    dict
        ``val`` and ``test``: means of `score_seen` over pairs (of what is seen but for noise), and
        distances of derived to real LR images, with noise: ``spectrum_db``, ``histogram``, the
        same of the plain mean (``mean_spectrum_db``, ``mean_histogram``), ``pairs``; or None.
        ``training`` and ``config`` as in `flows.train_evaluate.evaluate_run`.
    """
    model = DegraderModel(result.exported)
    found: dict[str, Any] = {
        "parameters": result.parameters,
        "config": job["config"],
        "training": training_of(result.exported, NAME),
    }
    for split in ("val", "test"):
        pairs = store.reader(split, version=job["store_version"])
        found[split] = _split_scores(model, pairs, score) if len(pairs) else None
        if scores := found[split]:
            tell(f"{split}: {tell_scores(scores)} over {scores['pairs']} pairs")
    write_text_whole(folder_of(job).evaluation, json.dumps(finite(found), indent=2))
    return found


def _split_scores(model: DegraderModel, pairs: PairSource, score: Score) -> dict[str, Any]:
    evaluation = evaluate(
        model.without_noise, TurnedRound(pairs, model.scale), score, limit=_MOST_CHIPS
    )
    places = evenly_spaced(len(pairs), _MOST_CHIPS)
    chips = [pair for pair in pairs.read(places) if pair.valid.all()]
    return {
        **evaluation.scores,
        "pairs": evaluation.pairs,
        **(_distances(model, chips) if chips else {}),
    }


def _distances(model: DegraderModel, chips: list[Any]) -> dict[str, float]:
    real = [np.asarray(chip.lr, np.float32) for chip in chips]
    seen = [model(chip.hr[None], number)[0] for number, chip in enumerate(chips)]
    plain = [mean_of_cells(chip.hr, chip.lr) for chip in chips]
    return {
        "spectrum_db": spectrum_distance_db(seen, real),
        "mean_spectrum_db": spectrum_distance_db(plain, real),
        "histogram": histogram_distance(seen, real),
        "mean_histogram": histogram_distance(plain, real),
    }
