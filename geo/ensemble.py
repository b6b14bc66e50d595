"""One network asked several times: about the same ground turned and mirrored, or thinned.

Which way up the satellite flew says nothing about the ground, yet a network answers a turned
image a little differently. So does one that was trained with dropout, with other planes left out.
The mean of the answers is steadier than each of them, and where they disagree the network was
guessing.

>>> upsampler = EnsembleUpsampler(upsampler)
>>> upsampler = EnsembleUpsampler(predictor, draws=predictor.draws(8), turned=False)
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
    """The mean of several answers to one input, and their spread.

    The answers are those to the eight turns of the input, those of several networks that are
    thinned versions of one, or those of each of these to each turn. An upsampler beside others: it
    has the name of `inner` with ``+draws8`` and ``+ensemble``, needs the same halo, and takes as
    many times as long as there are answers.

    Parameters
    ----------
    inner : Upsampler
        Without extra planes.
    draws : tuple of Upsampler
        Asked instead of `inner`, each an upsampler of the same kind: a generator with one choice
        of its dropout made for the whole region (`models.predict.Predictor.draws`), so that each
        is as seamless as any other. None: `inner` itself.
    turned : bool
        Ask about all eight turns.

    Notes
    -----
    The extra plane ``uncertainty`` is the standard deviation of the answers in DN (of these
    answers, not of a larger population), pooled over bands: the root of the mean over bands of the
    variance, as PSNR pools squared errors. Of turns alone it is zero where the upsampler treats all
    directions alike, which built-in ones do up to rounding.

    It tells where errors are large, not how large: what all answers get wrong together does not
    show (docs/design/008-more-than-one-answer.md). Draws are approximate samples of the networks
    that the training could have led to (Gal and Ghahramani, "Dropout as a Bayesian approximation",
    2016).
    """

    inner: Upsampler
    draws: tuple[Upsampler, ...] = ()
    turned: bool = True

    def __post_init__(self) -> None:
        for asked in (self.inner, *self.draws):
            if asked.extras:
                raise ValueError(
                    f"{asked.name} makes {', '.join(asked.extras)} beside its bands; "
                    "wanted an upsampler of bands alone"
                )
            if (asked.scale, asked.halo, asked.bands) != (self.scale, self.halo, self.bands):
                raise ValueError(
                    f"{asked.name} has scale {asked.scale}, halo {asked.halo} and bands "
                    f"{asked.bands}; wanted those of {self.inner.name}: {self.scale}, {self.halo} "
                    f"and {self.bands}"
                )
        if self.answers < 2:
            raise ValueError(
                f"one answer of {self.inner.name} has no spread; wanted turned, or 2 draws or more"
            )

    @property
    def answers(self) -> int:
        """How many there are for each input."""
        return max(1, len(self.draws)) * (len(TURNS) if self.turned else 1)

    @property
    def name(self) -> str:
        """The inner name, how many draws, and ``+ensemble`` where it is turned."""
        draws = f"+draws{len(self.draws)}" if self.draws else ""
        return self.inner.name + draws + ("+ensemble" if self.turned else "")

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
            If an upsampler that is asked makes another shape than promised.
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
        np.sqrt(squares / (self.answers * bands), out=squares)
        return out

    def _answers(self, lr: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        for turn in TURNS if self.turned else TURNS[:1]:
            seen = np.ascontiguousarray(turn.apply(lr))
            for asked in self.draws or (self.inner,):
                yield turn.undo(upsample_checked(asked, seen))
