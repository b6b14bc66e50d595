"""A trained generator on its way out: card, curves, artifacts, registry, judgement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows import registry, tracking
from flows.console import say
from flows.learning_curves import draw_curves, read_curves
from flows.metric_spool import Spool
from flows.model_card import escape_markdown, write_card
from flows.run_logger import RunLogger
from flows.train_folder import folder_of, write_text_whole


def publish_run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write the card and the curves, then tell MLflow and its registry, if they are there.

    Returns
    -------
    dict
        ``run_id``, ``model_uri``, ``generator``, ``val``, ``test``, ``published``. Without a
        tracker the model is the folder on this disk, and `published` is false.
    """
    folder, run_id = folder_of(job), job["run_id"]
    evaluation = folder.read_evaluation()
    write_text_whole(folder.card, write_card(job, evaluation))
    curves = read_curves(Spool(folder.spool).entries())
    draw_curves(curves, folder.curves, title=f"skyscale train {run_id[:8]}")
    result = {
        "run_id": run_id,
        "generator": str(folder.generator),
        "val": evaluation.get("val"),
        "test": evaluation.get("test"),
    }
    try:
        version = _tell_tracker(job, evaluation)
    except tracking.trouble() as error:
        say(
            f"train: trained, but not registered ({' '.join(str(error).split())[:300]}); "
            f"--resume {run_id} does that"
        )
        return {**result, "model_uri": str(folder.generator), "published": False}
    uri = f"models:/{registry.MODEL_NAME}/{version}"
    return {**result, "model_uri": uri, "published": True}


def _tell_tracker(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Log scores and files, register and judge; returns the version."""
    folder, run_id = folder_of(job), job["run_id"]
    tracking.check_reachable()  # MLflow's client would try for minutes
    logger = RunLogger(run_id, folder.spool)
    step = evaluation["training"]["selected_step"] or 0
    for group, split in (("test", "test"), ("val_final", "val")):
        scores = evaluation.get(split) or {}
        logger.metrics({f"{group}/{name}": value for name, value in scores.items()}, step)
    left = logger.close()
    if left is not None:
        say(f"train: {left}")
    for file in (folder.evaluation, folder.curves, folder.events):
        if file.exists():
            tracking.log_files(run_id, {"": file})
    tracking.log_files(run_id, {"generator": folder.generator})
    sha = evaluation["training"]["weights_sha256"]
    known = registry.find_version(run_id, sha)
    if known is not None:
        say(f"train: registered before as version {known}")
        return known
    test = evaluation.get("test") or {}
    version = registry.register(
        run_id,
        {
            "weights_sha256": sha,
            "store_version": job["store_version"],
            "store_digest": job["store_digest"],
            "test_psnr_db": test.get("psnr_db"),
            "test_bicubic_psnr_db": test.get("bicubic_psnr_db"),
            "test_gain_db": test.get("gain_db"),
            "test_hf_power_ratio": test.get("hf_power_ratio"),
        },
    )
    _judge(version, job, evaluation)
    tracking.describe_run(run_id, _describe(job, version, evaluation))
    return version


def _describe(job: Mapping[str, Any], version: str, evaluation: Mapping[str, Any]) -> str:
    """What a reviewer of the run wants to know first."""
    lines = [
        f"Generator version {version} of `{registry.MODEL_NAME}`, {evaluation['parameters']} "
        f"parameters, trained on version {job['store_version']} of "
        f"{escape_markdown(job['store'])}.",
        "",
        "| ground | pairs | PSNR dB | bicubic dB | gain dB |",
        "|---|---|---|---|---|",
    ]
    for split in ("val", "test"):
        if s := evaluation.get(split):
            lines.append(
                f"| {split} | {s['pairs']} | {s['psnr_db']:.2f} | {s['bicubic_psnr_db']:.2f} | "
                f"{s['gain_db']:+.2f} |"
            )
    lines += [
        "",
        "Model card: `generator/README.md`; curves: `curves.png`; pictures through time: "
        "`samples/`; reports of upscaled regions, where there are any: `report/`.",
    ]
    return "\n".join(lines)


def _judge(version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    """Champion is who is best on the same test pairs; the reason is written on the version."""
    from models.quality import quality

    test, champion = evaluation.get("test"), evaluation.get("champion")
    if not test:
        reason = "not promoted: there is no test ground to judge on"
    elif not champion:
        reason = f"promoted: no champion to compare with; {_merits(test)}"
    else:
        better = quality(test) > quality(champion)
        reason = (
            f"{'promoted' if better else 'not promoted'}: {_merits(test)}, against "
            f"{_merits(champion)} of the champion on the same pairs"
        )
    if reason.startswith("promoted"):
        registry.promote(version, reason)
    else:
        registry.keep_champion(version, reason)
    say(f"train: version {version} {reason}")


def _merits(scores: Mapping[str, float]) -> str:
    """What the choice is made by."""
    detail = scores.get("hf_power_ratio")
    told = "" if detail is None else f", detail {detail:.0%} of reality's"
    return f"test gain {scores['gain_db']:+.3f} dB{told}"
