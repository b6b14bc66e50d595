"""What of two images is compared, and through which window.

Intensity of each band is exact; orientation of edges over all bands is hardly touched by another
date's colours or clouds. Both are seen through tapers that follow the content.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_Pixel = TypeVar("_Pixel", bound=np.generic)

# Nodes of the background that is taken away, in pixels: finer, and it eats content that tells the
# shift of smooth ground; coarser, and the taper modulates what is left.
_BACKGROUND_PX = 24
_RIM_PX = 2  # pixels beside bad ones are not looked at: edges there belong to the mask
_FEATHER_PX = 3.0
_TINY = np.float32(1e-30)


def local_contrast(planes: Image, valid: Mask) -> Image:
    """Planes less their smooth background; 0 where not valid.

    Parameters
    ----------
    planes : array, [..., h, w]
    valid : array of bool, [h, w]

    Notes
    -----
    Without this the taper would modulate the brightness of the ground, alike in both images, and
    hold the shift back. The background is bilinear between nodes, each a mean over valid pixels.
    """
    rows, cols = (_hats(n) for n in valid.shape)  # [h, m], [w, n]
    seen = valid.astype(np.float32)
    good = planes if valid.all() else np.where(valid, planes, np.float32(0))
    mean = good.sum(axis=(-2, -1), keepdims=True) / max(np.float32(1), seen.sum())
    good = (good - mean) * seen
    nodes = (rows.T @ good @ cols) / (rows.T @ seen @ cols + np.float32(1e-2))
    good -= rows @ nodes @ cols.T
    good *= seen
    return np.asarray(good, np.float32)


@lru_cache(64)
def _hats(length: int) -> Image:
    """Weights of linear interpolation from evenly spread nodes, [length, nodes]."""
    nodes = max(2, round(length / _BACKGROUND_PX))
    places = np.linspace(0, nodes - 1, length)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(nodes))), np.float32)


def edge_orientation(planes: Image) -> Image:
    """Orientation of edges over all bands: cosine and sine of the doubled angle, [..., 2, h, w].

    Parameters
    ----------
    planes : array, [..., C, h, w]

    Notes
    -----
    The structure tensor of the bands together (Di Zenzo 1986; doubled angle: Bigün and Granlund
    1987): blind to gain, offset and even to contrast that is turned round, as between a band and
    another, or winter and summer. Flat ground gives short vectors.
    """
    *stack, bands, height, width = planes.shape
    doubled = np.zeros((*stack, 2, height, width), np.float32)
    cosine, sine = doubled[..., 0, :, :], doubled[..., 1, :, :]
    padded = np.zeros((*stack, height + 2, width + 2), np.float32)  # flat ground is all around
    for band in range(bands):
        padded[..., 1:-1, 1:-1] = planes[..., band, :, :]
        smooth = padded[..., :-2, :] + padded[..., 2:, :]
        smooth += 2 * padded[..., 1:-1, :]
        gx = smooth[..., 2:] - smooth[..., :-2]
        steps = padded[..., 2:, :] - padded[..., :-2, :]
        gy = steps[..., :-2] + steps[..., 2:]
        gy += 2 * steps[..., 1:-1]
        square = (gx + gy) * (gx - gy)
        gy *= gx
        # Bands count alike, whatever their units.
        scale = 1 / (gx.std(axis=(-2, -1), keepdims=True) ** 2 + _TINY)
        cosine += square * scale
        sine += gy * (2 * scale)
    length = np.sqrt(cosine * cosine + sine * sine)
    floor = np.median(length[..., ::3, ::3], axis=(-2, -1), keepdims=True)
    length += 0.3 * floor + np.float32(1e-12)
    doubled /= length[..., None, :, :]
    return doubled


def tapers(valid: Mask, shift_yx: tuple[float, float]) -> tuple[Image, Image]:
    """Windows that let the same ground through in both images.

    Parameters
    ----------
    valid : array of bool, [h, w]
    shift_yx : (float, float)
        Where the target's content lies relative to the reference's.

    Returns
    -------
    reference, target : array, [h, w]
        Hann windows with the mask feathered in; the second is the first, moved by the shift. A
        window that stays in place is content common to both images: it holds the shift back.
    """
    if shift_yx == (0.0, 0.0):
        taper = _feathered(valid)
        return taper, taper
    down, right = (round(s) for s in shift_yx)
    seen = valid & _slid(valid, -down, -right)
    rows, cols = (_part(n, s) for n, s in zip(valid.shape, (down, right), strict=True))
    taper = np.zeros(valid.shape, np.float32)
    if rows.start < rows.stop and cols.start < cols.stop:
        taper[rows, cols] = _feathered(seen[rows, cols])
    return taper, _moved(taper, shift_yx)


def _part(length: int, shift: int) -> slice:
    """Pixels of an axis that the other image shows as well."""
    return slice(max(0, -shift), length + min(0, -shift))


def _feathered(seen: Mask) -> Image:
    height, width = seen.shape
    hann = _hann(height)[:, None] * _hann(width)
    if seen.all():
        return hann
    inner = _shrunk(seen)
    soft = _blur(height) @ inner.astype(np.float32) @ _blur(width)
    return np.asarray(hann * np.clip(2 * soft - 1, 0, 1) * inner, np.float32)


@lru_cache(256)
def _hann(length: int) -> Image:
    return np.hanning(length + 2)[1:-1].astype(np.float32)


@lru_cache(64)
def _blur(length: int) -> Image:
    """A Gaussian as a matrix; what lies outside counts as what lies inside."""
    place = np.arange(length)
    kernel = np.exp(-(((place[:, None] - place) / _FEATHER_PX) ** 2) / 2)
    return (kernel / kernel.sum(axis=0)).astype(np.float32) if length else kernel.astype(np.float32)


def _shrunk(seen: Mask) -> Mask:
    """Good pixels whose neighbours are good; the border of the window counts as good."""
    for _ in range(_RIM_PX):
        for axis in (0, 1):
            here = np.moveaxis(seen, axis, 0)
            kept = here.copy()
            kept[1:] &= here[:-1]
            kept[:-1] &= here[1:]
            seen = np.moveaxis(kept, 0, axis)
    return seen


def _slid(image: npt.NDArray[_Pixel], down: int, right: int) -> npt.NDArray[_Pixel]:
    """Moved by whole pixels; zero, or False, comes in."""
    out = np.zeros_like(image)
    height, width = image.shape
    if abs(down) < height and abs(right) < width:
        source = (_part(height, down), _part(width, right))
        out[_part(height, -down), _part(width, -right)] = image[source]
    return out


def _moved(image: Image, shift_yx: tuple[float, float]) -> Image:
    """Moved by any amount, linearly between pixels."""
    for axis, shift in enumerate(shift_yx):
        whole = int(np.floor(shift))
        part = np.float32(shift - whole)
        steps = [(n, 0) if axis == 0 else (0, n) for n in (whole, whole + 1)]
        near = _slid(image, *steps[0])
        image = near if part == 0 else (1 - part) * near + part * _slid(image, *steps[1])
    return image
