"""The card of a generator: what it is for, what it was made of, how good it is, what it cannot do.

A pure function of the job and its evaluation, after Mitchell et al., "Model cards for model
reporting" (2019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$])")


def escape_markdown(text: object) -> str:
    """Text that comes from catalogues and paths, on one line and without meaning to Markdown."""
    plain = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", plain)


def write_card(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Markdown of the card.

    Parameters
    ----------
    job : mapping
        As ``flows.train_job`` writes it.
    evaluation : mapping
        As ``flows.train_evaluate`` writes it.
    """
    parts = (
        _head(job, evaluation),
        _use(job),
        _data(job),
        _training(job, evaluation),
        _scores(evaluation),
        *_trade_off(job, evaluation),
        _limits(job, evaluation),
        _licence(),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    generator, data = job["config"]["generator"], job.get("data", {})
    kind = escape_markdown(generator["name"])
    sha = evaluation.get("training", {}).get("weights_sha256", "")
    return [
        f"# Skyscale generator {kind} x{data.get('scale', '?')}",
        "",
        f"{evaluation['parameters']:,} parameters, {generator['channels']} channels, "
        f"{generator['blocks']} blocks. MLflow run `{job['run_id']}`; SHA-256 of the weights "
        f"`{sha[:16] or 'unknown'}`.",
    ]


def _use(job: Mapping[str, Any]) -> list[str]:
    data = job.get("data", {})
    bands = ", ".join(escape_markdown(band) for band in data.get("bands", ())) or "unknown"
    return [
        "## Intended use",
        "",
        f"Draws satellite imagery with {data.get('scale', 'several')} times as many pixels on a "
        f"side (`skyscale upscale`): bands {bands}, in this order, in raw DN of which "
        f"{data.get('data_range', 0):g} mean reflectance 1. For looking at, and as a background "
        "for people who know that the detail is drawn.",
        "",
        "Not for measuring, counting or identifying small things, for detecting change, as "
        "evidence, or for decisions about people or property.",
    ]


def _data(job: Mapping[str, Any]) -> list[str]:
    data = job.get("data", {})
    lines = [
        "## Data",
        "",
        f"Pair store {escape_markdown(job['store'])}, version {job['store_version']}, digest "
        f"`{job['store_digest']}`. Splits are whole blocks of ground with a buffer, so no scored "
        "place was trained on, at any date.",
        "",
    ]
    balance = data.get("balance") or {}
    splits = [s for s in ("train", "val", "test") if s in data.get("splits", {})]
    if not splits:
        return [*lines, "No pair is in it.", *_beside_pairs(job)]
    lines += ["| category | " + " | ".join(splits) + " |", "|---" * (len(splits) + 1) + "|"]
    for category, counts in balance.items():
        cells = " | ".join(str(counts.get(split, 0)) for split in splits)
        lines.append(f"| {escape_markdown(category)} | {cells} |")
    total = " | ".join(str(data["splits"][split]) for split in splits)
    return [*lines, f"| all | {total} |", *_beside_pairs(job)]


def _beside_pairs(job: Mapping[str, Any]) -> list[str]:
    """What it learned from that is no true pair."""
    data, lines = job.get("data", {}), []
    if derived := data.get("derived"):
        made = ", ".join(f"{n} by {escape_markdown(name)}" for name, n in derived.items())
        lines += [
            "",
            f"LR images of {sum(derived.values())} of the training pairs are derived of "
            f"their HR images ({made}); none of the others, and no scored one, is.",
        ]
    chips = data.get("chips") or {}
    if job["config"].get("task") == "unpaired" and any(chips.values()):
        told = " and ".join(
            f"{chips.get(side, {}).get('train', 0)} {side.upper()}" for side in ("lr", "hr")
        )
        lines += [
            "",
            f"Beside the training pairs, {told} chips of training ground without partners.",
        ]
    return lines


def _training(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    config, told = job["config"], evaluation.get("training", {})
    clock, code = told.get("clock", {}), job.get("code", {})
    seconds = clock.get("content_s", 0.0) + clock.get("adversarial_s", 0.0)
    losses = ", ".join(
        f"{name} {weight:g}"
        for name, weight in config["losses"].items()
        if isinstance(weight, int | float) and weight
    )
    game = (
        f"{config['objective']} at weight {config['adversarial_weight']:g}, R1 {config['r1']:g}, "
        f"R2 {config['r2']:g}; discriminator {escape_markdown(config['discriminator']['name'])}"
        if clock.get("adversarial_steps")
        else "none"
    )
    return [
        "## Training",
        "",
        "| setting | value |",
        "|---|---|",
        *_begun(job.get("start")),
        *_apart(config),
        f"| generator updates, content | {clock.get('content_steps', 'unknown')} |",
        f"| generator updates, adversarial | {clock.get('adversarial_steps', 'unknown')} |",
        f"| exported state | {_exported(told, clock)} |",
        f"| pairs in a mini-batch | {config['batch_size']}, of {config['patch_lr']} LR px a side |",
        f"| losses | {escape_markdown(losses)} |",
        f"| adversarial game | {escape_markdown(game)} |",
        f"| seed | {config['seed']} |",
        f"| time | {seconds / 60:.1f} min on {told.get('ranks', 1)} ranks |",
        f"| code | skyscale {escape_markdown(code.get('skyscale_version', 'unknown'))}, commit "
        f"{escape_markdown(code.get('mlflow.source.git.commit', 'unknown')[:12])} |",
        "",
        "All settings: `generator.json`.",
    ]


def _apart(config: Mapping[str, Any]) -> list[str]:
    """That it was shown no image with its partner, if so."""
    if config.get("task") != "unpaired":
        return []
    cycle = config["cycle"]
    return [
        "| learned from | LR and HR images without partners, each in an order of its own: there "
        f"and back at weight {cycle['cycle']:g}, identity at {cycle['identity']:g} |"
    ]


def _begun(start: Mapping[str, Any] | None) -> list[str]:
    """What it was trained further from, if it did not begin from scratch."""
    if start is None:
        return []
    name, sha = escape_markdown(start["name"]), start["weights_sha256"][:16]
    return [f"| trained further from | {name}, SHA-256 of its weights `{sha}` |"]


# Score, its name for people, format, and which way is better.
_ROWS = (
    ("pooled_psnr_db", "PSNR, all pixels pooled, dB", ".2f", "higher"),
    ("psnr_db", "PSNR, mean of chips, dB", ".2f", "higher"),
    ("ssim", "SSIM", ".3f", "higher"),
    ("cpsnr_db", "cPSNR (shifts to 3 px, bias removed), dB", ".2f", "higher"),
    ("sam_deg", "spectral angle, degrees", ".2f", "lower"),
    ("lr_consistency", "LR consistency, RMSE of reflectance", ".5f", "lower"),
    ("hf_power_ratio", "power beyond LR Nyquist, reality = 1", ".3f", "nearer 1"),
)


def _scores(evaluation: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Scores",
        "",
        "Of chips upsampled alone, one LR pixel along their rims left out, valid pixels only. "
        "Bicubic (Keys, a = -0.5) on the same pixels.",
    ]
    for split, name in (("val", "Validation ground"), ("test", "Test ground")):
        scores = evaluation.get(split)
        if not scores:
            lines += ["", f"{name}: there is none."]
            continue
        lines += ["", f"{name}, {scores['pairs']} pairs:", ""]
        lines += ["| score | generator | bicubic | better is |", "|---|---|---|---|"]
        for key, label, form, better in _ROWS:
            mine, plain = scores.get(key), scores.get(_of_bicubic(key))
            if mine is not None:
                lines.append(f"| {label} | {_n(mine, form)} | {_n(plain, form)} | {better} |")
        lines += ["", _gain(scores)]
        lines += _by_category(scores)
    if evaluation.get("val"):
        lines += ["", "Validation ground chose the exported state, so its scores flatter it."]
    elif not evaluation.get("test"):
        lines += ["", "**Unproven.** It was held against no truth: nobody knows how good it is."]
    return lines


def _exported(told: Mapping[str, Any], clock: Mapping[str, Any]) -> str:
    if "selected_step" in told and told["selected_step"] is None:
        last = clock.get("content_steps", 0) + clock.get("adversarial_steps", 0)
        return f"of update {last}, the last one: there was no ground to choose on"
    return f"of update {told.get('selected_step', 'unknown')}{_on_the_way(told.get('sharp_share'))}"


def _on_the_way(share: float | None) -> str:
    """How far between the content phase and the last state of the game."""
    return "" if share is None else f", {share:.0%} of the way from faithful to sharp"


def _trade_off(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[list[str]]:
    """What more or less detail would cost, on validation ground; nothing without a game."""
    told = evaluation.get("training", {})
    points = told.get("trade_off") or []
    if len(points) < 2:
        return []
    lines = [
        "## Faithful or sharp",
        "",
        "Other points between the most faithful state of training and the sharpest (their weights "
        "interpolated), on validation ground. `--resume` with another `psnr_cost_db` (here "
        f"{job['config']['psnr_cost_db']:g}) exports another one without training anew.",
        "",
        "| share of the way | PSNR, mean of chips, dB | power beyond LR Nyquist, reality = 1 | |",
        "|---|---|---|---|",
    ]
    for point in points:
        mark = "exported" if point["share"] == told.get("sharp_share") else ""
        lines.append(
            f"| {point['share']:.0%} | {_n(point.get('psnr_db'), '.2f')} | "
            f"{_n(point.get('hf_power_ratio'), '.3f')} | {mark} |"
        )
    return [lines]


def _of_bicubic(key: str) -> str:
    return key.replace("pooled_", "pooled_bicubic_") if "pooled_" in key else f"bicubic_{key}"


def _gain(scores: Mapping[str, Any]) -> str:
    gain = f"Gain over bicubic, pooled: {_n(scores.get('pooled_gain_db'), '+.2f')} dB"
    low, high = scores.get("pooled_gain_db_low"), scores.get("pooled_gain_db_high")
    if low is None or high is None:
        return f"{gain}; too few places for an interval."
    side = scores["interval_place_chips"]
    return (
        f"{gain}; 95 % interval {low:+.2f} to {high:+.2f} dB, drawn of "
        f"{scores['interval_places']} places of {side} x {side} chips. It says nothing about other "
        "regions, seasons or sensors."
    )


def _by_category(scores: Mapping[str, Any]) -> list[str]:
    found = scores.get("by_category") or {}
    if not found:
        return []
    lines = ["", "| category | pairs | PSNR, pooled, dB | gain, dB |", "|---|---|---|---|"]
    for name, of in found.items():
        lines.append(
            f"| {escape_markdown(name)} | {of['pairs']} | {_n(of['pooled_psnr_db'], '.2f')} | "
            f"{_n(of['pooled_gain_db'], '+.2f')} |"
        )
    return lines


def _n(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _alone_colours(data: Mapping[str, Any]) -> str:
    """How images without a partner got theirs, where there are any."""
    alone = any((data.get("chips") or {}).values()) or bool(data.get("derived"))
    return " (what has no partner, by both collections as a whole)" if alone else ""


def _limits(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    data = job.get("data", {})
    scores = evaluation.get("test") or evaluation.get("val") or {}
    ratio = scores.get("hf_power_ratio")
    detail = "" if ratio is None else f" Here it is {ratio:.0%} of reality's."
    return [
        "## Limits",
        "",
        "- **It invents.** Detail finer than an LR pixel is what such ground often looks like, not "
        "what is there: edges, textures, cars, crowns and markings may be false or missing. How "
        f"much it draws says the power beyond LR Nyquist, not whether it is right.{detail}",
        "- **Ground.** It knows the regions, seasons, sensors and categories of its pairs. "
        "Elsewhere it draws as if it were here. Categories with few pairs are learned least.",
        "- **Time.** Pairs lie days or weeks apart: what moves or grows was taught as noise.",
        "- **Radiometry.** Aerial imagery was brought to the satellite's colours scene by scene"
        f"{_alone_colours(data)}; "
        "DN of the output are the satellite's only as far as LR consistency says. Clouds, snow, "
        "haze and saturated pixels were left out of training.",
        f"- **Scale and bands.** Only x{data.get('scale', '?')} from the LR pixel size of the "
        "store, only these bands in this order, only these DN.",
        "- **Scores.** PSNR prefers blur, sharpness prefers noise; chips without neighbours score "
        "a little worse than regions. Look at pictures of your own ground.",
    ]


def _licence() -> list[str]:
    return [
        "## Licence",
        "",
        "The code is Apache-2.0. Weights carry what the licences of the imagery that they were "
        "trained on ask for: name its providers, and check their terms before you pass the weights "
        "or their output on. If perceptual losses were used, the feature network has its own.",
    ]
