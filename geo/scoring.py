"""Scores of one tile: the same formulas for validation, test and reports.

All images are DN, float; ``data_range`` is the DN that means 1.0 and PSNR's MAX. Only pixels that
are valid and at least `crop_px` away from the tile's edge count: there, a tile that was upsampled
by itself had no neighbours to look at, and neither had its bicubic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.interpolate import upsample
from geo.sensor import blur_sigma_px, degrade
from geo.sharpness import hf_power

_Image = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

CPSNR_RADIUS_PX = 3
# Sides of a place in chips, and how many places an interval should rest on; see `group_places`.
_PLACE_SIDES = (8, 4, 2, 1)
_MIN_PLACES = 10
# Fewer pixels than this, and a shift with its own mean difference fits them by chance.
_CPSNR_MIN_PX = 64
_NAMES = (
    "psnr_db",
    "ssim",
    "cpsnr_db",
    "sam_deg",
    "squared_error",
    "hf_power",
    "lr_consistency",
)
_BLUR_REACH_SIGMAS = 3.5  # where `degrade` truncates its Gaussian
_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5  # an 11 x 11 window, truncated at 3.5 sigma


def squared_error(sr: _Image, hr: _Image, valid: _Mask) -> tuple[float, int]:
    """Sum of squared differences over valid pixels of all bands, and how many values that is."""
    difference = sr[:, valid] - hr[:, valid]
    return float(np.square(difference).sum()), int(difference.size)


def psnr_of(sum_squared: float, count: int, data_range: float) -> float:
    """``20 log10(MAX) - 10 log10(MSE)`` in dB; infinite for identical images, NaN without pixels.

    Pooled over many tiles it is this formula on the summed errors and counts.
    """
    if count == 0:
        return math.nan
    mse = sum_squared / count
    if mse == 0:
        return math.inf
    return 20 * math.log10(data_range) - 10 * math.log10(mse)


def psnr_db(sr: _Image, hr: _Image, valid: _Mask, data_range: float) -> float:
    """Peak signal-to-noise ratio over valid pixels of all bands."""
    return psnr_of(*squared_error(sr, hr, valid), data_range)


def cpsnr_db(
    sr: _Image, hr: _Image, valid: _Mask, data_range: float, radius: int = CPSNR_RADIUS_PX
) -> float:
    """PSNR after the best whole-pixel shift and with the mean difference of each band removed.

    Notes
    -----
    The rule of the PROBA-V challenge (Maertens et al., 2019): shifts of -3 to 3 HR pixels by one
    in both directions, `sr` cropped by 3. Here both images have holes, so a pixel counts where
    it is valid in `sr` and, moved, in `hr`; a shift that leaves less than half of the pixels to
    compare does not compete, and NaN is returned where fewer than 64 are left without a shift.
    """
    height, width = valid.shape
    core = np.s_[radius : height - radius, radius : width - radius]
    inner, inner_valid = sr[:, *core], valid[core]
    enough = max(_CPSNR_MIN_PX, np.count_nonzero(inner_valid) / 2)
    best = -math.inf
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            window = np.s_[dy : dy + inner.shape[1], dx : dx + inner.shape[2]]
            good = valid[window] & inner_valid
            count = int(np.count_nonzero(good))
            if count < enough:
                continue
            difference = (hr[:, *window] - inner) * good
            # Sum of squares about the mean of each band, in one pass.
            flat = difference.reshape(len(difference), -1)
            squares = np.einsum("ij,ij->i", flat, flat) - flat.sum(axis=1) ** 2 / count
            residual = max(0.0, float(squares.sum()))
            best = max(best, psnr_of(residual, count * len(flat), data_range))
    return best if best > -math.inf else math.nan


def ssim(sr: _Image, hr: _Image, valid: _Mask, data_range: float) -> float:
    """Structural similarity, mean over bands and over windows that are wholly valid.

    Notes
    -----
    Wang et al., IEEE TIP 13, 600 (2004): Gaussian window (sigma 1.5, 11 x 11), K1 0.01, K2 0.03,
    population covariance; equal to scikit-image with ``gaussian_weights=True`` and
    ``use_sample_covariance=False``.
    """

    def blur(image: _Image) -> _Image:
        sigma = (0, _SSIM_SIGMA, _SSIM_SIGMA)
        return np.asarray(ndimage.gaussian_filter(image, sigma, radius=(0, 5, 5)))

    inside = ndimage.binary_erosion(valid, np.ones((2 * _SSIM_RADIUS + 1,) * 2), border_value=0)
    if not inside.any():
        return math.nan
    # A constant shift changes no variance and keeps the sums of squares exact.
    ground = hr[:, valid].mean() if valid.any() else 0.0
    x = np.where(valid, sr - ground, 0.0)
    y = np.where(valid, hr - ground, 0.0)
    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x**2
    var_y = blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    true_x, true_y = mean_x + ground, mean_y + ground
    luminance = (2 * true_x * true_y + c1) / (true_x**2 + true_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return float((luminance * structure)[:, inside].mean())


def sam_deg(sr: _Image, hr: _Image, valid: _Mask) -> float:
    """Mean angle between the spectra of valid pixels, in degrees (Kruse et al., 1993).

    NaN with one band, which has no spectrum.
    """
    if len(sr) < 2:
        return math.nan
    a, b = sr[:, valid], hr[:, valid]
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    good = norms > 0
    if not good.any():
        return math.nan
    cosine = np.clip((a * b).sum(axis=0)[good] / norms[good], -1, 1)
    return float(np.degrees(np.arccos(cosine)).mean())


def lr_consistency(sr: _Image, lr: _Image, valid: _Mask, scale: int, data_range: float) -> float:
    """RMSE between the LR input and `sr` seen by the satellite's sensor, in units of `data_range`.

    Needs no reference: what the sensor would make of the output has to be what it measured.
    LR pixels count for which all that the sensor's blur reaches is valid and inside the tile.
    """
    height, width = lr.shape[1:]
    whole = valid.reshape(height, scale, width, scale).all(axis=(1, 3))
    reach = math.ceil(_BLUR_REACH_SIGMAS * blur_sigma_px(scale) / scale)
    inside = ndimage.binary_erosion(whole, np.ones((2 * reach + 1,) * 2), border_value=0)
    if not inside.any():
        return math.nan
    seen = degrade(np.asarray(sr, np.float32), scale)
    difference = (seen - lr)[:, inside]
    return float(np.sqrt(np.square(difference).mean()) / data_range)


def score_pair(
    sr: npt.ArrayLike,
    hr: npt.ArrayLike,
    lr: npt.ArrayLike | None,
    valid: _Mask,
    *,
    scale: int,
    data_range: float,
    bicubic: npt.ArrayLike | None = None,
    crop_px: int | None = None,
    seen: _Mask | None = None,
    plain: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Score an upsampled tile with bicubic beside it.

    Parameters
    ----------
    sr, hr : array, [C, H, W]
    lr : array, [C, h, w], or None
        Without it, bicubic and consistency are NaN.
    valid : array of bool, [H, W]
        Where all images are good.
    bicubic : array, [C, H, W], optional
        With the context of a whole region; otherwise made of this tile alone.
    crop_px : int, optional
        HR pixels left out along the edges; `scale` by default.
    seen : array of bool, [H, W], optional
        Where `sr` and `lr` are good, for the consistency of the two also where there is no
        reference; `valid` by default.
    plain : mapping, optional
        What `score_bicubic` says of this pair, where it is known.

    Returns
    -------
    dict of str to float
        ``psnr_db``, ``ssim``, ``cpsnr_db``, ``sam_deg``, ``lr_consistency`` and the same of
        bicubic (``bicubic_psnr_db`` ...); ``gain_db``, ``valid_fraction``; and for pooling
        ``squared_error``, ``bicubic_squared_error``, ``values``, ``hf_power``,
        ``bicubic_hf_power``, ``real_hf_power``.
    """
    fine, ground = np.asarray(sr, np.float64), np.asarray(hr, np.float64)
    crop = scale if crop_px is None else crop_px
    rules: dict[str, Any] = {
        "scale": scale,
        "data_range": data_range,
        "crop_px": crop,
        "seen": seen,
    }
    mine = _score(fine, ground, lr, valid, **rules)
    if plain is None:
        plain = score_bicubic(ground, lr, valid, bicubic=bicubic, **rules)
    return {
        **mine,
        **plain,
        "gain_db": _gain(mine["psnr_db"], plain["bicubic_psnr_db"]),
        "valid_fraction": float(valid.mean()),
        "values": float(_without_rim(valid, crop).sum() * len(fine)),
    }


