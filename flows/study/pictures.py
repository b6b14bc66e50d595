"""Images for raters, of one shape and one number of bytes: their size tells nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from flows.study.plan import BICUBIC, LR, OTHER, REAL, SR
from geo.interpolate import upsample
from geo.pictures import stretch_limits, to_rgb8

_Stack = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PlaceImages:
    """A place as each source has it, DN."""

    lr: _Stack  # [C, h, w]
    bicubic: _Stack  # [C, s*h, s*w], as are the others
    real: _Stack
    sr: _Stack
    other: _Stack | None


def common_limits(places: Sequence[PlaceImages]) -> tuple[_Stack, _Stack]:
    """One stretch for all places: their own would turn the haze over water into a landscape."""
    real = np.concatenate([p.real.reshape(len(p.real), -1) for p in places], axis=1)[:, None]
    return stretch_limits(real, np.ones(real.shape[1:], np.bool_))


def draw_place(
    place: PlaceImages, limits: tuple[_Stack, _Stack], bands: tuple[str, ...]
) -> dict[str, bytes]:
    """PNG of each source."""
    scale = place.real.shape[-1] // place.lr.shape[-1]
    images: Mapping[str, _Stack | None] = {
        REAL: place.real,
        SR: place.sr,
        OTHER: place.other,
        BICUBIC: place.bicubic,
        LR: upsample(place.lr, scale, "nearest"),
    }
    return {
        source: encode_plain(to_rgb8(image, limits, bands))
        for source, image in images.items()
        if image is not None
    }


def encode_plain(picture: npt.NDArray[np.uint8]) -> bytes:
    """PNG of a picture [h, w, 3], not compressed, with nothing in it but its pixels.

    What is generated compresses better than what is real, and a blurred image better still.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
