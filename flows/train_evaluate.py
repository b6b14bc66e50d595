"""Scores of a trained generator on ground that it has never seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.log_lines import finite
from flows.train_folder import folder_of, write_text_whole
from geo.pairstore.store import PairStore
from geo.reporting.scored import ScoredTiles, write_scored
from geo.scores.pair import score_bicubic, score_pair
from geo.scores.pooling import bootstrap_interval, group_places, pooled_gain
from models.errors import ModelError
from models.evaluate import Evaluation, Score, evaluate
from models.predict import Predictor
from models.trainer import TrainResult
from models.weights_file import card_name


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
        """Scores of what was drawn, with bicubic's beside them.

        Without ``detail``: that of one chip says little, and its mean over chips would stand
        beside the ratio of sums, ``hf_power_ratio``, as if it were the same.
        """
        known = hashlib.blake2b(digest_size=16)
        for image in (hr, lr, valid):
            known.update(np.ascontiguousarray(image).data)
        key = known.digest()
        if key not in self._plain:
            self._plain[key] = score_bicubic(hr, lr, valid, **self._rules)
        found = score_pair(sr, hr, lr, valid, plain=self._plain[key], **self._rules)
        return {name: found[name] for name in found if not name.endswith("detail")}


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
        ``config``, the settings that it was for. Scores of each test pair lie beside it, in
        ``test/`` and ``champion/``.
    """
    mine = Predictor(result.exported)
    found: dict[str, Any] = {
        "parameters": result.parameters,
        "config": job["config"],
        "training": training_of(result.exported, "generator"),
    }
    folder = folder_of(job)
    for split in ("val", "test"):
        pairs = score_pairs(mine, store, job["store_version"], split, score)
        found[split] = None if pairs is None else pairs.summary
        if split == "test" and pairs is not None:
            write_scored(pairs.tiles, folder.test)
        if scores := found[split]:
            tell(
                f"{split}: PSNR {scores['psnr_db']:.2f} dB, bicubic "
                f"{scores['bicubic_psnr_db']:.2f} dB, gain {scores['gain_db']:+.2f} dB "
                f"over {scores['pairs']} pairs"
            )
    champion = None
    if job["champion"]:
        try:
            champion = score_champion(job["champion"], job, store, score)
        except ModelError as error:  # its files may be gone by now; this run's must not be lost
            tell(f"the champion cannot be compared with: {error}")
    if champion is not None:
        write_scored(champion.tiles, folder.champion)
    found["champion"] = None if champion is None else champion.summary
    write_text_whole(folder.evaluation, json.dumps(finite(found), indent=2))
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


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """Scores of the pairs of a split.

    Parameters
    ----------
    summary : dict
        See `summarise`.
    tiles : ScoredTiles
        Pair by pair.
    """

    summary: dict[str, Any]
    tiles: ScoredTiles


def score_pairs(
    predictor: Predictor, store: PairStore, version: int, split: str, score: Score
) -> ScoredPairs | None:
    """Score all pairs of a split; None where it has none."""
    pairs = store.reader(split, version=version)
    if not len(pairs):
        return None
    rows = store.rows(
        kind="pair", split=split, version=version, columns=("identity", "crs", "row", "col")
    )
    where = {r["identity"]: (r["crs"], r["row"] or 0, r["col"] or 0) for r in rows.to_pylist()}
    identities = pairs.rows["identity"].to_pylist()
    cells = [where[identity] for identity in identities]
    evaluation = evaluate(predictor, pairs, score)
    crs, row, col = zip(*cells, strict=True)
    columns: dict[str, npt.NDArray[Any]] = {
        "tile": np.array(identities, object),
        "crs": np.array(crs, object),
        "row": np.array(row, np.float64),
        "col": np.array(col, np.float64),
        "category": np.array(pairs.groups, object),
        "split": np.full(len(cells), split, object),
        **{name: np.array(of, np.float64) for name, of in evaluation.values.items()},
    }
    config = store.config
    facts = {
        "data_range": config.data_range,
        "scale": config.scale,
        "bands": list(config.bands),
        "crop_px": config.scale,  # a chip alone has no neighbours along its rim
        "mask": "valid pixels of the pair",
        "reference": f"aerial half of the pairs, {config.lr_size} LR px",
    }
    return ScoredPairs(
        summary=summarise(
            evaluation, cells=cells, categories=pairs.groups, data_range=config.data_range
        ),
        tiles=ScoredTiles(name=f"{split} pairs", columns=columns, facts=facts),
    )


def score_champion(
    folder: str, job: Mapping[str, Any], store: PairStore, score: Score
) -> ScoredPairs | None:
    """Score another generator on the test pairs of a run, whatever it was trained on.

    Raises
    ------
    ModelError
        If it cannot be read, or draws other bands or at another scale.
    """
    other = Predictor(folder)
    mine = (store.config.scale, store.config.bands)
    if (other.scale, other.bands) != mine:
        theirs, wanted = (
            f"{', '.join(bands or ())} at scale {scale}"
            for scale, bands in ((other.scale, other.bands), mine)
        )
        raise ModelError(f"it draws {theirs}, this one {wanted}")
    return score_pairs(other, store, job["store_version"], "test", score)


def training_of(folder: Path, name: str) -> dict[str, Any]:
    """What an exported network says of its training, without the settings.

    Parameters
    ----------
    name : str
        Of its files, ``generator`` for example.
    """
    card = json.loads((folder / card_name(name)).read_text())
    told = {key: value for key, value in card["training"].items() if key != "config"}
    return {**told, "weights_sha256": card["weights_sha256"]}
