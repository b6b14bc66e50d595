"""How far a drawing is from the real image, where the real image is valid, and from its input.

All images are in units of the imagery's spread. Each loss of pixels is the sum over valid pixels
divided by the number of all pixels. Dividing by the valid ones instead would let a pixel of a
cloudy mini-batch weigh more than one of a clear one, and the mean over ranks would not be the
mean over the mini-batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import avg_pool2d, pad

from models.config_networks import LossConfig
from models.errors import ConfigError
from models.features import FeatureNetwork, load_features

ContentLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5  # an 11 x 11 window
# 8-bit photographs have 255 DN and a spread of about 50: constants that mean the same here.
_SSIM_RANGE = 5.0
_FLAT = 0.05  # spreads by which neighbours of flat ground may differ
_MTF_AT_NYQUIST = 0.3
_BLUR_REACH_SIGMAS = 3.5


# --- of two images, pixel by pixel --------------------------------------------------------------


def l1(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of |sr - hr|; `sr`, `hr` [N, C, H, W], `valid` [N, 1, H, W]."""
    return ((sr - hr).abs() * valid).mean()


def charbonnier(sr: Tensor, hr: Tensor, valid: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt((sr - hr)^2 + epsilon^2) - epsilon, an L1 that is smooth at zero.

    Charbonnier et al., 1994; epsilon after Lai et al., LapSRN, 2017.
    """
    return ((((sr - hr).square() + epsilon**2).sqrt() - epsilon) * valid).mean()


def mse(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of (sr - hr)^2."""
    return ((sr - hr).square() * valid).mean()


# --- of two images, in neighbourhoods -----------------------------------------------------------


def ssim(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of 1 - SSIM, with means and variances of the valid pixels around each.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004:
    Gaussian window of 1.5 px, K1 = 0.01, K2 = 0.03; the data range is five spreads. What lies
    beyond the patch counts as not valid.
    """
    with _in_full_precision(sr):
        offset = _mean(hr, valid)
        # About the real image's mean: a variance is a small difference of large squares.
        x, y = (sr - offset) * valid, (hr - offset) * valid
        share = _gaussian_blur(valid).clamp(min=1e-6)  # [N, 1, H, W]
        moments = _gaussian_blur(torch.cat([x, y, x * x, y * y, x * y], dim=1)) / share
        mean_x, mean_y, xx, yy, xy = moments.chunk(5, dim=1)  # each [N, C, H, W]
        variances = xx - mean_x.square() + yy - mean_y.square()
        covariance = xy - mean_x * mean_y
        mean_x, mean_y = mean_x + offset, mean_y + offset
        c1, c2 = (0.01 * _SSIM_RANGE) ** 2, (0.03 * _SSIM_RANGE) ** 2
        brightness = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
        structure = (2 * covariance + c2) / (variances + c2)
        return ((1 - brightness * structure) * valid).mean()


def frequency(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of | |F(sr)| - |F(hr)| |, amplitudes of the Fourier transform wherever the detail lies.

    Fuoli, Van Gool and Timofte, "Fourier space losses for efficient perceptual image
    super-resolution", 2021, eq. 3. Through a Hann window, since the edges of a patch are no part
    of the image, and about the mean of the real image, so that holes are not edges. Transform and
    window keep the sum of squares: an amplitude is in units of the spread, too.
    """
    with _in_full_precision(sr):
        height, width = sr.shape[-2:]
        window = _hann(height, sr)[:, None] * _hann(width, sr)  # [H, W]
        drawn, real = (
            torch.fft.rfft2(image * window, norm="ortho").abs()  # [N, C, H, W // 2 + 1]
            for image in _centred(sr, hr, valid)
        )
        counts = torch.full((drawn.shape[-1],), 2.0, device=sr.device)  # in the whole plane
        counts[0] = 1
        if width % 2 == 0:
            counts[-1] = 1
        loss: Tensor = ((drawn - real).abs() * counts).sum() / sr.numel()
        return loss


def total_variation(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of the absolute differences to the next pixels below and right, both being valid.

    Anisotropic total variation, after Rudin, Osher and Fatemi, 1992. `hr` is not looked at.
    """
    below = (sr.diff(dim=2).abs() * valid[:, :, 1:] * valid[:, :, :-1]).sum()
    right = (sr.diff(dim=3).abs() * valid[..., 1:] * valid[..., :-1]).sum()
    return (below + right) / sr.numel()


CONTENT_LOSSES: dict[str, ContentLoss] = {
    "l1": l1,
    "charbonnier": charbonnier,
    "mse": mse,
    "ssim": ssim,
    "frequency": frequency,
    "total_variation": total_variation,
}


# --- of the drawing and its input ---------------------------------------------------------------


class Consistency(nn.Module):
    """|sensor(sr) - lr|: what the satellite would see of the drawing against what it saw.

    The sensor is that of `geo.sensor.degrade`: a Gaussian blur with a modulation transfer of 0.3
    at the LR Nyquist frequency, then the mean over each LR pixel. LR pixels count where all that
    they see of the patch is valid and inside of it.
    """

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        sigma = scale * math.sqrt(-2 * math.log(_MTF_AT_NYQUIST)) / math.pi  # HR pixels
        self._scale = scale
        self._reach = int(_BLUR_REACH_SIGMAS * sigma + 0.5)
        self.margin = -(-self._reach // scale)  # LR pixels that see beyond the patch
        blur = _gaussian(sigma, self._reach)
        box = torch.full((scale,), 1 / scale, dtype=torch.float64)
        kernel = functional.conv1d(
            (blur / blur.sum())[None, None], box[None, None], padding=scale - 1
        )
        # Follows from the scale, so it does not belong among the weights on disk.
        self.register_buffer("kernel", kernel.flatten().float(), persistent=False)

    def forward(self, sr: Tensor, lr: Tensor, valid: Tensor) -> Tensor:
        """Mean over LR pixels; `sr` [N, C, s*h, s*w], `lr` [N, C, h, w].

        Raises
        ------
        ConfigError
            For patches in which every LR pixel sees beyond the patch.
        """
        with _in_full_precision(sr):
            margin = self.margin
            if min(lr.shape[-2:]) <= 2 * margin:
                raise ConfigError(
                    f"losses consistency needs patches of more than {2 * margin} LR pixels, "
                    f"got {tuple(lr.shape[-2:])}"
                )
            seen = self.sees(sr * valid)  # [N, C, h - 2m, w - 2m]
            # The least value of what an LR pixel sees; a sum of weights would round the small ones.
            whole = -functional.max_pool2d(-self._inner(valid), self.kernel.numel(), self._scale)
            inner = lr[..., margin:-margin, margin:-margin]
            return ((seen - inner).abs() * whole).sum() / lr.numel()

    def sees(self, image: Tensor) -> Tensor:
        """[N, C, s*h, s*w] to the [N, C, h - 2m, w - 2m] whose view lies inside."""
        n, bands = image.shape[:2]
        planes = self._inner(image).flatten(0, 1)[:, None]
        step = self._scale
        planes = functional.conv2d(planes, self.kernel[None, None, :, None], stride=(step, 1))
        planes = functional.conv2d(planes, self.kernel[None, None, None, :], stride=(1, step))
        return planes.reshape(n, bands, *planes.shape[-2:])

    def _inner(self, image: Tensor) -> Tensor:
        """What the LR pixels inside the margin see."""
        start = self.margin * self._scale - self._reach
        height, width = image.shape[-2:]
        return image[..., start : height - start, start : width - start]


# --- of features --------------------------------------------------------------------------------


def perceptual(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean of |phi(sr) - phi(hr)| over all values of a layer, then over layers.

    Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and
    super-resolution", 2016, eq. 2, with the L1 of ESRGAN (Wang et al., 2018).
    """
    return _mean_of([(f.float() - r.float()).abs().mean() for r, f in _layers(real, fake)])


def style(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of Gram matrices, then over layers: what occurs with what.

    Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", 2016,
    eq. 3-4, scaled as in Johnson et al., 2016, eq. 4.
    """
    return _mean_of([(gram(f) - gram(r)).square().mean() for r, f in _layers(real, fake)])


def gram(layer: Tensor) -> Tensor:
    """Products of the planes of [N, c, h, w] with each other, means over pixels: [N, c, c]."""
    with _in_full_precision(layer):
        flat = layer.float().flatten(2)  # [N, c, h*w]
        return flat @ flat.mT / flat.shape[-1]


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean of |D_l(hr) - D_l(sr)| over all values of a layer of a discriminator, then over layers.

    Wang et al., pix2pixHD, 2018, eq. 4, after Salimans et al., 2016. Both lists as
    `models.discriminators.base.Judgement` has them; no gradient goes to `real`.
    """
    return perceptual([layer.detach() for layer in real], fake)


# --- all of them --------------------------------------------------------------------------------


def lattice(sr: Tensor, hr: Tensor, valid: Tensor, lr: Tensor) -> Tensor:
    """Pattern of the scale's period on flat ground: what a generator draws where it sees nothing.

    A generator without noise of its own answers flat ground with the same few pixels in every LR
    pixel, and texture of that kind is all that it can give a discriminator there. Here each of
    the s x s places within an LR pixel has the mean of its difference from the LR pixel's own,
    over the ground, flat ground the more; the loss is the mean magnitude of what of it is drawn
    and not real. Texture that differs from LR pixel to LR pixel costs nothing.
    """
    scale = sr.shape[-1] // lr.shape[-1]
    flat = _flatness(lr) * (avg_pool2d(valid, scale) == 1)  # [N, 1, h, w]
    flat = flat / flat.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    n, bands, height, width = sr.shape
    cells = (sr - hr).reshape(n, bands, height // scale, scale, width // scale, scale)
    places = torch.einsum("nchywx,nhw->ncyx", cells, flat[:, 0])  # [N, C, s, s]
    return (places - places.mean(dim=(2, 3), keepdim=True)).abs().mean()


def _flatness(lr: Tensor) -> Tensor:
    """1 where the neighbours of an LR pixel are as it is, to 0 where they differ; [N, 1, h, w]."""
    mean = avg_pool2d(pad(lr, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    square = avg_pool2d(pad(lr * lr, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    variance = (square - mean * mean).clamp(min=0).mean(dim=1, keepdim=True)
    return _FLAT**2 / (_FLAT**2 + variance)


ADVERSARIAL = ("feature_matching", "lattice")
"""Losses that answer to what a discriminator asks for, so of the adversarial phase only."""


class ContentLosses(nn.Module):
    """A weighted sum of losses; see `LossConfig`. What weighs nothing is not computed.

    Parameters
    ----------
    config : LossConfig
    scale : int
    network : FeatureNetwork or None
        For ``perceptual`` and ``style``.
    """

    def __init__(self, config: LossConfig, *, scale: int, network: FeatureNetwork | None) -> None:
        super().__init__()
        self.weights = {
            name: weight
            for name, weight in config.weights().items()
            if weight and name not in ADVERSARIAL
        }
        self.consistency = Consistency(scale) if "consistency" in self.weights else None
        self.network = network

    def forward(
        self, sr: Tensor, hr: Tensor, valid: Tensor, lr: Tensor, unit: Tensor | float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each loss by name before it is weighted.

        Parameters
        ----------
        sr, hr : Tensor
            [N, C, s*h, s*w].
        valid : Tensor
            [N, 1, s*h, s*w], 1 or 0.
        lr : Tensor
            [N, C, h, w].
        unit : Tensor or float
            What counts as one in the images.
        """
        if self.weights.keys() == {"l1"}:  # the default: one number to divide instead of all pixels
            part = l1(sr, hr, valid) / unit
            return self.weights["l1"] * part.sum(), {"l1": part.sum()}
        sr, hr, lr = sr / unit, hr / unit, lr / unit
        parts = {
            name: loss(sr, hr, valid)
            for name, loss in CONTENT_LOSSES.items()
            if name in self.weights
        }
        if self.consistency is not None:
            parts["consistency"] = self.consistency(sr, lr, valid)
        if self.network is not None:
            drawn, truth = _centred(sr, hr, valid)
            with torch.no_grad():
                real = self.network(truth)
            fake = self.network(drawn)
            for name, of_features in (("perceptual", perceptual), ("style", style)):
                if name in self.weights:
                    parts[name] = of_features(real, fake)
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return total, parts


def build_losses(config: LossConfig, *, scale: int, bands: int) -> ContentLosses:
    """What the generator is to keep to, on the CPU.

    Raises
    ------
    ConfigError
        When the file of the feature network cannot be used.
    """
    network = None
    if config.features is not None and (config.perceptual or config.style):
        network = load_features(config.features, bands=bands)
    return ContentLosses(config, scale=scale, network=network)


# --- arithmetic ---------------------------------------------------------------------------------


def _in_full_precision(x: Tensor) -> torch.autocast:
    """Convolutions here are means of pixels: bfloat16 has too few digits for them."""
    return torch.autocast(x.device.type, enabled=False)


def _mean(image: Tensor, valid: Tensor) -> Tensor:
    """Mean of each band over valid pixels [N, C, 1, 1]; 0 where there are none."""
    count = valid.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return (image * valid).sum(dim=(2, 3), keepdim=True) / count


def _centred(sr: Tensor, hr: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Both images about the mean of the real one, 0 where not valid."""
    mean = _mean(hr, valid)
    return (sr - mean) * valid, (hr - mean) * valid


def _gaussian(sigma: float, radius: int, device: torch.device | None = None) -> Tensor:
    x = torch.arange(-radius, radius + 1, dtype=torch.float64, device=device)
    return torch.exp(-((x / sigma) ** 2) / 2)


def _gaussian_blur(image: Tensor) -> Tensor:
    """[N, C, H, W] with the window of SSIM, zeros outside.

    As products with banded matrices: on CPUs eight times faster than a convolution of one plane.
    """
    rows, columns = (_band_matrix(size, image) for size in image.shape[-2:])
    return rows @ image.contiguous() @ columns


def _band_matrix(size: int, like: Tensor) -> Tensor:
    """Weights [size, size] of a pixel in the window about another, on one axis."""
    weights = _gaussian(_SSIM_SIGMA, _SSIM_RADIUS, like.device)
    place = torch.arange(size, device=like.device)
    distance = (place[:, None] - place).abs()
    near = distance <= _SSIM_RADIUS
    index = distance.clamp(max=_SSIM_RADIUS) + _SSIM_RADIUS
    return torch.where(near, (weights / weights.sum())[index], 0).to(like.dtype)


def _hann(size: int, like: Tensor) -> Tensor:
    """Hann window with a mean square of one, [size]."""
    angle = (torch.arange(size, device=like.device) + 0.5) * (math.pi / size)
    window = angle.sin().square()
    return window / window.square().mean().sqrt()


def _layers(real: Sequence[Tensor], fake: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(real, fake, strict=True))


def _mean_of(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
