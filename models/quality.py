"""Numbers to choose generators by: not PSNR alone, which takes the blurriest.

This module must not import torch: flows judge by it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# As good as bicubic, but for what few pairs cannot tell.
_TOLERANCE = 1.02
_DETAIL_WORTH_DB = 1.0
# Bicubic and Lanczos have less than a hundredth of reality's detail, one of them twice the other's,
# and nobody sees it: less than a thirty-second is none.
_MOST_DB = 5.0


def quality(scores: Mapping[str, float]) -> float:
    """PSNR of all pixels together, less what detail is missing or too much, in dB.

    ``PSNR - min(5, |log2(P / P_real)|)``, P the power at frequencies that the satellite cannot
    see: a factor of two in it is worth one dB, which is about what it costs at its best. PSNR alone
    would choose the blurriest generator, power alone the noisiest. What is less consistent with its
    LR input than bicubic upsampling is out, and so is what draws less that is right.

    Parameters
    ----------
    scores : mapping
        ``squared_error`` and ``values``, or else ``psnr_db``; ``hf_power_ratio``,
        ``lr_consistency``, ``improvement``, ``hallucination``, and the last three of bicubic
        (``bicubic_lr_consistency`` ...). What is missing is not asked for.

    Returns
    -------
    float
        In dB up to a constant, which is the same for the same pairs; minus infinity for what is
        out; NaN without any PSNR.
    """
    psnr = psnr_of(scores)
    if not (is_consistent(scores) and is_correct(scores)):
        return -math.inf
    ratio = scores.get("hf_power_ratio")
    if ratio is None:
        return psnr
    price = _DETAIL_WORTH_DB * abs(math.log2(ratio)) if ratio > 0 else _MOST_DB
    return psnr - min(price, _MOST_DB)


def is_consistent(scores: Mapping[str, float]) -> bool:
    """Whether an image fits its LR input as well as bicubic upsampling does, as far as is known."""
    mine, bicubic = scores.get("lr_consistency"), scores.get("bicubic_lr_consistency")
    return mine is None or bicubic is None or not mine > bicubic * _TOLERANCE


def is_correct(scores: Mapping[str, float]) -> bool:
    """Whether of what is drawn as large a part is right as of bicubic's, as far as is known."""
    return reaches(correctness(scores), correctness(scores, "bicubic_"))


def reaches(mine: float | None, least: float | None) -> bool:
    """Whether a correctness is as high as another, but for what few pairs cannot tell."""
    return mine is None or least is None or not mine * _TOLERANCE < least


def correctness(scores: Mapping[str, float], of: str = "") -> float | None:
    """Of what is not as in the LR input, the part that is right: improvement, not hallucination.

    ``improvement / (improvement + hallucination)`` of opensr-test (see `geo.scores.correctness`).
    Hallucination alone would speak for what draws nothing: bicubic has less of it than any
    generator.

    Parameters
    ----------
    scores : mapping
        ``improvement`` and ``hallucination``.
    of : str
        What stands before these names, ``"bicubic_"`` for example.

    Returns
    -------
    float or None
        0 to 1; None where it is not known.
    """
    right, wrong = scores.get(f"{of}improvement"), scores.get(f"{of}hallucination")
    if right is None or wrong is None or not right + wrong > 0:
        return None
    return right / (right + wrong)


def faithfulness(scores: Mapping[str, float]) -> float:
    """How near a state without a game is to what is real.

    The likelihood of chips, the mean IoU of maps, else PSNR; see `psnr_of`.
    """
    told = [scores[name] for name in ("elbo", "mean_iou") if name in scores]
    return told[0] if told else psnr_of(scores)


def psnr_of(scores: Mapping[str, float]) -> float:
    """PSNR over all pixels, up to a constant; the mean of tiles where no sums are known."""
    if scores.get("squared_error") and scores.get("values"):
        return -10 * math.log10(scores["squared_error"] / scores["values"])
    return scores.get("psnr_db", math.nan)