def score_bicubic(
    hr: npt.ArrayLike,
    lr: npt.ArrayLike | None,
    valid: _Mask,
    *,
    scale: int,
    data_range: float,
    bicubic: npt.ArrayLike | None = None,
    crop_px: int | None = None,
    seen: _Mask | None = None,
) -> dict[str, float]:
    """The part of `score_pair` that does not depend on what was drawn: bicubic's, and reality's.

    See `score_pair` for the parameters.

    Returns
    -------
    dict of str to float
        ``bicubic_psnr_db`` ..., NaN without `lr`, and ``real_hf_power``.
    """
    ground = np.asarray(hr, np.float64)
    crop = scale if crop_px is None else crop_px
    if bicubic is None and lr is not None:
        bicubic = upsample(np.asarray(lr, np.float32), scale, "bicubic")
    if lr is None or bicubic is None:
        plain = dict.fromkeys(_NAMES, math.nan)
    else:
        base = np.asarray(bicubic, np.float64)
        plain = _score(
            base, ground, lr, valid, scale=scale, data_range=data_range, crop_px=crop, seen=seen
        )
    return {
        **{f"bicubic_{name}": value for name, value in plain.items()},
        "real_hf_power": hf_power(ground, _without_rim(valid, crop), scale),
    }


def _without_rim(valid: _Mask, crop: int) -> _Mask:
    counted = valid.copy()
    if crop:
        counted[:crop] = counted[-crop:] = False
        counted[:, :crop] = counted[:, -crop:] = False
    return counted


