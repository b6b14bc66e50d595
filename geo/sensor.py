"""The satellite's sensor as a model: what it makes of finer ground, and how noisy its image is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

MTF_AT_NYQUIST = 0.3

# The noise of an image shows where the ground is smoothest: in this share of small blocks.
_SMOOTHEST = 0.1
_BLOCK_PX = 8
# Blind to planes: what is left of smooth ground is noise.
_NOISE_MASK = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6


def blur_sigma_px(scale: int, mtf: float = MTF_AT_NYQUIST) -> float:
    """Width of the Gaussian blur, in HR pixels, with this MTF at the LR Nyquist frequency.

    Notes
    -----
    A Gaussian's transfer function is ``exp(-2 pi^2 sigma^2 f^2)``; the LR Nyquist frequency is
    ``1 / (2 scale)`` cycles for each HR pixel.
    """
    return float(scale * np.sqrt(-2 * np.log(mtf)) / np.pi)


def degrade(
    hr: npt.NDArray[np.float32], scale: int, mtf: float = MTF_AT_NYQUIST
) -> npt.NDArray[np.float32]:
    """Make what the satellite would see: Gaussian blur, then the mean over each LR pixel.

    Parameters
    ----------
    hr : array, [C, H, W]
        H and W multiples of `scale`.

    Returns
    -------
    array, [C, h, w]
    """
    rows = _reduce_rows(hr, scale, mtf)  # [C, h, W]
    cells = _reduce_rows(np.ascontiguousarray(rows.swapaxes(1, 2)), scale, mtf)  # [C, w, h]
    return np.ascontiguousarray(cells.swapaxes(1, 2))


def _reduce_rows(image: npt.NDArray[np.float32], scale: int, mtf: float) -> npt.NDArray[np.float32]:
    """Blur and average along the second axis, [C, H, W] to [C, h, W].

    Both are one kernel, computed at the LR pixels alone: several times faster than blurring all.
    """
    sigma = blur_sigma_px(scale, mtf)
    reach = int(3.5 * sigma + 0.5)
    blur = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = np.convolve(blur / blur.sum(), np.full(scale, 1 / scale)).astype(np.float32)
    bands, height, width = image.shape
    padded = np.pad(image, ((0, 0), (reach, reach), (0, 0)), mode="symmetric")
    reduced = np.zeros((bands, height // scale, width), np.float32)
    term = np.empty_like(reduced)
    for tap, weight in enumerate(kernel):
        reduced += np.multiply(padded[:, tap : tap + height : scale], weight, out=term)
    return reduced


def estimate_noise(image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Standard deviation of an image's noise for each band, from its smoothest blocks.

    Parameters
    ----------
    image : array, [C, h, w]
    valid : array of bool, [h, w]

    Returns
    -------
    tuple of float
        Zeros where no block is wholly valid.

    Notes
    -----
    J. Immerkaer, "Fast noise variance estimation", CVIU 64 (1996), with block-wise selection:
    over the whole image the texture of the ground would count as noise. Where all ground is
    smooth the answer is a fifth too low, for the quietest blocks are quiet by chance.
    """
    height, width = (n // _BLOCK_PX * _BLOCK_PX for n in valid.shape)
    whole = _blocks(valid[:height, :width]).all(axis=1)  # [blocks]
    if not whole.any():
        return (0.0,) * len(image)
    noise = []
    for plane in image:
        left = ndimage.convolve(plane.astype(np.float64), _NOISE_MASK)
        energy = (_blocks(left[:height, :width])[whole] ** 2).mean(axis=1)  # [blocks]
        noise.append(float(np.sqrt(np.quantile(energy, _SMOOTHEST))))
    return tuple(noise)


def usual_noise(
    images: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]],
) -> tuple[float, ...]:
    """Median noise of images, each with its validity; those that show none count if all do."""
    found = [estimate_noise(image, valid) for image, valid in images]
    told = [levels for levels in found if any(levels)] or found
    return tuple(np.median(told, axis=0).tolist())


def _blocks(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[h, w] to [blocks, pixels]."""
    rows, cols = (n // _BLOCK_PX for n in plane.shape)
    cells = plane.reshape(rows, _BLOCK_PX, cols, _BLOCK_PX).swapaxes(1, 2)
    return cells.reshape(rows * cols, _BLOCK_PX**2)
