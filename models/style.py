"""The updates of giving one campaign the look of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.config import TrainConfig
from models.data import PairSpec
from models.distributed import Ranks
from models.errors import ConfigError
from models.features import load_features
from models.generators.base import Generator
from models.player import Metrics
from models.restyling import Restyling
from models.solo import SoloLearner
from models.step import Growth
from models.style_losses import Look, Moments, Shown, band_moments, colour, layout, texture
from models.tensors import Tensors

# Of the looks of what is drawn, which changes while it is learned.
_MEMORY_OF_DRAWN = 0.5


class StyleLearner(SoloLearner[Generator]):
    """Fast style transfer between two campaigns: `lr` images redrawn with the look of `hr` images.

    Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and
    super-resolution", 2016, with the look of a whole campaign in the place of one picture's. A
    generator of scale 1 begins as the identity. There is no game.

    Parameters
    ----------
    generator : Generator
        Of scale 1, with its constants set, on the right device.
    dtype : torch.dtype
        Of the convolutions.
    """

    def __init__(
        self, generator: Generator, config: TrainConfig, ranks: Ranks, dtype: torch.dtype
    ) -> None:
        super().__init__(generator, config, ranks, dtype)
        self.generator = generator
        assert config.losses.features is not None, "the configuration checks itself"
        features = load_features(config.losses.features, bands=3)
        self.features = features.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs forget this overload
        self._drawn = Look(_MEMORY_OF_DRAWN, self.features)
        self._source, self._target = (Look(config.style.memory, self.features) for _ in range(2))

    def product(self, spec: PairSpec) -> Restyling:
        """The averaged generator."""
        return Restyling(
            self.ema.network,
            self._config.generator,
            spec,
            self._ranks.device,
            self._dtype,
            self.features,
        )

    def start_as(self, exported: Generator) -> None:
        """Let the generator and its mean begin as one that is trained."""
        self.generator.start_as(exported)
        self.ema.begin_at(self.generator)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {**super().state_dict(), "looks": [look.state_dict() for look in self._looks]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        super().load_state_dict(state)
        for look, kept in zip(self._looks, state["looks"], strict=True):
            look.load_state_dict(kept, self._ranks.device)

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update against layout, texture and colour."""
        if growth is not None:
            raise ConfigError("what redraws images on their own grid cannot grow")
        with torch.no_grad(), self._autocast():
            pieces = batch.pieces(self._config.accumulate)
            if not self._drawn.bands.updates:
                self._drawn.take_in([self._redrawn(piece) for piece in pieces], self._ranks)
            self._target.take_in([self._wanted(piece) for piece in pieces], self._ranks)
        bands_seen, grams_seen = list[Moments](), list[Moments]()

        def loss_of(piece: Tensors) -> tuple[Tensor, Metrics]:
            source, valid = self._source_of(piece)
            with self._autocast():
                drawn = self.generator.standardise(self._player.wrapped(source))
                kept = layout(drawn, self.generator.standardise(source), valid, self.features)
                grams = self._drawn.grams_of(drawn, valid)
            bands = band_moments(drawn, valid)
            for seen, moments in ((bands_seen, bands), (grams_seen, grams)):
                seen.append([moment.detach() for moment in moments])
            return self._weighed(
                self._drawn.bands.through(bands), self._drawn.grams.through(grams), kept
            )

        metrics = self._player.update(batch, loss_of)
        self._drawn.bands.update(bands_seen, self._ranks)
        self._drawn.grams.update(grams_seen, self._ranks)
        self.ema.update(self.generator)
        return metrics

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """What leaving the images as they are would cost, by the name that health knows it."""
        source, valid = self._source_of(batch)
        with self._autocast():
            unchanged = self.generator.standardise(source), valid
            self._source.take_in([unchanged], self._ranks)
        nothing_moved = torch.zeros((), device=self._ranks.device)
        of_source = self._source.bands.values, self._source.grams.values
        return {"bicubic_loss": self._weighed(*of_source, nothing_moved)[0]}

    def _weighed(self, bands: Moments, grams: Moments, kept: Tensor) -> tuple[Tensor, Metrics]:
        weights = self._config.style
        parts = {
            "layout": (weights.layout, kept),
            "style": (weights.style, texture(grams, self._target.grams.values)),
            "colour": (weights.colour, colour(bands, self._target.bands.values)),
        }
        loss = torch.stack([weight * part for weight, part in parts.values()]).sum()
        told = {f"loss_{name}": part.detach() for name, (_, part) in parts.items()}
        return loss, {"content_loss": loss.detach(), **told}

    def _redrawn(self, batch: Tensors) -> Shown:
        source, valid = self._source_of(batch)
        return self.generator.standardise(self.generator(source)), valid

    def _wanted(self, batch: Tensors) -> Shown:
        return self.generator.standardise(batch.hr), batch.valid

    def _source_of(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Source images with the mean of the imagery in their holes, and where they are valid."""
        assert batch.lr_valid is not None, "images of their own ground say where they are valid"
        mean = self.generator.standardise.mean
        return torch.lerp(mean, batch.lr, batch.lr_valid), batch.lr_valid

    @property
    def _looks(self) -> tuple[Look, ...]:
        return self._drawn, self._source, self._target
