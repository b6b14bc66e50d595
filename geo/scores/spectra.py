"""Likeness of spectra: spectral angle and ERGAS."""

from __future__ import annotations

import math

import numpy as np

from geo.scores.pixels import Image, Mask, band_errors


def sam_deg(sr: Image, hr: Image, valid: Mask) -> float:
    """Mean angle between the spectra of valid pixels, in degrees (Kruse et al., 1993).

    NaN with one band, which has no spectrum. Pixels that are black in either image have none
    either and do not count.
    """
    if len(sr) < 2:
        return math.nan
    product = np.einsum("chw,chw->hw", sr, hr)
    power = np.einsum("chw,chw->hw", sr, sr) * np.einsum("chw,chw->hw", hr, hr)
    good = valid & (power > 0)
    if not good.any():
        return math.nan
    cosine = np.clip(product[good] / np.sqrt(power[good]), -1, 1)
    return float(np.degrees(np.arccos(cosine).mean()))


def ergas(sr: Image, hr: Image, valid: Mask, scale: int) -> float:
    """Relative error of all bands together; 0 is perfect, and without unit.

    ``100 / scale * sqrt(mean over bands of MSE / mean^2)``, the mean that of `hr`.

    Parameters
    ----------
    sr, hr : array, [C, H, W]
    valid : array of bool, [H, W]
    scale : int
        HR pixels along an LR pixel: the published ``h / l`` is its inverse.

    Returns
    -------
    float
        NaN without pixels, and where the mean of a band is not above 0.

    Notes
    -----
    Wald, "Data fusion: definitions and architectures", 2002: erreur relative globale
    adimensionnelle de synthese. One number from one tile's means: it is not additive, and the
    mean of many tiles is not that of the whole.
    """
    sums, count = band_errors(sr, hr, valid)
    if count == 0:
        return math.nan
    means = hr.mean(axis=(1, 2)) if count == valid.size else hr[:, valid].mean(axis=1)
    if not (means > 0).all():
        return math.nan
    return 100 / scale * math.sqrt(float((sums / count / means**2).mean()))
