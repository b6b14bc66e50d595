"""Pictures for people: one stretch for all images of a place, so that they can be compared."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from geo.class_colours import paint_map
from geo.interpolate import upsample

_Stack = npt.NDArray[np.float32]

# Where there is no pixel: a grey that neither light nor dark pages hide.
_NOTHING = 128
_GAP_PX = 4


def stretch_limits(data: _Stack, valid: npt.NDArray[np.bool_]) -> tuple[_Stack, _Stack]:
    """Lowest and highest DN to show, [C] each.

    Each band begins at its own 2nd percentile, which takes haze away; all span the same range, the
    widest between 2nd and 98th percentile, so that colours are not exaggerated.
    """
    if not valid.any():
        return np.zeros(len(data), np.float32), np.ones(len(data), np.float32)
    low, high = np.percentile(data[:, valid], [2, 98], axis=1)
    span = max(float((high - low).max()), 1e-6)
    return low.astype(np.float32), (low + span).astype(np.float32)


def colour_bands(bands: Sequence[str]) -> list[int]:
    """Positions of red, green and blue by name; else the first three; else one thrice."""
    names = [b.lower() for b in bands]
    if {"red", "green", "blue"} <= set(names):
        return [names.index(colour) for colour in ("red", "green", "blue")]
    return [0, 1, 2] if len(names) >= 3 else [0, 0, 0]


def to_rgb8(
    data: _Stack,
    limits: tuple[_Stack, _Stack],
    bands: Sequence[str],
    valid: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Stretched picture [h, w, 3] of an image [C, h, w]."""
    low, high = (limit[:, None, None] for limit in limits)
    span = np.maximum(high - low, 1e-6)  # a chip of one value is shown dark
    shown = np.clip((np.asarray(data, np.float32) - low) / span, 0, 1)
    chosen = shown[colour_bands(bands)].transpose(1, 2, 0)
    picture = np.asarray(np.rint(chosen * 255), np.uint8)
    if valid is not None:
        picture[~valid] = _NOTHING
    return picture


def encode_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """PNG file of a picture [h, w, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """JPEG file of a picture [h, w, 3], good enough to judge sharpness by."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def strip(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Pictures of one height side by side."""
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    pieces = [piece for picture in pictures for piece in (gap, picture)]
    return np.concatenate(pieces[1:], axis=1)


def pair_strip(
    lr: npt.NDArray[np.generic],
    hr: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    *,
    bands: Sequence[str],
) -> bytes:
    """PNG of a pair: LR pixels, their bicubic, HR."""
    coarse, fine = np.asarray(lr, np.float32), np.asarray(hr, np.float32)
    scale = fine.shape[-1] // coarse.shape[-1]
    limits = stretch_limits(fine, valid)
    return encode_png(
        strip(
            [
                to_rgb8(upsample(coarse, scale, "nearest"), limits, bands),
                to_rgb8(upsample(coarse, scale, "bicubic"), limits, bands),
                to_rgb8(fine, limits, bands, valid),
            ]
        )
    )


def degraded_strip(hr: _Stack, seen: _Stack, lr: _Stack, *, bands: Sequence[str]) -> bytes:
    """PNG of a sample: HR, what is seen of it on LR pixels, the true LR pixels."""
    scale = hr.shape[-1] // lr.shape[-1]
    limits = stretch_limits(lr, np.ones(lr.shape[1:], np.bool_))
    coarse = (upsample(np.asarray(image, np.float32), scale, "nearest") for image in (seen, lr))
    return encode_png(strip([to_rgb8(image, limits, bands) for image in (hr, *coarse)]))


def images_strip(
    images: Sequence[_Stack], valid: npt.NDArray[np.bool_], *, bands: Sequence[str]
) -> bytes:
    """PNG of images of one size, stretched alike so that their colours can be compared."""
    there = np.concatenate([valid] * len(images), axis=1)
    limits = stretch_limits(np.concatenate(images, axis=2), there)
    return encode_png(strip([to_rgb8(image, limits, bands, valid) for image in images]))


def map_strip(
    image: _Stack, maps: Sequence[npt.NDArray[np.generic]], *, bands: Sequence[str]
) -> bytes:
    """PNG of an image and of maps of it: classes in colours, none in grey.

    Parameters
    ----------
    image : array, [C, H, W]
    maps : sequence of array, [H, W]
        1 plus the place of the class, 0 for none.
    bands : sequence of str
    """
    limits = stretch_limits(image, np.ones(image.shape[1:], np.bool_))
    painted = [paint_map(np.asarray(one, np.uint8), int(one.max(initial=0))) for one in maps]
    return encode_png(strip([to_rgb8(image, limits, bands), *painted]))


def training_strip(
    lr: _Stack,
    sr: _Stack,
    hr: _Stack,
    valid: npt.NDArray[np.bool_],
    *,
    bands: Sequence[str],
) -> bytes:
    """PNG of a sample: LR pixels, bicubic, SR, HR."""
    scale = hr.shape[-1] // lr.shape[-1]
    limits = stretch_limits(hr, valid)
    return encode_png(
        strip(
            [
                to_rgb8(upsample(lr, scale, "nearest"), limits, bands),
                to_rgb8(upsample(lr, scale, "bicubic"), limits, bands),
                to_rgb8(sr, limits, bands),
                to_rgb8(hr, limits, bands, valid),
            ]
        )
    )


def chips_sheet(chips: _Stack, *, like: _Stack, bands: Sequence[str], columns: int) -> bytes:
    """PNG of chips row by row, in the colours that show others well.

    Parameters
    ----------
    chips : array, [n, C, H, W]
    like : array, [m, C, H, W]
        What the stretch is of, so that sheets can be compared.
    bands : sequence of str
    columns : int
        Chips in a row; places without a chip stay white.
    """
    flat = like.swapaxes(0, 1).reshape(like.shape[1], 1, -1)
    limits = stretch_limits(flat, np.ones(flat.shape[1:], np.bool_))
    shown = [to_rgb8(chip, limits, bands) for chip in chips]
    blank = np.full_like(shown[0], 255)
    rows = [shown[first : first + columns] for first in range(0, len(shown), columns)]
    strips = [strip([*row, *[blank] * (columns - len(row))]) for row in rows]
    gap = np.full((_GAP_PX, strips[0].shape[1], 3), 255, np.uint8)
    return encode_png(np.concatenate([part for row in strips for part in (gap, row)][1:]))
