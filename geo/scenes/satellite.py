"""What a satellite makes of made ground: sampling, colours, clouds, noise, classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr

from geo.scenes.canvas import Sun
from geo.scenes.noise import Field, fractal, smoothstep
from geo.sensor import MTF_AT_NYQUIST, blur_sigma_px

VEGETATION, BARE, WATER, SHADOW, CLOUD_MEDIUM, CLOUD_HIGH = 4, 5, 6, 3, 8, 9
DN_OF_ONE = 10_000
# Where the kernel ends, in LR pixels from the middle of a pixel: half of it and 4.5 sigma of blur.
REACH_LR_PX = 0.5 + 4.5 * blur_sigma_px(1)


@dataclass(frozen=True, kw_only=True)
class Radiometry:
    """How brightness (0 to 1) becomes reflectance: ``offset + gain * brightness ** gamma``.

    Parameters
    ----------
    gain, offset : tuple of float
        For red, green, blue.
    gamma : float
    noise_dn : float
        Standard deviation of the noise in DN.
    """

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    gamma: float
    noise_dn: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Radiometry:
        """A plausible one, rounded so that it reads well."""
        gain = 0.44 + rng.uniform(-0.04, 0.04) + rng.uniform(-0.03, 0.03, 3)
        offset = np.array([0.025, 0.03, 0.045]) + rng.uniform(-0.01, 0.01, 3)
        r, g, b = (round(float(v), 3) for v in gain)
        x, y, z = (round(float(v), 3) for v in offset)
        return cls(
            gain=(r, g, b),
            offset=(x, y, z),
            gamma=round(float(rng.uniform(1.03, 1.2)), 3),
            noise_dn=round(float(rng.uniform(18, 28)), 1),
        )

    def reflectance(self, brightness: Field) -> Field:
        """Reflectance of brightness, [h, w, 3]."""
        curve = np.clip(brightness, 0, 1) ** np.float32(self.gamma)
        return np.asarray(
            np.array(self.offset, np.float32) + np.array(self.gain, np.float32) * curve, np.float32
        )


def observe(
    ground: Field,
    shape: tuple[int, int],
    *,
    scale: int,
    origin_px: tuple[float, float],
    shift_px: tuple[float, float],
    mtf: float = MTF_AT_NYQUIST,
) -> Field:
    """Blur ground by the sensor and average it over the pixels of the satellite.

    Both happen at once and exactly: the weight of a ground pixel is the integral over it of the
    Gaussian convolved with the satellite's pixel.

    Parameters
    ----------
    ground : array, [H, W, C]
    shape : (h, w)
        Pixels of the satellite.
    scale : int
        Ground pixels along a side of a satellite pixel.
    origin_px : (float, float)
        Upper left corner of the satellite's grid on the ground, (y, x) in ground pixels.
    shift_px : (float, float)
        How far down and right the content is displaced, in satellite pixels.
    mtf : float
        Transfer of the Gaussian at the satellite's Nyquist frequency.

    Returns
    -------
    array of float32, [h, w, C]
    """
    sigma = blur_sigma_px(scale, mtf)
    down, across = (
        _weights(n, size, scale, origin, shift, sigma)
        for n, size, origin, shift in zip(shape, ground.shape, origin_px, shift_px, strict=False)
    )
    planes = [across @ (down @ ground[..., c]).T for c in range(ground.shape[2])]  # [w, h] each
    return np.ascontiguousarray(np.stack(planes, axis=-1).transpose(1, 0, 2), np.float32)


def _weights(
    count: int, size: int, scale: int, origin: float, shift: float, sigma: float
) -> sparse.csr_array:
    """Weights of `size` ground pixels in `count` satellite pixels along one axis."""
    centres = origin + (np.arange(count) + 0.5 - shift) * scale  # [n]
    reach = int(np.ceil(REACH_LR_PX * scale)) + 1
    first = np.floor(centres).astype(np.intp) - reach
    pixels = first[:, None] + np.arange(2 * reach + 1)  # [n, k]
    left = pixels - centres[:, None]
    weights = _step(left + 1, scale, sigma) - _step(left, scale, sigma)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(count), pixels.shape[1])
    cols = np.clip(pixels, 0, size - 1).ravel()
    values = weights.ravel().astype(np.float32)
    return sparse.csr_array((values, (rows, cols)), shape=(count, size))


def _step(x: npt.NDArray[np.float64], scale: int, sigma: float) -> npt.NDArray[np.float64]:
    """Integral up to `x` of a box of width `scale` convolved with a Gaussian."""

    def ramp(u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        z = u / sigma
        return np.asarray(u * ndtr(z) + sigma * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    return (ramp(x + scale / 2) - ramp(x - scale / 2)) / scale


@dataclass(frozen=True, kw_only=True)
class Clouds:
    """Clouds and their shadows on the satellite's grid, all [h, w].

    Parameters
    ----------
    opacity : array of float32
        0 (clear) to 1.
    shadow : array of float32
        Share of the light that clouds take, 0 to 1.
    cloudy : array of bool
        Where there is cloud to speak of.
    white : array of float32
        Reflectance of the cloud.
    """

    opacity: Field
    shadow: Field
    cloudy: npt.NDArray[np.bool_]
    white: Field

    @property
    def fraction(self) -> float:
        """Share of cloudy pixels."""
        return float(self.cloudy.mean())

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: tuple[int, int], fraction: float, sun: Sun
    ) -> Clouds:
        """Clouds that cover a given share of the scene."""
        h, w = shape
        if fraction <= 0:
            clear = np.zeros(shape, np.float32)
            return cls(opacity=clear, shadow=clear, cloudy=clear > 0, white=clear)
        size = (h + w) / 2
        # Cumulus a tenth of a scene above the ground; the shadow falls away from the sun.
        offset = -sun.towards * 0.07 * size / sun.slope
        dx, dy = (round(float(v)) for v in offset)
        pad = abs(dx) + abs(dy) + 1
        field = fractal(rng, (h + 2 * pad, w + 2 * pad), 0.3 * size, octaves=7, gain=0.52)
        here = field[pad : pad + h, pad : pad + w]
        level = float(np.quantile(here, 1 - fraction))
        density = smoothstep(level - 0.06, level + 0.75, field)
        sheltered = density[pad - dy : pad - dy + h, pad - dx : pad - dx + w]
        billows = fractal(rng, shape, 0.08 * size, octaves=5)
        return cls(
            opacity=np.asarray(0.97 * density[pad : pad + h, pad : pad + w], np.float32),
            shadow=np.asarray(0.62 * sheltered, np.float32),
            cloudy=np.asarray(here > level),
            white=np.asarray(
                0.66 + 0.05 * billows + 0.08 * np.clip(here - level, 0, 2), np.float32
            ),
        )


def to_dn(
    rng: np.random.Generator, brightness: Field, radiometry: Radiometry, clouds: Clouds
) -> npt.NDArray[np.uint16]:
    """Digital numbers of a scene, [3, h, w]; 0 is kept for nodata."""
    lit = radiometry.reflectance(brightness) * (1 - clouds.shadow)[..., None]
    white = clouds.white[..., None] * np.array([0.99, 1.0, 1.02], np.float32)
    seen = lit + (white - lit) * clouds.opacity[..., None]
    dn = seen * DN_OF_ONE
    dn += radiometry.noise_dn * rng.standard_normal(dn.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(np.rint(dn), 1, 65535).astype(np.uint16).transpose(2, 0, 1))


def classify(
    brightness: Field, at_sea: npt.NDArray[np.bool_], clouds: Clouds
) -> npt.NDArray[np.uint8]:
    """Scene classification with Sentinel-2's classes, at half the resolution.

    Parameters
    ----------
    brightness : array, [h, w, 3]
        Without clouds; h and w even.
    at_sea : array of bool, [h, w]
    clouds : Clouds

    Returns
    -------
    array of uint8, [h / 2, w / 2]
    """
    r, g, b = (_halved(brightness[..., c]).mean(axis=-1) for c in range(3))
    classes = np.where(g > 1.04 * r, VEGETATION, BARE)
    classes[(_halved(at_sea).mean(axis=-1) > 0.5) & (b > 1.15 * r)] = WATER
    classes[_halved(clouds.shadow).max(axis=-1) > 0.12] = SHADOW
    cloudy = _halved(clouds.cloudy).any(axis=-1)
    dense = _halved(clouds.opacity).mean(axis=-1) > 0.5
    classes[cloudy] = np.where(dense, CLOUD_HIGH, CLOUD_MEDIUM)[cloudy]
    return classes.astype(np.uint8)


def _halved(field: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The four pixels of each pixel of half the resolution, [h / 2, w / 2, 4]."""
    h, w = field.shape
    return field.reshape(h // 2, 2, w // 2, 2).swapaxes(1, 2).reshape(h // 2, w // 2, 4)
