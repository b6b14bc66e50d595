"""What draws chips of noise, once it is trained: a folder in, arrays of DN out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.chip_networks import Autoencoder, ChipGenerator
from models.config_checks import one_of, whole
from models.config_chips import ChipsConfig
from models.config_unpaired import PRODUCTS
from models.data import PairSource, PairSpec, evenly_spaced
from models.elbo import gaussian_nats, kl_nats
from models.errors import ConfigError, DataError, ExportError
from models.latents import fixed_latents, walk_latents
from models.weights_file import (
    NetworkCard,
    fill_network,
    read_card,
    read_weights,
    write_network,
)

NAME = "chips"
_LEGS = 3
_TOGETHER = 64

DN = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ChipsCard(NetworkCard):
    """What must be known of a network that draws chips, and where it comes from.

    Parameters
    ----------
    task : str
        ``dcgan`` or ``vae``.
    architecture : ChipsConfig
    side : int
        Of a chip, in HR pixels.
    """

    task: str
    architecture: ChipsConfig
    side: int

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("task", self.task, tuple(t for t, made in PRODUCTS.items() if made == NAME))
        whole("side", self.side)


class Chips:
    """Draws chips of noise.

    Parameters
    ----------
    network : ChipGenerator or Autoencoder
        Left as it is; wanted in `eval` mode.
    data_range : float
        The DN that means reflectance one.
    device : torch.device
        Where it is.
    """

    def __init__(
        self,
        network: ChipGenerator | Autoencoder,
        *,
        data_range: float,
        device: torch.device | None = None,
    ) -> None:
        self._network = network
        self._data_range = data_range
        self._device = device or torch.device("cpu")

    @property
    def generator(self) -> ChipGenerator:
        """Noise to reflectance."""
        network = self._network
        return network.decoder if isinstance(network, Autoencoder) else network

    @property
    def spread(self) -> float:
        """Contrast of the imagery, in DN."""
        return float(self.generator.standardise.spread) * self._data_range

    def draw(self, count: int, seed: int = 0) -> DN:
        """Chips [count, C, side, side], DN; the same for the same seed.

        Of an autoencoder the mean of each pixel, without the noise that it takes pixels to have.
        """
        return self._draw(fixed_latents(count, self.generator.latent, seed))

    def walk(self, frames: int, seed: int = 0) -> DN:
        """Chips on the way from one draw over others, `frames` to each, DN."""
        return self._draw(walk_latents(self.generator.latent, legs=_LEGS, frames=frames, seed=seed))

    @torch.inference_mode()
    def likelihood(self, chips: DN, valid: npt.NDArray[np.bool_]) -> dict[str, float] | None:
        """Bound of the log likelihood of chips that were not drawn; None where there is none.

        Parameters
        ----------
        chips : array, [n, C, side, side]
            DN; the mean of the imagery where they are not valid.
        valid : array of bool, [n, 1, side, side]

        Returns
        -------
        dict or None
            ``elbo``, nats for each value, of a density in units of the spread; ``kl``, the part
            of it that says where the image lies.
        """
        network = self._network
        if not isinstance(network, Autoencoder):
            return None
        total = torch.zeros(2, dtype=torch.float64)
        for first in range(0, len(chips), _TOGETHER):
            image = torch.from_numpy(chips[first : first + _TOGETHER]).to(self._device)
            counted = torch.from_numpy(valid[first : first + _TOGETHER]).to(self._device)
            noise = fixed_latents(len(image), self.generator.latent, first).to(self._device)
            image = image / self._data_range
            decoded, mean, log_variance, of_pixels = network(image, noise)
            units = self.generator.standardise
            nats = gaussian_nats(units(image), units(decoded), of_pixels, counted.float())
            parts = torch.stack([nats.sum(), kl_nats(mean, log_variance).sum()])
            total += parts.double().cpu()
        values = max(1, int(valid.sum()) * chips.shape[1])
        nats_each, kl = (total / values).tolist()
        return {"elbo": -nats_each - kl, "kl": kl}

    @torch.inference_mode()
    def _draw(self, latents: Tensor) -> DN:
        drawn = [
            self.generator(some.to(self._device)).cpu() for some in torch.split(latents, _TOGETHER)
        ]
        found: DN = torch.cat(drawn).numpy() * np.float32(self._data_range)
        return found


def save_chips(folder: Path, network: ChipGenerator | Autoencoder, card: ChipsCard) -> ChipsCard:
    """Write a network and its card; see `models.weights_file.write_network`."""
    return write_network(folder, NAME, network, card)


def load_chips_card(folder: Path) -> ChipsCard:
    """Read what draws chips, without its weights.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    return read_card(folder, NAME, ChipsCard, architecture=ChipsConfig)


def load_chips(folder: Path | str) -> Chips:
    """Read what draws chips, on the CPU, ready to be used.

    Raises
    ------
    ExportError
        When card or weights are missing or damaged, or do not fit each other.
    """
    folder = Path(folder)
    card = load_chips_card(folder)
    tensors = read_weights(folder, NAME, card.weights_sha256)
    try:
        network = build_chips(
            card.task, bands=len(card.bands), side=card.side, config=card.architecture
        )
    except ConfigError as error:
        raise ExportError(
            f"{folder} holds no usable {NAME}: {error}", folder=str(folder)
        ) from error
    fill_network(network, tensors, folder, NAME)
    return Chips(network.eval().requires_grad_(False), data_range=card.data_range)


def build_chips(
    task: str, *, bands: int, side: int, config: ChipsConfig
) -> ChipGenerator | Autoencoder:
    """Untrained network of a task.

    Raises
    ------
    ConfigError
        For sides that cannot be drawn.
    """
    network = Autoencoder if task == "vae" else ChipGenerator
    return network(bands=bands, side=side, config=config)


def read_chips(
    pairs: PairSource, spec: PairSpec, *, side: int, mean: DN, limit: int | None = None
) -> tuple[DN, npt.NDArray[np.bool_]]:
    """The middle of real HR chips, evenly spaced ones, as they are compared with drawn ones.

    Parameters
    ----------
    side : int
        In HR pixels.
    mean : array, [C]
        DN that stands where a chip is not valid.
    limit : int, optional
        At most so many; all by default.

    Returns
    -------
    chips : array, [n, C, side, side]
        DN.
    valid : array of bool, [n, 1, side, side]

    Raises
    ------
    DataError
        When a chip is smaller than `side`.
    """
    places = evenly_spaced(len(pairs), len(pairs) if limit is None else limit)
    chips = np.empty((len(places), len(spec.bands), side, side), np.float32)
    masks = np.empty((len(places), 1, side, side), np.bool_)
    for first in range(0, len(places), _TOGETHER):
        some = places[first : first + _TOGETHER]
        for number, pair in enumerate(pairs.read(some), first):
            top, left = ((size - side) // 2 for size in pair.hr.shape[-2:])
            if min(top, left) < 0:
                raise DataError(
                    f"a chip of {' x '.join(map(str, pair.hr.shape[-2:]))} HR pixels is smaller "
                    f"than what is drawn, {side} x {side}",
                    shape=pair.hr.shape,
                )
            middle = np.s_[..., top : top + side, left : left + side]
            hr = np.asarray(pair.hr[middle], np.float32)
            masks[number, 0] = pair.valid[middle] & np.isfinite(hr).all(axis=0)
            chips[number] = np.where(masks[number], hr, mean[:, None, None])
    return chips, masks
