"""Upsampling by whole factors: nearest, bicubic, Lanczos.

Pixel centres lie at half pixels (``align_corners=False``) and the edge pixel is repeated outwards.
A whole factor has only ``scale`` different sets of weights, so each axis is a short sum of shifted
images, exact and the same for a pixel whatever window it is computed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Method = Literal["nearest", "bicubic", "lanczos"]
METHODS: tuple[Method, ...] = get_args(Method)

_Weights = npt.NDArray[np.float64]


def _keys(x: _Weights) -> _Weights:
    """Cubic convolution with a = -0.5, third-order exact.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15.
    """
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos3(x: _Weights) -> _Weights:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[_Weights], _Weights], int]] = {
    "bicubic": (_keys, 2),
    "lanczos": (_lanczos3, 3),
}


def halo(method: Method) -> int:
    """How far, in LR pixels, an HR pixel looks beyond the LR pixel that it lies in."""
    _check(method)
    return 0 if method == "nearest" else _KERNELS[method][1]


def upsample(lr: npt.NDArray[Any], scale: int, method: Method) -> npt.NDArray[np.float32]:
    """Upsample by a whole factor.

    Parameters
    ----------
    lr : array, [C, h, w]
        Finite values.
    scale : int
        1 or more.
    method : {"nearest", "bicubic", "lanczos"}
        Repetition; Keys' cubic convolution with a = -0.5 (as Pillow and Matlab have it);
        Lanczos with a = 3, its weights normalised to one.

    Returns
    -------
    array of float32, [C, scale*h, scale*w]

    Raises
    ------
    ValueError
        If the method or the scale is unknown.
    """
    _check(method)
    if scale < 1:
        raise ValueError(f"scale is {scale}; wanted 1 or more")
    if method == "nearest":
        repeated = lr.repeat(scale, axis=-2).repeat(scale, axis=-1)
        return np.asarray(repeated, np.float32)
    # Rows first: the wide intermediate image is then the one whose rows are contiguous.
    tall = _stretch_rows(np.asarray(lr, np.float32), scale, method)  # [C, H, w]
    wide = _stretch_rows(tall.swapaxes(-1, -2), scale, method)  # [C, W, H]
    return np.ascontiguousarray(wide.swapaxes(-1, -2))


def _stretch_rows(image: npt.NDArray[np.float32], scale: int, method: str) -> Any:
    """Upsample along the second axis: [C, n, m] to [C, scale*n, m]."""
    kernel, radius = _KERNELS[method]
    bands, length, width = image.shape
    padded = np.pad(image, ((0, 0), (radius, radius), (0, 0)), mode="edge")
    out = np.zeros((bands, length, scale, width), np.float32)
    taps = np.arange(-radius, radius + 1)
    term = np.empty((bands, length, width), np.float32)
    for phase in range(scale):
        offset = (phase + 0.5) / scale - 0.5  # of this HR pixel from the centre of its LR pixel
        weights = kernel(np.asarray(taps - offset, np.float64))
        weights /= weights.sum()
        for tap, weight in zip(taps + radius, weights.astype(np.float32), strict=True):
            if weight:
                np.multiply(padded[:, tap : tap + length], weight, out=term)
                out[:, :, phase] += term
    return out.reshape(bands, length * scale, width)


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; wanted one of {', '.join(METHODS)}")
