"""A challenger before the champion: both on the same test pairs, and the reason written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows import registry
from flows.champion_rule import decide, decide_first, merit
from flows.console import say
from flows.errors import FlowError
from flows.log_lines import finite
from flows.train_folder import folder_of, write_text_whole
from geo.errors import GeoError
from geo.reporting.scored import ScoredTiles, read_scored
from models.errors import ModelError

_BY_HAND = "; give it the alias `champion` in MLflow if it should be"


def judge(version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    """Make a version champion if the rule says so; write the reason, with numbers, on it.

    Parameters
    ----------
    version : str
        Of the registered model.
    job, evaluation : mapping
        As `flows.train_job` and `flows.train_evaluate` write them.

    Notes
    -----
    What cannot be compared with the champion (no files, other bands, another scale) does not take
    its place: nobody has seen that it is better. A champion that was made while this run was
    training is compared with as well.
    """
    better, reason = _decide(version, job, evaluation)
    told = f"{'promoted' if better else 'not promoted'}: {reason}"
    if better:
        registry.promote(version, told)
    else:
        registry.keep_champion(version, told)
    say(f"train: version {version} {told}")


def _decide(
    version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> tuple[bool, str]:
    test, rival = evaluation.get("test"), registry.champion_version()
    if not test:
        return False, "there is no test ground to judge on"
    file = folder_of(job).comparison
    if rival is not None and str(rival.version) == version:
        return True, _reason_before(file)
    if rival is None:
        return decide_first(test)
    name = f"champion version {rival.version}"
    try:
        compared = _compare(job, f"{rival.name}/{rival.version}")
    except (FlowError, ModelError, GeoError) as error:
        return False, f"{name} cannot be compared with ({error}){_BY_HAND}"
    better, reason = decide(compared)
    reason += f"; against {name} on the same test pairs{_other_data(rival, job)}"
    told = {**compared, "a_replaces_b": better, "reason": reason}
    write_text_whole(file, json.dumps(finite(told), indent=2))
    return better, reason


def _reason_before(file: Path) -> str:
    """Why what is to be judged is champion already: a lost tracker did not hear it, or by hand."""
    told = json.loads(file.read_text()) if file.exists() else {}
    if told.get("a_replaces_b"):
        return str(told["reason"])
    return "it was champion before this was written: MLflow was lost then, or it was done by hand"


def _compare(job: Mapping[str, Any], champion: str) -> dict[str, Any]:
    from geo.reporting.compare import compare

    theirs = _scores_of(champion, job)
    return compare(read_scored(folder_of(job).test, "challenger"), theirs, merit=merit).summary


def _scores_of(version: str, job: Mapping[str, Any]) -> ScoredTiles:
    """The champion's scores of the run's test pairs: made by its ranks, or else now."""
    folder = folder_of(job)
    if job.get("champion_version") == version and folder.champion.exists():
        return read_scored(folder.champion, f"champion {version}")
    from flows.train_evaluate import PairScore, score_champion
    from geo.pairstore.store import PairStore
    from geo.reporting.scored import write_scored

    source = registry.find_model(f"models:/{version}")
    if source.folder is None:
        raise FlowError(f"{version} has no files")
    say(f"train: scoring the champion, version {version}, on the test pairs of this run")
    store = PairStore.open(job["store"])
    score = PairScore(scale=store.config.scale, data_range=store.config.data_range)
    scored = score_champion(source.folder, job, store, score)
    if scored is None:
        raise FlowError("there are no test pairs")
    write_scored(scored.tiles, folder.champion)
    return scored.tiles


def _other_data(rival: Any, job: Mapping[str, Any]) -> str:
    """A word of caution where the two have learned from different pairs."""
    digest = rival.tags.get("store_digest")
    if digest in (None, job["store_digest"]):
        return ""
    return f", though it was trained on other pairs (version {rival.tags.get('store_version')})"
