"""Content losses of a run: in units of its imagery, and beside those of doing nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from models.config_networks import LossConfig
from models.content_losses import build_losses
from models.diversity import diversity
from models.generators.base import Generator
from models.player import Metrics


class Content:
    """What a generator keeps to, measured in units of the imagery's spread.

    Parameters
    ----------
    config : LossConfig
    generator : Generator
        With its constants set.
    device : torch.device
    """

    def __init__(self, config: LossConfig, generator: Generator, device: torch.device) -> None:
        self._generator = generator
        self._losses = build_losses(config, scale=generator.scale, bands=generator.bands).to(device)

    def loss(self, sr: Tensor, hr: Tensor, valid: Tensor, lr: Tensor) -> tuple[Tensor, Metrics]:
        """Weighted sum of the losses, and what is told of them; see `ContentLosses`."""
        spread = self._generator.standardise.spread
        loss, parts = self._losses(sr, hr, valid, lr, spread)
        told = {f"loss_{name}": part.detach() for name, part in parts.items()}
        return loss, {"content_loss": loss.detach(), **(told if len(told) > 1 else {})}

    def check_up(self, sr: Tensor, hr: Tensor, valid: Tensor, lr: Tensor) -> Metrics:
        """What health is judged by, beside what each update tells.

        Returns
        -------
        dict
            ``bicubic_loss``, the content loss of bicubic upsampling, and ``diversity``, the
            variety of what is drawn for a mini-batch against that of what is real.
        """
        base = self._generator.base(lr)
        varied = diversity(sr, hr, base, valid, scale=self._generator.scale)
        return {
            "bicubic_loss": self.loss(base, hr, valid, lr)[1]["content_loss"],
            "diversity": torch.tensor(varied, device=base.device),
        }
