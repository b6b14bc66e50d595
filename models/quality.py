"""Numbers to choose generators by: not PSNR alone, which takes the blurriest.

This module must not import torch: flows judge by it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# As consistent with the input as bicubic, but for what validation on few pairs cannot tell.
_TOLERANCE = 1.02
_DETAIL_WORTH_DB = 1.0


def quality(scores: Mapping[str, float]) -> float:
    """PSNR of all pixels together, less what detail is missing or too much, in dB.

    ``PSNR - |log2(P / P_real)|``, P the power at frequencies that the satellite cannot see: a
    factor of two in it is worth one dB, which is about what it costs at its best. PSNR alone would
    choose the blurriest generator, power alone the noisiest. What is less consistent with its LR
    input than bicubic upsampling is out.

    Parameters
    ----------
    scores : mapping
        ``squared_error`` and ``values``, or else ``psnr_db``; ``hf_power_ratio``,
        ``lr_consistency``, ``bicubic_lr_consistency``. What is missing is not asked for.

    Returns
    -------
    float
        In dB up to a constant, which is the same for the same pairs; minus infinity for what is
        out; NaN without any PSNR.
    """
    psnr = psnr_of(scores)
    if not is_consistent(scores):
        return -math.inf
    ratio = scores.get("hf_power_ratio")
    if ratio is None:
        return psnr
    return psnr - _DETAIL_WORTH_DB * abs(math.log2(ratio)) if ratio > 0 else -math.inf


def is_consistent(scores: Mapping[str, float]) -> bool:
    """Whether an image fits its LR input as well as bicubic upsampling does, as far as is known."""
    mine, bicubic = scores.get("lr_consistency"), scores.get("bicubic_lr_consistency")
    return mine is None or bicubic is None or not mine > bicubic * _TOLERANCE


def psnr_of(scores: Mapping[str, float]) -> float:
    """PSNR over all pixels, up to a constant; the mean of tiles where no sums are known."""
    if scores.get("squared_error") and scores.get("values"):
        return -10 * math.log10(scores["squared_error"] / scores["values"])
    return scores.get("psnr_db", math.nan)
