"""Training pairs with another look: the HR image redrawn, the LR image moved along."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from models.data import PairSpec
from models.errors import ConfigError, ExportError
from models.export import GeneratorCard, load_generator
from models.generators.base import Generator
from models.player import autocast_on
from models.start import Start
from models.tensors import Tensors


class Restyler:
    """Gives the pairs of a mini-batch that ask for it the look that a generator draws.

    A pair stays one: the LR image changes by the mean, over each of its pixels, of what the HR
    image has changed by. So its own noise and blur stay as they are.

    Parameters
    ----------
    generator : Generator
        Of scale 1, on the right device.
    dtype : torch.dtype
        Of the convolutions.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype) -> None:
        self._generator = generator
        self._dtype = dtype

    @torch.no_grad()
    def __call__(self, batch: Tensors) -> Tensors:
        """The same mini-batch; pairs that `batch.restyled` says no to are left alone."""
        if batch.restyled is None or not bool(batch.restyled.any()):
            return batch
        chosen = batch.restyled
        lr, hr, valid = (
            # Choosing loses the layout that convolutions like better.
            images[chosen].contiguous(memory_format=torch.channels_last)
            for images in (batch.lr, batch.hr, batch.valid)
        )
        change = self._change(hr, valid)
        scale = hr.shape[-1] // lr.shape[-1]
        # An LR pixel with holes moves as what is known of it does.
        moved = avg_pool2d(change, scale) / avg_pool2d(valid, scale).clamp(min=1 / scale**2)
        new_lr, new_hr = batch.lr.clone(), batch.hr.clone()
        new_lr[chosen], new_hr[chosen] = lr + moved, hr + change
        return replace(batch, lr=new_lr, hr=new_hr)

    def _change(self, hr: Tensor, valid: Tensor) -> Tensor:
        """What is added to HR images where they are valid."""
        filled = torch.lerp(self._generator.standardise.mean, hr, valid)
        with autocast_on(hr.device, self._dtype):
            drawn: Tensor = self._generator(filled)
        return (drawn - filled) * valid


def check_restyler(card: GeneratorCard, spec: PairSpec) -> None:
    """Refuse what cannot redraw the HR images of pairs.

    Raises
    ------
    ConfigError
    """
    values = (
        ("scale", card.scale, 1),
        ("bands", ",".join(card.bands), ",".join(spec.bands)),
        ("data_range", card.data_range, spec.data_range),
    )
    other = [f"{name} {has}, wanted {wanted}" for name, has, wanted in values if has != wanted]
    if other:
        raise ConfigError(
            f"augment style: the network has {'; '.join(other)}: give one that the task style has "
            "made of such pairs"
        )


def load_restyler(
    folder: Start, spec: PairSpec, device: torch.device, dtype: torch.dtype
) -> Restyler:
    """Read what redraws HR images.

    Raises
    ------
    ExportError
        When there is none, or it is damaged or another one.
    ConfigError
        See `check_restyler`.
    """
    generator, card = load_generator(folder.folder)
    if folder.weights_sha256 not in (None, card.weights_sha256):
        raise ExportError(
            f"{folder.folder} holds {card.weights_sha256[:12]}; this training began with "
            f"{str(folder.weights_sha256)[:12]}: put that one back, or start anew",
            folder=str(folder.folder),
        )
    check_restyler(card, spec)
    network: nn.Module = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs forget this overload
    assert isinstance(network, Generator)
    return Restyler(network, dtype)
