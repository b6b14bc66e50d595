"""Past drawings, shown to a discriminator again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Keeps some of the images that were drawn, and gives them back among new ones.

    A discriminator that sees today's drawings alone forgets yesterday's, and the generator goes
    back to them: Shrivastava et al., "Learning from simulated and unsupervised images through
    adversarial training", 2017, section 2.3; CycleGAN (Zhu et al., 2017) keeps 50.

    Parameters
    ----------
    size : int
        Most images kept; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Tensor] = []

    def mixed(self, images: Tensor) -> Tensor:
        """As many images [N, C, H, W], about half of them from the pool once it is full.

        Each that comes from the pool leaves its place to the one that it is shown instead of.
        """
        if self._size == 0:
            return images
        shown = []
        for image in images.detach():
            if len(self._kept) < self._size:
                self._kept.append(image.clone())
                shown.append(image)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self._size, ()))
                shown.append(self._kept[place])
                self._kept[place] = image.clone()
            else:
                shown.append(image)
        return torch.stack(shown).contiguous(memory_format=torch.channels_last)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"kept": torch.stack(self._kept).cpu() if self._kept else None}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""
        kept = state["kept"]
        self._kept = [] if kept is None else [image.clone() for image in kept.to(device)]
