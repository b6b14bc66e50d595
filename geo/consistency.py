"""What is drawn made true to what was measured: the mean over every LR pixel is the LR pixel.

A network draws detail that the satellite did not see, and on the way moves what it did see: the
mean of its HR pixels is not quite the LR pixel that they came of. Here that difference is taken
back, everywhere and exactly, without a trace of the LR grid.

>>> upsampler = ConsistentUpsampler(upsampler)

The constraint is the plain mean over the area of an LR pixel, all HR pixels weighing the same: what
the output says of an area is what the LR image says of it. A sensor that blurs beyond its pixel
(`geo.sensor.degrade`) did not measure that mean, and a network that has learnt to undo the blur
loses some of it again (docs/design/008-more-than-one-answer.md has numbers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.interpolate import Weights, stretch
from geo.upsampler import Upsampler, upsample_checked

REACH = 2
"""How far, in LR pixels, a difference is spread."""


@dataclass(frozen=True)
class ConsistentUpsampler:
    """An upsampler whose means over LR pixels are the LR input.

    What is missing in each LR pixel is added as a surface that has exactly these means and no
    steps between LR pixels. An upsampler beside others: it has the name of `inner` with
    ``+consistent`` and looks `REACH` LR pixels farther. Extra planes pass through.

    Parameters
    ----------
    inner : Upsampler
        With an ensemble, the ensemble: ``ConsistentUpsampler(EnsembleUpsampler(upsampler))``.

    Notes
    -----
    Exact up to the rounding of float32: means are off by less than 0.001 DN at 10,000 DN. What
    comes afterwards can move them: rounding to whole DN does by 0.07 DN (root mean square, at scale
    4), clipping at the ends of the dtype and making room for nodata by as much as they change.
    Where the LR image had holes, the means are those of the values that filled them.
    """

    inner: Upsampler

    @property
    def name(self) -> str:
        """The inner name and ``+consistent``."""
        return f"{self.inner.name}+consistent"

    @property
    def scale(self) -> int:
        """HR pixels in an LR pixel, along each axis."""
        return self.inner.scale

    @property
    def halo(self) -> int:
        """The inner halo and how far a difference is spread."""
        return self.inner.halo + REACH

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Bands of the inner upsampler."""
        return self.inner.bands

    @property
    def extras(self) -> tuple[str, ...]:
        """Extra planes of the inner upsampler."""
        return self.inner.extras

    def __call__(self, lr: npt.NDArray[np.float32], /) -> npt.NDArray[np.float32]:
        """DN [C, h, w] to DN [C + extras, scale*h, scale*w].

        Raises
        ------
        UpscaleError
            If the inner upsampler makes another shape than promised.
        """
        sr = upsample_checked(self.inner, lr)
        missing = missing_means(sr[: len(lr)], lr)  # [C, h, w]
        corrected = stretch(missing, spreading_weights(self.scale))
        corrected += sr[: len(lr)]
        return np.concatenate([corrected, sr[len(lr) :]]) if self.extras else corrected


def missing_means(
    sr: npt.NDArray[np.float32], lr: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What the mean of `sr` over each LR pixel lacks: [C, s*h, s*w] and [C, h, w] to [C, h, w].

    Differences are summed, not values, so that none of their digits is lost; and one by one, so
    that a pixel's sum is the same in whatever window it is computed.
    """
    scale = sr.shape[-1] // lr.shape[-1]
    wide = lr.repeat(scale, axis=-1)  # [C, h, s*w]
    rows = np.zeros_like(wide)
    for row in range(scale):
        rows += wide - sr[:, row::scale]
    cells = np.zeros_like(lr)
    for col in range(scale):
        cells += rows[..., col::scale]
    return cells / np.float32(scale**2)


def spreading_weights(scale: int) -> Weights:
    """Weights along an axis that spread means smoothly and keep them, [scale, 2 REACH + 1].

    Notes
    -----
    The running sum of LR pixels is known at their borders. Interpolating it and taking
    differences between HR pixels keeps the sum of every LR pixel, whatever the interpolation
    (Tobler, "Smooth pycnophylactic interpolation", 1979, states the task). Here it is Keys' cubic
    convolution of fourth order, so what is spread is continuous, and planes and paraboloids come
    out as they are. Applied along both axes it keeps means over squares.
    """
    edges = np.arange(scale + 1) / scale  # of HR pixels, in the LR pixel between borders 0 and 1
    borders = np.arange(-REACH, REACH + 2)
    at_edges = _keys_fourth_order(edges[:, None] - borders)  # [scale + 1, 2 REACH + 2]
    # The running sum at a border holds the LR pixels before it: each counts at all later borders.
    held = at_edges[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # [scale + 1, 2 REACH + 1]
    return np.asarray(np.diff(held, axis=0) * scale)


def _keys_fourth_order(x: Weights) -> Weights:
    """Cubic convolution over six points.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    x = np.abs(x)
    near = (4 * x - 7) * x * x / 3 + 1
    middle = ((-7 * x + 36) * x - 59) * x / 12 + 2.5
    far = ((x - 8) * x + 21) * x / 12 - 1.5
    return np.where(x < 1, near, np.where(x < 2, middle, np.where(x < 3, far, 0.0)))
