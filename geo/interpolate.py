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

Weights = npt.NDArray[np.float64]


def keys_cubic(x: Weights) -> Weights:
    """Cubic convolution with a = -0.5, third-order exact.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15.
    """
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos3(x: Weights) -> Weights:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[Weights], Weights], int]] = {
    "bicubic": (keys_cubic, 2),
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
    return stretch(np.asarray(lr, np.float32), _weights(scale, method))


def stretch(lr: npt.NDArray[np.float32], weights: Weights) -> npt.NDArray[np.float32]:
    """Upsample both axes by given weights.

    Parameters
    ----------
    lr : array, [C, h, w]
    weights : array, [scale, 2 radius + 1]
        For each place of an HR pixel in its LR pixel, of the LR pixels around.

    Returns
    -------
    array of float32, [C, scale*h, scale*w]
    """
    # Rows first: the wide intermediate image is then the one whose rows are contiguous.
    tall = _stretch_rows(lr, weights)  # [C, H, w]
    wide = _stretch_rows(tall.swapaxes(-1, -2), weights)  # [C, W, H]
    return np.ascontiguousarray(wide.swapaxes(-1, -2))


def _weights(scale: int, method: str) -> Weights:
    kernel, radius = _KERNELS[method]
    offsets = (np.arange(scale) + 0.5) / scale - 0.5  # of HR pixels from their LR pixel's centre
    weights = kernel(np.arange(-radius, radius + 1) - offsets[:, None])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _stretch_rows(image: npt.NDArray[np.float32], weights: Weights) -> Any:
    """Upsample along the second axis: [C, n, m] to [C, scale*n, m]."""
    scale, radius = len(weights), weights.shape[1] // 2
    bands, length, width = image.shape
    padded = np.pad(image, ((0, 0), (radius, radius), (0, 0)), mode="edge")
    out = np.zeros((bands, length, scale, width), np.float32)
    term = np.empty((bands, length, width), np.float32)
    for phase in range(scale):
        for tap, weight in enumerate(weights[phase].astype(np.float32)):
            if weight:
                np.multiply(padded[:, tap : tap + length], weight, out=term)
                out[:, :, phase] += term
    return out.reshape(bands, length * scale, width)


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; wanted one of {', '.join(METHODS)}")
