"""How alike two sets of images are that show no ground in common: their spectra, their histograms.

Of derived LR images and real ones, say: pixel by pixel there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Images = Sequence[npt.NDArray[Any]]

# The outermost half percent are a few pixels, and as good as chance.
_SHARES = np.linspace(0.005, 0.995, 199)


def spectrum_distance_db(made: Images, real: Images) -> float:
    """Mean over frequencies of the difference of log power, in dB.

    Parameters
    ----------
    made, real : sequence of arrays, [C, n, n]
        Squares of one size; as many or not.

    Returns
    -------
    float
        0 for the same spectra; 3 for twice or half the power at all frequencies.
    """
    ours, theirs = (np.log10(radial_power(images)) for images in (made, real))
    return float(10 * np.abs(ours - theirs).mean())


def radial_power(images: Images) -> npt.NDArray[np.float64]:
    """Mean power of all bands and images by distance from the origin of the frequencies, [n / 2].

    Ring ``k`` holds frequencies of about ``k`` cycles a side. The mean of each band is taken off
    and a Hann window laid over it, since the ends of an image do not meet.
    """
    stack = np.stack([np.asarray(image, np.float64) for image in images])  # [N, C, n, n]
    stack = stack - stack.mean(axis=(2, 3), keepdims=True)
    side = stack.shape[-1]
    window = np.hanning(side)
    power = np.abs(np.fft.fft2(stack * window[:, None] * window)) ** 2
    f = np.fft.fftfreq(side)
    ring = np.rint(np.hypot(f[:, None], f) * side).astype(int)
    mean = power.mean(axis=(0, 1))
    return np.array([mean[ring == r].mean() for r in range(1, side // 2 + 1)])


def histogram_distance(made: Images, real: Images) -> float:
    """Mean over bands of the 1-D Wasserstein distance of values, in units of the real spread.

    The mean distance of quantiles, which is Wasserstein's of first order in one dimension
    (Villani, "Topics in optimal transportation", 2003, section 2.2), over the band's standard
    deviation among real values.

    Parameters
    ----------
    made, real : sequence of arrays, [C, h, w]

    Returns
    -------
    float
        0 for the same histograms; 1 where all values are off by the spread of the real ones.
        Infinite for a band whose real values are all the same, unless the others are that as well.
    """
    distances = []
    for ours, theirs in zip(_by_band(made), _by_band(real), strict=True):
        apart = np.abs(np.quantile(ours, _SHARES) - np.quantile(theirs, _SHARES)).mean()
        spread = theirs.std()
        distances.append(0.0 if apart == 0 else np.inf if spread == 0 else apart / spread)
    return float(np.mean(distances))


def _by_band(images: Images) -> npt.NDArray[np.float64]:
    """Values of all images, [C, values]."""
    return np.concatenate([np.asarray(i, np.float64).reshape(len(i), -1) for i in images], axis=1)
