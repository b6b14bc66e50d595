"""Improvement, omission and hallucination: where the detail of an image comes from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from geo.interpolate import stretch
from geo.scores.harmony import Images, Mask, Palette, PhaseCompass, moved

NAMES = ("improvement", "omission", "hallucination")

_MAX_SHIFT_PX = 5
_THRESHOLD_QUANTILE = 0.75
_SOFTNESS = 0.05  # lambda of all three
_TEMPERATURE = 0.25
_MIN_PX = 64
_EPS = np.float32(1e-8)


class Correctness:
    """Shares of improvement, omission and hallucination of many images against one truth.

    Parameters
    ----------
    hr : array, [C, H, W]
        DN.
    lr : array, [C, h, w]
        DN; ``H = scale * h``.
    valid : array of bool, [H, W]
        Where all images are good.
    scale : int
    data_range : float
        The DN that means a reflectance of 1.
    lr_valid : array of bool, [h, w], optional
        Where `lr` is good, all of it by default. Pixels that an LR pixel which is not good would
        have a part in do not count.

    Notes
    -----
    Aybar et al., "A comprehensive benchmark for optical remote sensing image super-resolution",
    IEEE GRSL 21 (2024), as its package opensr-test 1.3.3 computes it by default (``compute``).
    Taken from there: the image is given the histogram of `hr` band by band, moved onto it by
    phase correlation (to 1/50 px; not at all where that says more than 5 px), and `lr` is
    stretched bilinearly. Distances are of each pixel, the mean over bands of the normalised
    difference ``|a - b| / |a + b|``: ``d_ref`` of `lr` from `hr`, ``d_im`` of the image from
    `hr`, ``d_om`` of the image from `lr`. Pixels count where any of the three exceeds the 75th
    percentile of ``d_ref``. With the two as parts of ``d_ref``, ``H = d_im + d_om - 1`` and
    lambda = 0.05::

        improvement    d_im + d_om (1 - exp(-lambda H))
        omission       d_om + d_im (1 - exp(-lambda H))
        hallucination  exp(-lambda d_im d_om)

    and a softmin of temperature 0.25 makes shares of these, whose means are told. They add up
    to 1. Not taken: its distances by networks (LPIPS, CLIP), and its border of 16 px, for which
    the caller's rim stands (`score_pair`).

    Blind to a shift of up to 5 px and to all colours, both of which are taken off first: a
    truth moved by 2 px counts as improvement nearly throughout. What it calls hallucination is
    a distance from both; bicubic has some of it.
    """

    def __init__(
        self,
        hr: npt.ArrayLike,
        lr: npt.ArrayLike,
        valid: Mask,
        *,
        scale: int,
        data_range: float,
        lr_valid: Mask | None = None,
    ) -> None:
        self._range = data_range
        self._valid = valid
        self._known = np.count_nonzero(valid) >= _MIN_PX
        if not self._known:
            return
        weights = _bilinear(scale)
        self._hr = self._reflectance(hr)
        self._lr = stretch(self._reflectance(lr), weights)
        self._counted = valid
        if lr_valid is not None and not lr_valid.all():
            touched = stretch((~lr_valid[None]).astype(np.float32), weights)[0] > 0
            self._counted = valid & ~touched
        self._palette = Palette(self._hr, valid)
        self._compass = PhaseCompass(self._hr, valid)
        self._d_ref = _distance(self._lr, self._hr)

    def of(self, image: npt.ArrayLike) -> dict[str, float]:
        """``improvement``, ``omission`` and ``hallucination`` of one image, [C, H, W].

        NaN where fewer than 64 pixels are left, or none has a distance.
        """
        if not self._known:
            return dict.fromkeys(NAMES, math.nan)
        sr = self._palette.matched(self._reflectance(image))
        dy, dx = self._compass.shift(sr)
        counted = self._counted
        if math.hypot(dy, dx) > _MAX_SHIFT_PX:
            dy = dx = 0.0
        sr = moved(sr, dy, dx)
        if not self._valid.all():
            holes = moved((~self._valid[None]).astype(np.float32), dy, dx)[0]
            counted = counted & (holes == 0)
        return dict(zip(NAMES, self._shares(sr, counted), strict=True))

    def _shares(self, sr: Images, counted: Mask) -> tuple[float, ...]:
        distances = (self._d_ref, _distance(sr, self._hr), _distance(sr, self._lr))
        d_ref, d_im, d_om = (d.ravel() if counted.all() else d[counted] for d in distances)
        if len(d_ref) < _MIN_PX:
            return (math.nan,) * 3
        place = int(_THRESHOLD_QUANTILE * len(d_ref)) - 1
        least = np.partition(d_ref, place)[place]
        chosen = (d_ref > least) | (d_im > least) | (d_om > least)
        with np.errstate(divide="ignore", invalid="ignore"):
            d_im, d_om = d_im[chosen] / d_ref[chosen], d_om[chosen] / d_ref[chosen]
            soft = 1 - np.exp(-_SOFTNESS * (d_im + d_om - 1))
            far = np.stack(
                [d_im + d_om * soft, d_om + d_im * soft, np.exp(-_SOFTNESS * d_im * d_om)]
            )
            near = np.exp(far / -_TEMPERATURE)
            shares = near / near.sum(axis=0)
        shares = shares[:, np.isfinite(shares).all(axis=0)]
        if not shares.size:
            return (math.nan,) * 3
        return tuple(float(share) for share in shares.mean(axis=1, dtype=np.float64))

    def _reflectance(self, image: npt.ArrayLike) -> Images:
        share: Images = (np.asarray(image) / self._range).astype(np.float32)
        return share


def _distance(a: Images, b: Images) -> npt.NDArray[np.float32]:
    """Normalised difference, mean over bands, [H, W]."""
    whole = a + b
    whole += _EPS
    apart = a - b
    with np.errstate(divide="ignore", invalid="ignore"):
        apart /= whole
    mean: npt.NDArray[np.float32] = np.abs(apart, out=apart).mean(axis=0)
    return mean


def _bilinear(scale: int) -> npt.NDArray[np.float64]:
    """Weights of three LR pixels for each place of an HR pixel in its LR pixel."""
    offsets = (np.arange(scale) + 0.5) / scale - 0.5
    weights: npt.NDArray[np.float64] = (1 - np.abs(np.arange(-1, 2) - offsets[:, None])).clip(0)
    return weights
