"""A degrader as data and as a plain function of arrays: HR DN in, LR DN out.

Travels as ``degrader.safetensors`` and ``degrader.json``; see `models.weights_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.config_checks import whole
from models.degrader import Degrader
from models.distributed import pick_device
from models.errors import DataError, ExportError
from models.weights_file import (
    NetworkCard,
    card_name,
    fill_network,
    read_card,
    read_weights,
    write_network,
)

NAME = "degrader"


@dataclass(frozen=True, kw_only=True)
class DegraderCard(NetworkCard):
    """What must be known of a degrader to use it, and where it comes from.

    Parameters
    ----------
    channels, blocks : int
        Feature planes and residual blocks.
    scale : int
        HR pixels along the side of an LR pixel.
    halo : int
        How far in LR pixels an LR pixel looks around its own HR pixels.
    """

    channels: int
    blocks: int
    scale: int
    halo: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "blocks", "scale", "halo"):
            whole(name, getattr(self, name))

    @property
    def name(self) -> str:
        """Identity for provenance: kind and the beginning of the weights' digest."""
        kind = f"{NAME}-{self.channels}x{self.blocks}-x{self.scale}"
        return f"{kind}@{self.weights_sha256[:12]}"


def save_degrader(folder: Path, degrader: Degrader, card: DegraderCard) -> DegraderCard:
    """Write a degrader into a folder; the card comes back with the digest of the weights."""
    return write_network(folder, NAME, degrader, card)


def load_degrader_card(folder: Path) -> DegraderCard:
    """Read what a degrader is, without its weights.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    return read_card(folder, NAME, DegraderCard)


def load_degrader(folder: Path) -> tuple[Degrader, DegraderCard]:
    """Read a degrader, on the CPU, ready to be used.

    Raises
    ------
    ExportError
        When card or weights are missing or damaged, or do not fit each other.
    """
    card = load_degrader_card(folder)
    tensors = read_weights(folder, NAME, card.weights_sha256)
    degrader = Degrader(
        bands=len(card.bands), scale=card.scale, channels=card.channels, blocks=card.blocks
    )
    fill_network(degrader, tensors, folder, NAME)
    if degrader.halo != card.halo:
        raise ExportError(
            f"{folder / card_name(NAME)} says a halo of {card.halo}, its blocks have "
            f"{degrader.halo}"
        )
    return degrader.eval().requires_grad_(False), card


class DegraderModel:
    """Makes LR images of HR images, as the satellite that it has learned would have seen them.

    Parameters
    ----------
    folder : Path or str
        As `save_degrader` writes it.
    device : str
        ``auto`` or a torch device.

    Raises
    ------
    ExportError
        When there is no degrader in the folder, or a damaged one.

    Notes
    -----
    Beyond the edge of an image it sees nothing, which shows as far as `halo` LR pixels inside: give
    an image with a margin of that many, where there is one, and cut the outcome.
    """

    def __init__(self, folder: Path | str, device: str = "auto") -> None:
        self._device = pick_device(device)
        network, self.card = load_degrader(Path(folder))
        self._network = network.to(self._device)

    @property
    def name(self) -> str:
        """Identity for provenance: two degraders of one name see the same."""
        return self.card.name

    @property
    def scale(self) -> int:
        """HR pixels along the side of an LR pixel."""
        return self.card.scale

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in the order of the planes."""
        return self.card.bands

    @property
    def data_range(self) -> float:
        """The DN that means reflectance one."""
        return self.card.data_range

    @property
    def halo(self) -> int:
        """How far in LR pixels an LR pixel looks around its own HR pixels."""
        return self.card.halo

    def __call__(self, hr: npt.NDArray[Any], seed: int | Sequence[int]) -> npt.NDArray[np.float32]:
        """Degrade images of one size.

        Parameters
        ----------
        hr : array, [N, C, s*h, s*w]
            Finite DN; fill invalid pixels first.
        seed : int or sequence of int
            Of the noise: one for each image, or that of the first one, which the others count on
            from. An image with one seed has one outcome, in whatever company.

        Returns
        -------
        array, float32 [N, C, h, w]
            DN, neither rounded nor clipped.

        Raises
        ------
        DataError
            For other planes than the degrader's bands, sides that are no multiples of `scale`, or
            as many seeds as there are no images.
        """
        self._check(hr)
        seeds = range(seed, seed + len(hr)) if isinstance(seed, int) else seed
        if len(seeds) != len(hr):
            raise DataError(f"got {len(seeds)} seeds for {len(hr)} images; wanted one for each")
        lr = np.empty((*hr.shape[:2], *(side // self.scale for side in hr.shape[2:])), np.float32)
        for number, (image, own) in enumerate(zip(hr, seeds, strict=True)):
            lr[number] = see(
                self._network, image, own, data_range=self.data_range, device=self._device
            )
        return lr

    def without_noise(self, hr: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """DN [C, s*h, s*w] to DN [C, h, w], of noise only what is not symmetric; see `see`."""
        self._check(hr[None])
        return see(
            self._network, hr, 0, data_range=self.data_range, device=self._device, noisy=False
        )

    def _check(self, hr: npt.NDArray[Any]) -> None:
        bands, scale = len(self.bands), self.scale
        if (
            hr.ndim != 4
            or hr.shape[1] != bands
            or 0 in hr.shape
            or any(side % scale for side in hr.shape[2:])
        ):
            raise DataError(
                f"the degrader takes [N, {bands}, {scale}*h, {scale}*w] "
                f"({', '.join(self.bands)}), got an array of shape {hr.shape}",
                shape=hr.shape,
            )


@torch.inference_mode()
def see(
    degrader: Degrader,
    hr: npt.NDArray[Any],
    seed: int,
    *,
    data_range: float,
    device: torch.device,
    noisy: bool = True,
) -> npt.NDArray[np.float32]:
    """HR DN [C, s*h, s*w] through a degrader to LR DN [C, h, w], float32.

    Parameters
    ----------
    noisy : bool
        False gives the mean of what is seen with a noise and with its opposite, which leaves of
        noise only what is not symmetric.
    """
    x = torch.from_numpy(np.divide(hr, data_range, dtype=np.float32))[None].to(device)
    noise = degrader.noise_for(x, torch.Generator().manual_seed(seed))
    lr = degrader(x, noise)
    if not noisy:
        lr = (lr + degrader(x, -noise)) / 2
    return np.ascontiguousarray((lr[0] * data_range).float().cpu().numpy())
