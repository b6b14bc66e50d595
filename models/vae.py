"""The updates of an autoencoder of chips: the bound of the likelihood, and no game."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.chip_networks import Autoencoder
from models.chip_product import DrawnChips
from models.data import PairSpec
from models.elbo import gaussian_nats, kl_nats
from models.latents import batch_latents
from models.player import Metrics
from models.solo import SoloLearner
from models.tensors import Tensors


class VAELearner(SoloLearner[Autoencoder]):
    """HR chips to noise and back, by the likelihood of what is there.

    Kingma and Welling, 2014; the decoder is the generator of DCGAN, so that the two differ in what
    they are trained for and in nothing else. All of it is the content phase.
    """

    def product(self, spec: PairSpec) -> DrawnChips:
        """The averaged network; its encoder tells the likelihood of other chips."""
        return DrawnChips(self.ema.network, self._config, spec, self._ranks.device)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """``mean_loss``: what it would cost to draw the mean, as likely as the spread says."""
        units = self.network.standardise
        image, one = units(self._filled(batch)), torch.zeros((), device=batch.hr.device)
        nats = gaussian_nats(image, torch.zeros_like(image), one, batch.valid)
        return {"mean_loss": nats.sum() / batch.hr.numel()}

    def _loss(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        image, units = self._filled(batch), self.network.standardise
        noise = batch_latents(len(image), self._config.chips.latent, self._ranks)
        with self._autocast():
            decoded, mean, log_variance, of_pixels = self._player.wrapped(image, noise)
        count = image.numel()  # on all ranks the same, however many are valid
        nats = gaussian_nats(units(image), units(decoded), of_pixels, batch.valid).sum() / count
        kl = kl_nats(mean, log_variance).sum() / count
        loss = nats + self._config.chips.kl * kl
        return loss, {
            "content_loss": loss.detach(),
            "elbo": -(nats + kl).detach(),
            "kl": kl.detach(),
            "kl_per_image": kl.detach() * math.prod(image.shape[1:]),
            "pixel_spread": (of_pixels / 2).exp().detach(),
        }

    def _filled(self, batch: Tensors) -> Tensor:
        """HR chips with the mean of the imagery where they are not valid."""
        return torch.lerp(self.network.standardise.mean, batch.hr, batch.valid)
