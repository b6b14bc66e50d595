"""Images for raters, of one shape and one number of bytes: their size tells nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from flows.study.plan import BICUBIC, LR, OTHER, REAL, SR
from geo.interpolate import upsample
from geo.pictures import stretch_limits, to_rgb8

_Stack = npt.NDArray[np.float32]


def draw_place(
    *,
    lr: _Stack,
    bicubic: _Stack,
    real: _Stack,
    sr: _Stack,
    other: _Stack | None,
    bands: tuple[str, ...],
) -> dict[str, bytes]:
    """A place as each source shows it, under one stretch: PNG by source.

    Parameters
    ----------
    lr : array, [C, h, w]
        DN, as the others, which are [C, s*h, s*w].
    """
    scale = real.shape[-1] // lr.shape[-1]
    everywhere = np.ones(real.shape[1:], np.bool_)
    limits = stretch_limits(real, everywhere)
    images: Mapping[str, _Stack | None] = {
        REAL: real,
        SR: sr,
        OTHER: other,
        BICUBIC: bicubic,
        LR: upsample(lr, scale, "nearest"),
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
