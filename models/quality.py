"""One number to choose generators by: not PSNR alone, which takes the blurriest.

This module must not import torch: flows judge by it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# As consistent with the input as bicubic, but for what validation on few pairs cannot tell.
_TOLERANCE = 1.02


def quality(scores: Mapping[str, float], detail_worth_db: float) -> float:
    """PSNR of all pixels together, less what detail is missing or too much, in dB.

    ``PSNR - w |log2(P / P_real)|``, P the power at frequencies that the satellite cannot see: a
    factor of two in it is worth w dB. PSNR alone would choose the blurriest state, power alone the
    noisiest. What is less consistent with its LR input than bicubic upsampling is out.

    Parameters
    ----------
    scores : mapping
        ``squared_error`` and ``values``, or else ``psnr_db``; ``hf_power_ratio``,
        ``lr_consistency``, ``bicubic_lr_consistency``. What is missing is not asked for.
    detail_worth_db : float
        w.

    Returns
    -------
    float
        In dB up to a constant, which is the same for the same pairs; minus infinity for what is
        out; NaN without any PSNR.
    """
    psnr = _psnr(scores)
    mine, bicubic = scores.get("lr_consistency"), scores.get("bicubic_lr_consistency")
    if mine is not None and bicubic is not None and mine > bicubic * _TOLERANCE:
        return -math.inf
    ratio = scores.get("hf_power_ratio")
    if ratio is None or detail_worth_db == 0:
        return psnr
    return psnr - detail_worth_db * abs(math.log2(ratio)) if ratio > 0 else -math.inf


def _psnr(scores: Mapping[str, float]) -> float:
    if scores.get("squared_error") and scores.get("values"):
        return -10 * math.log10(scores["squared_error"] / scores["values"])
    return scores.get("psnr_db", math.nan)
