"""Networks between noise and chips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.batch_norm import BatchNorm
from models.config_chips import ChipsConfig, halvings_of
from models.discriminators.base import SLOPE
from models.layers import Standardise

_INITIAL = 0.02  # spread of the first weights, as in the paper


class ChipGenerator(nn.Module):
    """Noise to an image by transposed convolutions.

    Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional
    generative adversarial networks" (DCGAN), 2016: a dense layer to planes of a few pixels, then
    transposed 4x4 convolutions that double the size, each but the last with batch normalisation
    and ReLU. The last has no tanh, for reflectance has no bounds: it is in units of the imagery's
    spread around its mean.

    Parameters
    ----------
    bands, side : int
        Of the image, in pixels.
    config : ChipsConfig

    Raises
    ------
    ConfigError
        For sides that are not reached by doubling; see `halvings_of`.
    """

    def __init__(self, *, bands: int, side: int, config: ChipsConfig) -> None:
        super().__init__()
        halvings = halvings_of(side)
        self.bands = bands
        self.side = side
        self.latent = config.latent
        self.standardise = Standardise(bands)
        self._first = side >> halvings
        width = config.planes(halvings)
        self.entry = nn.Linear(config.latent, width * self._first**2, bias=False)
        layers: list[nn.Module] = [BatchNorm(width), nn.ReLU()]
        for left in reversed(range(halvings)):
            inputs, width = width, config.planes(left)
            last = left == 0
            layers.append(
                nn.ConvTranspose2d(
                    inputs, bands if last else width, 4, stride=2, padding=1, bias=last
                )
            )
            if not last:
                layers += [BatchNorm(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        _begin(self)

    def forward(self, z: Tensor) -> Tensor:
        """Noise [N, latent] to reflectance [N, C, side, side], float32."""
        planes = self.entry(z).unflatten(1, (-1, self._first, self._first))
        image: Tensor = self.layers(planes)
        return torch.addcmul(self.standardise.mean, image.float(), self.standardise.spread)


class ChipEncoder(nn.Module):
    """An image to where it lies among the noise: strided convolutions and a dense layer.

    Parameters
    ----------
    bands, side : int
    config : ChipsConfig
    """

    def __init__(self, *, bands: int, side: int, config: ChipsConfig) -> None:
        super().__init__()
        halvings = halvings_of(side)
        self.standardise = Standardise(bands)
        layers: list[nn.Module] = []
        inputs = bands
        for stage in range(halvings):
            width = config.planes(stage + 1)
            layers += [
                nn.Conv2d(inputs, width, 4, stride=2, padding=1),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.exit = nn.Linear(inputs * (side >> halvings) ** 2, 2 * config.latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reflectance [N, C, side, side] to mean and log variance [N, latent], float32."""
        planes: Tensor = self.layers(self.standardise(x))
        mean, log_variance = self.exit(planes.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance


class Autoencoder(nn.Module):
    """Encoder, decoder, and how far the truth is likely to be from what is decoded.

    Kingma and Welling, "Auto-encoding variational Bayes", 2014. One variance for all pixels, which
    is learned (Rybkin, Daniilidis and Levine, "Simple and effective VAE training with calibrated
    decoders", 2021): a fixed one would be a weight of the KL term by another name.
    """

    def __init__(self, *, bands: int, side: int, config: ChipsConfig) -> None:
        super().__init__()
        self.encoder = ChipEncoder(bands=bands, side=side, config=config)
        self.decoder = ChipGenerator(bands=bands, side=side, config=config)
        self.log_variance = nn.Parameter(torch.zeros(()))  # of the spread's square

    @property
    def standardise(self) -> Standardise:
        """Constants of the imagery, those of the decoder."""
        return self.decoder.standardise

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image [N, C, side, side] and noise [N, latent] to all that the loss asks for.

        Returns
        -------
        tuple of Tensor
            What is decoded [N, C, side, side]; mean and log variance [N, latent] of where the
            image lies; log variance of pixels.
        """
        mean, log_variance = self.encoder(x)
        z = mean + noise * (log_variance / 2).exp()
        return self.decoder(z), mean, log_variance, self.log_variance


def _begin(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, _INITIAL)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
