"""A mini-batch where the networks are, and how they want to see it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """A mini-batch on the device, in reflectance."""

    lr: Tensor  # [n, C, p, p]
    hr: Tensor  # [n, C, s*p, s*p], 0 where not valid
    valid: Tensor  # [n, 1, s*p, s*p], 1 or 0
    shift: tuple[int, int]
    lr_valid: Tensor | None = None  # [n, 1, p, p], 1 or 0, where LR is of other ground than HR
    restyled: Tensor | None = None  # [n], whether a pair is to be shown with another look
    labels: Tensor | None = None  # [n, s*p, s*p], int64: 0 for none, else 1 plus the class

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Tensors:
        """Move a mini-batch, as reflectance; channels-last, which convolutions like better."""

        def moved(stored: Any) -> Tensor:
            here = torch.from_numpy(stored)
            if device.type == "cuda":
                here = here.pin_memory()
            there = here.to(device, non_blocking=True).float()
            if batch.swapped:
                there = there.transpose(2, 3)
            return there.contiguous(memory_format=torch.channels_last)

        return cls(
            lr=moved(batch.lr).div_(batch.data_range),
            hr=moved(batch.hr).div_(batch.data_range),
            valid=moved(batch.valid),
            shift=batch.shift,
            lr_valid=None if batch.lr_valid is None else moved(batch.lr_valid),
            restyled=None
            if batch.restyled is None
            else torch.from_numpy(batch.restyled).to(device),
            labels=None if batch.labels is None else moved(batch.labels)[:, 0].long(),
        )

    def for_discriminator(self, images: Tensor) -> Tensor:
        """Images [n, C, s*p, s*p] as it sees them: valid pixels only, rolled at random.

        Patches lie on the LR grid and strided convolutions look harder at some pixels than at
        others. Unrolled, the two keep step and print a lattice of period `scale` on flat ground:
        0.43 DN of 255 instead of 0.22 in a trial where real imagery had 0.21.
        """
        return torch.roll(images * self.valid, self.shift, dims=(2, 3))

    def lr_for_discriminator(self, images: Tensor, valid: Tensor) -> Tensor:
        """LR images [n, C, p, p] as who judges them sees them; see `for_discriminator`."""
        shift = tuple(step % images.shape[-1] for step in self.shift)
        return torch.roll(images * valid, shift, dims=(2, 3))

    def pieces(self, count: int) -> list[Tensors]:
        """The mini-batch in equal parts."""
        if count == 1:
            return [self]
        images: dict[str, Any] = {
            item.name: of.chunk(count)
            for item in fields(self)
            if isinstance(of := getattr(self, item.name), Tensor)
        }
        return [
            replace(self, **{name: parts[place] for name, parts in images.items()})
            for place in range(count)
        ]

    def coarser(self, factor: int) -> Tensors:
        """With the HR image reduced by area, valid where all of its pixels are."""
        if factor == 1:
            return self
        pool = nn.functional.avg_pool2d
        valid = (pool(self.valid, factor) == 1).float()
        return replace(self, hr=pool(self.hr, factor) * valid, valid=valid)
