"""What upscales: anything that turns LR pixels into HR pixels, a network or a formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from geo.errors import UpscaleError
from geo.interpolate import Method, halo, upsample
from geo.tiling import scale_slice


class Upsampler(Protocol):
    """What makes HR pixels of LR pixels."""

    @property
    def name(self) -> str:
        """Its identity: two upsamplers of one name give the same pixels."""
        ...

    @property
    def scale(self) -> int:
        """HR pixels in an LR pixel, along each axis."""
        ...

    @property
    def halo(self) -> int:
        """How far, in LR pixels, its output depends on its input."""
        ...

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Names of the bands that it wants, in order; None for any."""
        ...

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the planes that it makes beside the bands; () for most."""
        ...

    def __call__(self, lr: npt.NDArray[np.float32], /) -> npt.NDArray[np.float32]:
        """DN [C, h, w] to DN [C + extras, scale*h, scale*w], the same for the same input."""
        ...


# Some megabytes, which stay in the caches; with fewer rows the halo would weigh.
_STRIP_LR_PX = 32


@dataclass(frozen=True)
class BuiltinUpsampler:
    """An upsampler that needs no model.

    Parameters
    ----------
    method : {"nearest", "bicubic", "lanczos"}
    scale : int
    """

    method: Method
    scale: int
    bands: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        halo(self.method)  # refuses unknown methods
        if self.scale < 1:
            raise ValueError(f"scale is {self.scale}; wanted 1 or more")

    @property
    def name(self) -> str:
        """The method."""
        return self.method

    @property
    def halo(self) -> int:
        """Radius of the kernel in LR pixels."""
        return halo(self.method)

    @property
    def extras(self) -> tuple[str, ...]:
        """None: all planes are bands."""
        return ()

    def __call__(self, lr: npt.NDArray[np.float32], /) -> npt.NDArray[np.float32]:
        """Upsample; see `geo.interpolate.upsample`."""
        return upsample(lr, self.scale, self.method)

    def strips(
        self, lr: npt.NDArray[np.float32], margin: int = 0
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Upsample strip by strip; see `StripUpsampler`."""
        height, width = lr.shape[1:]
        cols, inner_cols = self._window(margin, width - margin, width)
        for top in range(margin, height - margin, _STRIP_LR_PX):
            stop = min(top + _STRIP_LR_PX, height - margin)
            rows, inner_rows = self._window(top, stop, height)
            place = scale_slice(slice(top - margin, stop - margin), self.scale)
            yield place, self(lr[:, rows, cols])[:, inner_rows, inner_cols]

    def _window(self, start: int, stop: int, length: int) -> tuple[slice, slice]:
        """What positions from `start` to `stop` look at, and where they lie in its HR pixels."""
        first, last = max(start - self.halo, 0), min(stop + self.halo, length)
        return slice(first, last), scale_slice(slice(start - first, stop - first), self.scale)


@dataclass(frozen=True, kw_only=True)
class UpsamplerFacts:
    """What a plan keeps of an upsampler; see `Upsampler`."""

    name: str
    scale: int
    halo: int
    bands: tuple[str, ...] | None
    extras: tuple[str, ...] = ()

    @classmethod
    def of(cls, upsampler: Upsampler | UpsamplerFacts) -> UpsamplerFacts:
        """Take the facts of an upsampler."""
        bands = None if upsampler.bands is None else tuple(upsampler.bands)
        return cls(
            name=upsampler.name,
            scale=upsampler.scale,
            halo=upsampler.halo,
            bands=bands,
            extras=tuple(upsampler.extras),
        )


@runtime_checkable
class StripUpsampler(Protocol):
    """An upsampler that can also hand back what it makes strip by strip, in less memory."""

    def strips(
        self, lr: npt.NDArray[np.float32], margin: int = 0
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """HR rows counted from below the margin, and their pixels [C, rows, s*(w - 2*margin)].

        Strips follow each other; the next one may take the memory of the one before.
        """
        ...


def draw_strips(
    upsampler: Upsampler, lr: npt.NDArray[np.float32], margin: int
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Upsample an image but for its margin, in strips where the upsampler can; see `strips`.

    Parameters
    ----------
    lr : array, [C, h, w]
    margin : int
        LR pixels on each side that are only looked at.

    Raises
    ------
    UpscaleError
        If the outcome has not the promised shape.
    """
    if isinstance(upsampler, StripUpsampler):
        yield from upsampler.strips(lr, margin)
        return
    sr = upsample_checked(upsampler, lr)
    edge = margin * upsampler.scale
    inner = sr[:, edge : sr.shape[1] - edge, edge : sr.shape[2] - edge]
    yield slice(0, inner.shape[1]), inner


def upsample_checked(upsampler: Upsampler, lr: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Upsample, and see that the outcome has the promised shape.

    Raises
    ------
    UpscaleError
        If it has not.
    """
    sr = np.asarray(upsampler(lr), np.float32)
    bands, height, width = lr.shape
    scale = upsampler.scale
    wanted = (bands + len(upsampler.extras), height * scale, width * scale)
    if sr.shape != wanted:
        raise UpscaleError(
            f"{upsampler.name} made shape {sr.shape} of {lr.shape}; wanted {wanted}",
            shape=sr.shape,
        )
    return sr
