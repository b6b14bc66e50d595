"""Scores of a trained generator on ground that it has never seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.console import finite
from flows.train_folder import folder_of, write_text_whole
from geo.pairstore.store import PairStore
from geo.scoring import (
    bootstrap_interval,
    group_places,
    pooled_gain,
    score_bicubic,
    score_pair,
)
from models.errors import ModelError
from models.evaluate import Evaluation, Score, evaluate
from models.predict import Predictor
from models.trainer import TrainResult


class PairScore:
    """`score_pair` for pairs that come again and again: bicubic is scored once for each.

    Parameters
    ----------
    scale : int
    data_range : float
    """

    def __init__(self, *, scale: int, data_range: float) -> None:
        self._rules: dict[str, Any] = {"scale": scale, "data_range": data_range}
        self._plain: dict[bytes, dict[str, float]] = {}

    def __call__(
        self,
        sr: npt.NDArray[Any],
        hr: npt.NDArray[Any],
        lr: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_],
    ) -> dict[str, float]:
        """Scores of what was drawn, with bicubic's beside them."""
        known = hashlib.blake2b(digest_size=16)
        for image in (hr, lr, valid):
            known.update(np.ascontiguousarray(image).data)
        key = known.digest()
        if key not in self._plain:
            self._plain[key] = score_bicubic(hr, lr, valid, **self._rules)
        return score_pair(sr, hr, lr, valid, plain=self._plain[key], **self._rules)


def evaluate_run(
    job: Mapping[str, Any],
    store: PairStore,
    score: Score,
    result: TrainResult,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Score validation and test pairs, and the champion on the same test pairs.

    Returns
    -------
    dict
        What ``evaluation.json`` in the run's folder holds: ``val``, ``test`` and ``champion`` as
        `summarise` gives them, or None; ``training``, what the generator says of its training;
        ``config``, the settings that it was for.
    """
    mine = Predictor(result.generator)
    found: dict[str, Any] = {
        "parameters": result.parameters,
        "config": job["config"],
        "training": _training(result.generator),
    }
    for split in ("val", "test"):
        found[split] = _score_split(mine, store, job["store_version"], split, score)
        if scores := found[split]:
            tell(
                f"{split}: PSNR {scores['psnr_db']:.2f} dB, bicubic "
                f"{scores['bicubic_psnr_db']:.2f} dB, gain {scores['gain_db']:+.2f} dB "
                f"over {scores['pairs']} pairs"
            )
    found["champion"] = _score_champion(job, store, score, tell)
    write_text_whole(folder_of(job).evaluation, json.dumps(finite(found), indent=2))
    return found


def summarise(
    evaluation: Evaluation,
    *,
    cells: Sequence[tuple[object, int, int]],
    categories: Sequence[str | None],
    data_range: float,
) -> dict[str, Any]:
    """Scores of a split: means over chips, pooled gain with its interval, and by category.

    Parameters
    ----------
    cells : sequence of (lattice, row, col)
        Of each pair.
    categories : sequence of str or None
        Of each pair.
    data_range : float
        The DN that means 1.0.

    Returns
    -------
    dict
        Each score by name, mean over chips; ``pairs``; ``pooled_psnr_db``,
        ``pooled_bicubic_psnr_db`` and ``pooled_gain_db``, of all pixels together, as in reports;
        ``pooled_gain_db_low`` and ``pooled_gain_db_high``, the ends of its 95 % interval, drawn of
        ``interval_places`` places of ``interval_place_chips`` chips on a side;
        ``by_category``, the pooled ones of each.
    """
    mine, plain = (evaluation.values[f"{of}squared_error"] for of in ("", "bicubic_"))
    counts = evaluation.values["values"]
    side, places = group_places(cells)
    interval = bootstrap_interval(mine, plain, places=places)

    def pool(chosen: Sequence[int]) -> dict[str, Any]:
        picked = ([column[i] for i in chosen] for column in (mine, plain, counts))
        pooled = pooled_gain(*picked, data_range=data_range)
        return {f"pooled_{name}": value for name, value in pooled.items()}

    named = sorted({category for category in categories if category is not None})
    by_category = {name: [i for i, c in enumerate(categories) if c == name] for name in named}
    return {
        **evaluation.scores,
        "pairs": evaluation.pairs,
        **pool(range(evaluation.pairs)),
        **(
            {}
            if interval is None
            else {"pooled_gain_db_low": interval[0], "pooled_gain_db_high": interval[1]}
        ),
        "interval_places": len(set(places)),
        "interval_place_chips": side,
        "by_category": {
            name: {"pairs": len(chosen), **pool(chosen)} for name, chosen in by_category.items()
        },
    }


def _score_split(
    predictor: Predictor, store: PairStore, version: int, split: str, score: Score
) -> dict[str, Any] | None:
    pairs = store.reader(split, version=version)
    if not len(pairs):
        return None
    rows = store.rows(
        kind="pair", split=split, version=version, columns=("identity", "crs", "row", "col")
    )
    where = {r["identity"]: (r["crs"], r["row"] or 0, r["col"] or 0) for r in rows.to_pylist()}
    return summarise(
        evaluate(predictor, pairs, score),
        cells=[where[identity] for identity in pairs.rows["identity"].to_pylist()],
        categories=pairs.groups,
        data_range=store.config.data_range,
    )


def _score_champion(
    job: Mapping[str, Any], store: PairStore, score: Score, tell: Callable[[str], None]
) -> dict[str, Any] | None:
    if not job["champion"]:
        return None
    try:
        champion = Predictor(job["champion"])
    except ModelError as error:  # its files may be gone by now; this run's must not be lost
        tell(f"the champion cannot be compared with: {error}")
        return None
    if (champion.scale, champion.bands) != (store.config.scale, store.config.bands):
        return None
    return _score_split(champion, store, job["store_version"], "test", score)


def _training(generator: Path) -> dict[str, Any]:
    """What the exported generator says of its training, without the settings."""
    card = json.loads((generator / "generator.json").read_text())
    told = {key: value for key, value in card["training"].items() if key != "config"}
    return {**told, "weights_sha256": card["weights_sha256"]}
