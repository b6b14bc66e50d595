"""Degraders as products of a training: how they are validated, and what is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.config_unpaired import CycleConfig
from models.data import Pair, PairLike, PairSource, PairSpec, Window
from models.degrade import NAME, DegraderCard, save_degrader, see
from models.degrader import Degrader
from models.evaluate import Evaluation, Score, evaluate
from models.product import Origin, Upsampling


class TurnedRound:
    """Pairs whose input is the HR image and whose truth the LR image.

    An LR pixel is valid where all of its HR pixels are.

    Parameters
    ----------
    pairs : PairSource
    scale : int
    """

    def __init__(self, pairs: PairSource, scale: int) -> None:
        self._pairs = pairs
        self._scale = scale

    def __len__(self) -> int:
        return len(self._pairs)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        """See `models.data.PairSource`."""
        return [self._turned(pair) for pair in self._pairs.read(indices, windows)]

    def _turned(self, pair: PairLike) -> PairLike:
        height, width = pair.lr.shape[1:]
        cells = pair.valid.reshape(height, self._scale, width, self._scale)
        return Pair(lr=pair.hr, hr=pair.lr, valid=np.asarray(cells.all(axis=(1, 3))))


class Degrading:
    """A degrader that makes LR images of HR images.

    Parameters
    ----------
    network : Degrader
    config : CycleConfig
    spec : PairSpec
    device : torch.device
    """

    folder = NAME

    def __init__(
        self, network: Degrader, config: CycleConfig, spec: PairSpec, device: torch.device
    ) -> None:
        self.network = network
        self._config = config
        self._spec = spec
        self._device = device

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Scores of what it sees but for noise, beside the true LR image.

        `score` is asked with ``(seen, lr, hr, valid)``. Noise is left out: what is right of it is
        its kind, and a true image of its own costs PSNR as much as a false one.
        """
        turned = TurnedRound(pairs, self._spec.scale)
        return evaluate(self._see, turned, score, limit=limit, samples=samples)

    def export(self, target: Path, origin: Origin) -> None:
        """Write it as `DegraderModel` reads it."""
        spec = self._spec
        card = DegraderCard(
            channels=self._config.channels,
            blocks=self._config.blocks,
            scale=spec.scale,
            bands=spec.bands,
            data_range=spec.data_range,
            halo=self.network.halo,
            pixel_dtype=spec.dtype,
            store_version=origin.store_version,
            store_digest=origin.store_digest,
            training=origin.training,
        )
        save_degrader(target, self.network, card)

    def _see(self, hr: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return see(
            self.network,
            hr,
            0,
            data_range=self._spec.data_range,
            device=self._device,
            noisy=False,
        )


class BothWays:
    """A generator, which is judged, and the degrader that was trained with it, beside it.

    Parameters
    ----------
    there : Upsampling
    back : Degrading
    """

    def __init__(self, there: Upsampling, back: Degrading) -> None:
        self._there = there
        self._back = back
        self.folder = there.folder
        self.network = there.network
        self.validate = there.validate

    def export(self, target: Path, origin: Origin) -> None:
        """Write both, each into a folder of its own."""
        self._back.export(target.with_name(self._back.folder), origin)
        self._there.export(target, origin)
