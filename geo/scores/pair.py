"""Scores of one tile: the same formulas for validation, test and reports.

All images are DN, float; ``data_range`` is the DN that means 1.0 and PSNR's MAX. Only pixels that
are valid and at least `crop_px` away from the tile's edge count: there, a tile that was upsampled
by itself had no neighbours to look at, and neither had its bicubic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.interpolate import upsample
from geo.scores import correctness
from geo.scores.consistency import lr_consistency
from geo.scores.correctness import Correctness
from geo.scores.pixels import Image, Mask, as_image, gain_db, psnr_of, rectangle, squared_error
from geo.scores.sharpness import detail_share, hf_power
from geo.scores.shifted import ShiftSearch
from geo.scores.spectra import ergas, sam_deg
from geo.scores.structure import Structure

# (image, hr, valid) to a distance; DN [C, H, W] twice, [H, W].
Perceptual = Callable[[npt.NDArray[Any], npt.NDArray[Any], Mask], float]

# Of every image: the satellite's, the generator's, another generator's.
NAMES = (
    "psnr_db",
    "ssim",
    "cpsnr_db",
    "sam_deg",
    "ergas",
    *correctness.NAMES,
    "detail",
    "squared_error",
    "hf_power",
    "lr_consistency",
)


class Judge:
    """One tile's truth, prepared once for all images that are held against it.

    See `score_pair` for the parameters.
    """

    def __init__(
        self,
        hr: npt.ArrayLike | None,
        lr: npt.ArrayLike | None,
        valid: Mask,
        *,
        scale: int,
        data_range: float,
        crop_px: int | None = None,
        seen: Mask | None = None,
        perceptual: Perceptual | None = None,
    ) -> None:
        self._scale, self._range, self._perceptual = scale, data_range, perceptual
        self._crop = scale if crop_px is None else crop_px
        self._hr = None if hr is None else as_image(hr)
        self._lr = None if lr is None else as_image(lr)
        self._seen = valid if seen is None else seen
        self._valid = valid if hr is not None else np.zeros_like(valid)
        self._counted = _without_rim(self._valid, self._crop)
        self.names = NAMES if perceptual is None else (*NAMES, "lpips")

    @property
    def pixels(self) -> int:
        """How many are compared with the reference."""
        return int(np.count_nonzero(self._counted))

    @cached_property
    def real_hf_power(self) -> float:
        """`hf_power` of the reference."""
        return math.nan if self._hr is None else hf_power(self._hr, self._counted, self._scale)

    def score(self, image: npt.ArrayLike) -> dict[str, float]:
        """Scores of one image, [C, H, W], by the names of `names`; NaN where one is not known."""
        fine = as_image(image)
        power = hf_power(fine, self._sharp, self._scale)
        found = dict.fromkeys(self.names, math.nan)
        found |= {"hf_power": power, "squared_error": 0.0}
        if self._lr is not None:
            found["lr_consistency"] = lr_consistency(
                fine, self._lr, self._seen, self._scale, self._range
            )
        if self._hr is None or not self.pixels:
            return found
        error, values = squared_error(fine, self._hr, self._counted)
        found |= {
            "psnr_db": psnr_of(error, values, self._range),
            "ssim": self._structure.ssim(fine),
            "cpsnr_db": self._shifts.psnr_db(fine),
            "sam_deg": sam_deg(fine, self._hr, self._counted),
            "ergas": ergas(fine, self._hr, self._counted, self._scale),
            "detail": detail_share(power, self.real_hf_power),
            "squared_error": error,
        }
        if self._correctness is not None:
            found |= self._correctness.of(fine[:, *self._whole_lr])
        if self._perceptual is not None:
            found["lpips"] = self._look(fine, self._hr)
        return found

    @property
    def _sharp(self) -> Mask:
        """Where sharpness is looked at: without a reference, where the image itself is good."""
        return _without_rim(self._seen, self._crop) if self._hr is None else self._counted

    @cached_property
    def _structure(self) -> Structure:
        assert self._hr is not None
        return Structure(self._hr, self._counted, self._range)

    @cached_property
    def _shifts(self) -> ShiftSearch:
        assert self._hr is not None
        return ShiftSearch(self._hr, self._counted, self._range)

    @cached_property
    def _whole_lr(self) -> tuple[slice, slice]:
        """The tile without its rim, of whole LR pixels."""
        rim = -(-self._crop // self._scale) * self._scale
        height, width = self._valid.shape
        return slice(rim, height - rim), slice(rim, width - rim)

    @cached_property
    def _correctness(self) -> Correctness | None:
        if self._hr is None or self._lr is None:
            return None
        s, inner = self._scale, self._whole_lr
        coarse = tuple(slice(part.start // s, part.stop // s) for part in inner)
        height, width = self._lr.shape[1:]
        # A hole of the satellite's image covers whole LR pixels; others need not be its own.
        lr_valid: Mask = np.any(self._seen.reshape(height, s, width, s), axis=(1, 3))
        return Correctness(
            self._hr[:, *inner],
            self._lr[:, *coarse],
            self._counted[inner],
            scale=s,
            data_range=self._range,
            lr_valid=lr_valid[coarse],
        )

    def _look(self, fine: Image, truth: Image) -> float:
        box = rectangle(self._counted)
        if box is None or self._perceptual is None:
            return math.nan
        return float(self._perceptual(fine[:, *box], truth[:, *box], self._counted[box]))


def score_pair(
    sr: npt.ArrayLike,
    hr: npt.ArrayLike | None,
    lr: npt.ArrayLike | None,
    valid: Mask,
    *,
    scale: int,
    data_range: float,
    bicubic: npt.ArrayLike | None = None,
    other: npt.ArrayLike | None = None,
    crop_px: int | None = None,
    seen: Mask | None = None,
    plain: Mapping[str, float] | None = None,
    perceptual: Perceptual | None = None,
) -> dict[str, float]:
    """Score an upsampled tile with bicubic beside it.

    Parameters
    ----------
    sr : array, [C, H, W]
    hr : array, [C, H, W], or None
        Without it, what is compared with it is NaN.
    lr : array, [C, h, w], or None
        Without it, bicubic, consistency and the three of opensr-test are NaN.
    valid : array of bool, [H, W]
        Where all images are good.
    bicubic : array, [C, H, W], optional
        With the context of a whole region; otherwise made of this tile alone.
    other : array, [C, H, W], optional
        What another upsampler made of the same tile.
    crop_px : int, optional
        HR pixels left out along the edges; `scale` by default.
    seen : array of bool, [H, W], optional
        Where `sr` and `lr` are good, for the consistency of the two also where there is no
        reference; `valid` by default.
    plain : mapping, optional
        What `score_bicubic` says of this pair, where it is known.
    perceptual : callable, optional
        ``(image, hr, valid) -> distance`` on DN [C, H, W] without the rim, for ``lpips``.

    Returns
    -------
    dict of str to float
        ``psnr_db``, ``ssim``, ``cpsnr_db``, ``sam_deg``, ``ergas``, ``improvement``, ``omission``,
        ``hallucination``, ``detail``, ``lr_consistency``, with `perceptual` ``lpips``, and the same
        of bicubic (``bicubic_psnr_db`` ...) and, where it is given, of the other
        (``other_psnr_db`` ...); ``gain_db`` and ``other_gain_db`` over bicubic,
        ``valid_fraction``; and for pooling ``squared_error``, ``bicubic_squared_error``,
        ``values``, ``hf_power``, ``bicubic_hf_power``, ``real_hf_power``.
    """
    rules: dict[str, Any] = {
        "scale": scale,
        "data_range": data_range,
        "crop_px": crop_px,
        "seen": seen,
        "perceptual": perceptual,
    }
    judge = Judge(hr, lr, valid, **rules)
    mine = judge.score(sr)
    if plain is None:
        plain = _score_bicubic(judge, lr, bicubic, scale)
    found = {**mine, **plain, "gain_db": gain_db(mine["psnr_db"], plain["bicubic_psnr_db"])}
    if other is not None:
        theirs = judge.score(other)
        found |= {f"other_{name}": value for name, value in theirs.items()}
        found["other_gain_db"] = gain_db(theirs["psnr_db"], plain["bicubic_psnr_db"])
    found["valid_fraction"] = float(valid.mean()) if hr is not None else 0.0
    found["values"] = float(judge.pixels * len(as_image(sr)))
    return found


def score_bicubic(
    hr: npt.ArrayLike | None,
    lr: npt.ArrayLike | None,
    valid: Mask,
    *,
    scale: int,
    data_range: float,
    bicubic: npt.ArrayLike | None = None,
    crop_px: int | None = None,
    seen: Mask | None = None,
    perceptual: Perceptual | None = None,
) -> dict[str, float]:
    """The part of `score_pair` that does not depend on what was drawn: bicubic's, and reality's.

    See `score_pair` for the parameters.

    Returns
    -------
    dict of str to float
        ``bicubic_psnr_db`` ..., NaN without `lr`, and ``real_hf_power``.
    """
    judge = Judge(
        hr,
        lr,
        valid,
        scale=scale,
        data_range=data_range,
        crop_px=crop_px,
        seen=seen,
        perceptual=perceptual,
    )
    return _score_bicubic(judge, lr, bicubic, scale)


def _score_bicubic(
    judge: Judge, lr: npt.ArrayLike | None, bicubic: npt.ArrayLike | None, scale: int
) -> dict[str, float]:
    if bicubic is None and lr is not None:
        bicubic = upsample(np.asarray(lr, np.float32), scale, "bicubic")
    if lr is None or bicubic is None:
        plain = dict.fromkeys(judge.names, math.nan)
    else:
        plain = judge.score(bicubic)
    found = {f"bicubic_{name}": value for name, value in plain.items()}
    return {**found, "real_hf_power": judge.real_hf_power}


def _without_rim(valid: Mask, crop: int) -> Mask:
    counted = valid.copy()
    if crop:
        counted[:crop] = counted[-crop:] = False
        counted[:, :crop] = counted[:, -crop:] = False
    return counted
