"""When one model takes another's place: one rule for registry and `skyscale compare`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from models.quality import correctness, is_consistent, quality, reaches


def merit(scores: Mapping[str, float]) -> float:
    """PSNR less the price of detail that is missing or too much (see `models.quality`), in dB.

    Pooled scores, consistency and correctness not among them: those are limits, not prices.
    """
    return quality(scores)


def decide(compared: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether A takes the place of B, and why.

    It does where its merit on the same tiles is higher and the 95 % interval of the difference,
    over places, lies above 0, and where A keeps two limits, both bicubic upsampling's: it is as
    consistent with its LR input, and of what it draws as large a part is right (`correctness`; as
    B's, where B's is smaller). A B beyond a limit gives way to any A that keeps both. In doubt B
    stays: a tie, too few places for an interval, an interval that holds 0.

    Parameters
    ----------
    compared : mapping
        What `geo.reporting.compare.compare` gives with `merit`.
    """
    told = _told(compared)
    ground = "test tiles" if compared["scope"] == "test" else "tiles"
    places = f"{compared['tiles']} {ground} of {compared['places']} places"
    consistency = compared["scores"].get("lr_consistency", {})
    right = compared.get("correctness") or {}
    if not _fits(consistency, "a"):
        return False, f"less consistent with its LR input than bicubic; {told}; {places}"
    if not _fits(consistency, "b"):
        return True, f"the other is less consistent with its LR input than bicubic; {told}"
    mine, theirs = (reaches(right.get(which), right.get("bicubic")) for which in "ab")
    if not mine and (theirs or not reaches(right["a"], right["b"])):
        least = "bicubic" if theirs else "bicubic and the other"
        return False, f"less of what it draws is right than of {least}; {told}; {places}"
    if mine and not theirs:
        return True, f"less of what the other draws is right than of bicubic; {told}"
    difference = compared["merit_db"]
    if difference is None:
        return False, "no tile of both has a reference, so there is no PSNR to judge by"
    if difference["interval"] is None:
        return False, f"too few places for an interval; {told}; {places}"
    if difference["difference"] == 0:
        return False, f"a tie; {told}; {places}"
    low, high = difference["interval"]
    if low > 0 and difference["difference"] > 0:
        return True, f"better by merit; {told}; {places}"
    if high < 0:
        return False, f"worse by merit; {told}; {places}"
    return False, f"no difference shown: the interval holds 0; {told}; {places}"


def decide_first(scores: Mapping[str, float]) -> tuple[bool, str]:
    """Whether a model may be the first champion: not one that its LR input contradicts.

    How much of what it draws is right is told and no limit: there is nobody to keep instead, and
    the next one that is better in this takes its place.

    Parameters
    ----------
    scores : mapping
        On test ground, as `flows.train_evaluate.summarise` gives them.
    """
    detail = scores.get("hf_power_ratio")
    shown = "" if detail is None else f", detail {detail:.0%} of reality's"
    mine, plain = (correctness(scores, of) for of in ("", "bicubic_"))
    right = "" if mine is None or plain is None else f", {_right(mine)} (bicubic {plain:.0%})"
    told = f"test gain {scores['gain_db']:+.3f} dB{shown}{right}"
    if not is_consistent(scores):
        return False, f"less consistent with its LR input than bicubic; {told}"
    return True, f"no champion to compare with; {told}"


def _fits(consistency: Mapping[str, Any], which: str) -> bool:
    mine, plain = consistency.get(which), consistency.get("bicubic")
    if mine is None or plain is None:
        return True
    return is_consistent({"lr_consistency": mine, "bicubic_lr_consistency": plain})


def _told(compared: Mapping[str, Any]) -> str:
    """The numbers, in a line."""
    lines = [
        _with_interval(label, compared[name])
        for label, name in (("merit", "merit_db"), ("PSNR", "psnr_db"))
        if compared.get(name) is not None
    ]
    detail = compared.get("hf_power_ratio")
    if detail is not None:
        lines.append(f"detail {detail['a']:.0%} of reality's against {detail['b']:.0%}")
    if right := compared.get("correctness"):
        plain = "" if right["bicubic"] is None else f" (bicubic {right['bicubic']:.0%})"
        lines.append(f"{_right(right['a'])} against {right['b']:.0%}{plain}")
    consistency = compared["scores"].get("lr_consistency")
    if consistency is not None:
        lines.append(f"LR consistency {consistency['a']:.5f} against {consistency['b']:.5f}")
    return ", ".join(lines)


def _right(part: float) -> str:
    return f"{part:.0%} of what it draws right"


def _with_interval(label: str, difference: Mapping[str, Any]) -> str:
    value, interval = difference["difference"], difference["interval"]
    if value is None or not math.isfinite(value):
        return f"{label} not comparable"
    told = f"{label} {value:+.3f} dB"
    if interval is None:
        return told
    return f"{told} (95 % interval {interval[0]:+.3f} to {interval[1]:+.3f})"
