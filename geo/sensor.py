"""The satellite's sensor as a model: what it makes of finer ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MTF_AT_NYQUIST = 0.3


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
