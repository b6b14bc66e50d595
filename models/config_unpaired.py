"""What training on places without partners can be told.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.config_checks import at_least, not_negative, positive

PRODUCTS = {
    "paired": "generator",
    "unpaired": "generator",
    "degrade": "degrader",
    "style": "style",
    "dcgan": "chips",
    "vae": "chips",
    "segment": "segmenter",
}
"""What each task makes."""

TASKS = tuple(PRODUCTS)

APART = ("unpaired", "style")
"""Tasks whose LR and HR images come each in an order of its own."""


@dataclass(frozen=True, kw_only=True)
class CycleConfig:
    """Of the task ``unpaired``: there and back again (CycleGAN).

    Weights count against the adversarial losses of both sides, whose weight is
    `adversarial_weight`; all is in units of the imagery's own contrast.

    Parameters
    ----------
    cycle : float
        LR to HR to LR is to come back to where it began, and HR to LR to HR.
    identity : float
        An HR image's mean over LR pixels is to be drawn as that image, as `losses` measures it.
    identity_lr : float
        An LR image upsampled by bicubic is to be seen as itself. It has the sensor's blur already,
        so this holds a degrader back from learning any.
    pool : int
        Past drawings that are kept and shown to the discriminators again; 0 for none.
    channels, blocks : int
        Of the network from HR to LR, also of the task ``degrade``: feature planes and residual
        blocks.
    stages : int
        Of the discriminator of LR patches, also of ``degrade``: halvings of the patch.
    """

    cycle: float = 1.0
    identity: float = 1.0
    identity_lr: float = 0.0
    pool: int = 50
    channels: int = 32
    blocks: int = 2
    stages: int = 2

    def __post_init__(self) -> None:
        positive("cycle cycle", self.cycle)
        for name in ("identity", "identity_lr"):
            not_negative(f"cycle {name}", getattr(self, name))
        at_least("cycle pool", self.pool, 0)
        for name in ("channels", "blocks", "stages"):
            at_least(f"cycle {name}", getattr(self, name), 1)