def _score(
    image: _Image,
    ground: _Image,
    lr: npt.ArrayLike | None,
    valid: _Mask,
    *,
    scale: int,
    data_range: float,
    crop_px: int,
    seen: _Mask | None,
) -> dict[str, float]:
    counted = _without_rim(valid, crop_px)
    error, values = squared_error(image, ground, counted)
    consistency = math.nan
    if lr is not None:
        coarse = np.asarray(lr, np.float64)
        both = valid if seen is None else seen
        consistency = lr_consistency(image, coarse, both, scale, data_range)
    found = (
        psnr_of(error, values, data_range),
        ssim(image, ground, counted, data_range),
        cpsnr_db(image, ground, counted, data_range),
        sam_deg(image, ground, counted),
        error,
        hf_power(image, counted, scale),
        consistency,
    )
    return dict(zip(_NAMES, found, strict=True))


def _gain(mine: float, plain: float) -> float:
    """Difference in dB; two identical images gain nothing over each other."""
    return 0.0 if mine == plain == math.inf else mine - plain


def pooled_gain(
    errors: Sequence[float],
    bicubic_errors: Sequence[float],
    values: Sequence[float],
    *,
    data_range: float,
) -> dict[str, float]:
    """PSNR of all pixels of many tiles together, bicubic's, and the difference, in dB.

    Parameters
    ----------
    errors, bicubic_errors : sequence of float
        Summed squared errors of each tile (``squared_error`` of `score_pair`).
    values : sequence of float
        How many values those are sums of.

    Returns
    -------
    dict of str to float
        ``psnr_db``, ``bicubic_psnr_db``, ``gain_db``.
    """
    count = round(math.fsum(values))
    mine, plain = (psnr_of(math.fsum(e), count, data_range) for e in (errors, bicubic_errors))
    return {"psnr_db": mine, "bicubic_psnr_db": plain, "gain_db": _gain(mine, plain)}


def group_places(
    cells: Sequence[tuple[object, int, int]],
) -> tuple[int, list[tuple[object, int, int]]]:
    """Places of which an interval is drawn: squares of chips, as wide as leaves enough of them.

    Neighbouring chips resemble each other: drawn one by one they make the interval about half too
    narrow (measured on 529 tiles of one region).

    Parameters
    ----------
    cells : sequence of (lattice, row, col)
        Of each chip; all dates of a cell are one place.

    Returns
    -------
    side : int
        Of a place, in chips.
    places : list
        The place of each chip.
    """
    for side in _PLACE_SIDES:
        places = [(lattice, row // side, col // side) for lattice, row, col in cells]
        if len(set(places)) >= _MIN_PLACES:
            break
    return side, places


def bootstrap_interval(
    errors: Sequence[float],
    bicubic_errors: Sequence[float],
    *,
    places: Sequence[object],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % interval of the pooled gain over bicubic, resampling places rather than tiles.

    Tiles of one place, and dates of one tile, resemble each other; drawn one by one they would
    make the interval too narrow.

    Returns
    -------
    (low, high) in dB, or None with fewer than two places.
    """
    names = sorted({str(p) for p in places})
    if len(names) < 2:
        return None
    index = {name: i for i, name in enumerate(names)}
    sums = np.zeros((2, len(names)))
    for place, mine, plain in zip(places, errors, bicubic_errors, strict=True):
        sums[:, index[str(place)]] += (mine, plain)
    draw = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    mine, plain = sums[0][draw].sum(axis=1), sums[1][draw].sum(axis=1)
    good = (mine > 0) & (plain > 0)
    if not good.any():
        return None
    low, high = np.percentile(10 * np.log10(plain[good] / mine[good]), [2.5, 97.5])
    return float(low), float(high)
