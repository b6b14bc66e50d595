"""One network asked eight times: about the same ground turned and mirrored.

Which way up the satellite flew says nothing about the ground, yet a network answers a turned
image a little differently. The mean of the eight answers is steadier than each of them, and where
they disagree the network was guessing.

>>> upsampler = EnsembleUpsampler(upsampler)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.upsampler import Upsampler, upsample_checked


@dataclass(frozen=True)
class Turn:
    """An element of the dihedral group of the square: perhaps transpose, then mirror axes.

    Parameters
    ----------
    transpose, mirror_rows, mirror_cols : bool
    """

    transpose: bool
    mirror_rows: bool
    mirror_cols: bool

    def apply(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an image [..., h, w]; a view of it."""
        turned = image.swapaxes(-1, -2) if self.transpose else image
        return self._mirror(turned)

    def undo(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an image [..., h, w] back; a view of it."""
        turned = self._mirror(image)
        return turned.swapaxes(-1, -2) if self.transpose else turned

    def _mirror(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows, cols = (
            slice(None, None, -1 if m else 1) for m in (self.mirror_rows, self.mirror_cols)
        )
        return image[..., rows, cols]


TURNS: tuple[Turn, ...] = tuple(Turn(*flags) for flags in product((False, True), repeat=3))
"""All eight; the first leaves an image as it is."""


@dataclass(frozen=True)
class EnsembleUpsampler:
    """The mean of an upsampler's answers to the eight turns of its input, and their spread.

    An upsampler beside others: it has the name of `inner` with ``+ensemble``, needs the same halo
    and takes eight times as long.

    Parameters
    ----------
    inner : Upsampler
        Without extra planes.

    Notes
    -----
    The extra plane ``uncertainty`` is the standard deviation of the eight answers in DN (of these
    eight, not of a larger population: they are all there are), pooled over bands: the root of the
    mean over bands of the variance, as PSNR pools squared errors. Zero where the upsampler treats
    all directions alike, which built-in ones do up to rounding.

    It tells where errors are large, not how large: what all eight answers get wrong together does
    not show (docs/design/008-more-than-one-answer.md).
    """

    inner: Upsampler

    def __post_init__(self) -> None:
        if self.inner.extras:
            raise ValueError(
                f"{self.inner.name} makes {', '.join(self.inner.extras)} beside its bands; "
                "wanted an upsampler of bands alone"
            )

    @property
    def name(self) -> str:
        """The inner name and ``+ensemble``."""
        return f"{self.inner.name}+ensemble"

    @property
    def scale(self) -> int:
        """HR pixels in an LR pixel, along each axis."""
        return self.inner.scale

    @property
    def halo(self) -> int:
        """The inner halo: a square turned is the same square."""
        return self.inner.halo

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Bands of the inner upsampler."""
        return self.inner.bands

    @property
    def extras(self) -> tuple[str, ...]:
        """The spread."""
        return ("uncertainty",)

    def __call__(self, lr: npt.NDArray[np.float32], /) -> npt.NDArray[np.float32]:
        """DN [C, h, w] to mean and spread, [C + 1, scale*h, scale*w].

        Raises
        ------
        UpscaleError
            If the inner upsampler makes another shape than promised.
        """
        bands, height, width = lr.shape
        out = np.zeros((bands + 1, height * self.scale, width * self.scale), np.float32)
        mean, squares = out[:-1], out[-1]
        # Welford, 1962: squares of deviations from a running mean keep their digits where sums of
        # squared DN would lose them, and one answer is held at a time.
        for count, answer in enumerate(self._answers(lr), start=1):
            deviation = answer - mean
            mean += deviation / count
            squares += np.square(deviation, out=deviation).sum(axis=0) * ((count - 1) / count)
        np.sqrt(squares / (len(TURNS) * bands), out=squares)
        return out

    def _answers(self, lr: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        for turn in TURNS:
            yield turn.undo(upsample_checked(self.inner, np.ascontiguousarray(turn.apply(lr))))
