"""The satellite's sensor as a model: what it makes of finer ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
    sigma = blur_sigma_px(scale, mtf)
    blurred = ndimage.gaussian_filter(hr, (0, sigma, sigma), mode="reflect", truncate=3.5)
    bands, height, width = hr.shape
    cells = blurred.reshape(bands, height // scale, scale, width // scale, scale)
    return np.asarray(cells.mean(axis=(2, 4)), np.float32)
