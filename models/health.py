"""Notices that a run is sick, and says of what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.clock import Phase
from models.config import HealthConfig

_DOING_NOTHING = {"bicubic_loss": "plain bicubic upsampling", "mean_loss": "the plain mean"}
_SURE = 0.02  # beliefs so close to 1 and 0 leave a sigmoid's gradient a fiftieth


@dataclass(frozen=True, kw_only=True)
class Sickness:
    """What a run suffers from.

    Parameters
    ----------
    name : str
        ``not_finite``, ``diverged``, ``overpowered`` or ``collapsed``.
    text : str
        What was seen, with numbers.
    advice : str
        What to change when it does not heal by itself.
    """

    name: str
    text: str
    advice: str


class Watch:
    """Reads the metrics of a run; the same on all ranks, so that all come to the same verdict.

    A sign has to last for `HealthConfig.patience` reports before it counts, because single
    mini-batches may look like anything.
    """

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._lasting: dict[str, int] = {}

    @property
    def well(self) -> bool:
        """Whether no sign is to be seen; only then a state is worth keeping."""
        return not self._lasting

    def forget(self) -> None:
        """Start anew, as after a rollback."""
        self._lasting = {}

    def read(self, metrics: Mapping[str, float], phase: Phase) -> Sickness | None:
        """Look at the means since the last report.

        Parameters
        ----------
        metrics : mapping
            ``content_loss``, ``bicubic_loss`` or ``mean_loss`` (of the same losses, of bicubic
            upsampling or of the plain mean), ``generator_skipped``, ``discriminator_skipped``,
            ``d_real``, ``d_fake``, ``d_accuracy``, ``diversity``; those that are missing are not
            looked at.

        Returns
        -------
        Sickness or None
            Once a sign has lasted.
        """
        signs = self._signs(metrics, phase)
        self._lasting = {s.name: self._lasting.get(s.name, 0) + 1 for s in signs}
        for sign in signs:
            if self._lasting[sign.name] >= self._config.patience:
                return sign
        return None

    def _signs(self, metrics: Mapping[str, float], phase: Phase) -> list[Sickness]:
        signs = [_not_finite(metrics), self._diverged(metrics)]
        if phase == "adversarial":
            signs += [self._overpowered(metrics), self._collapsed(metrics)]
        return [sign for sign in signs if sign is not None]

    def _diverged(self, metrics: Mapping[str, float]) -> Sickness | None:
        loss = metrics.get("content_loss")
        for name, told in _DOING_NOTHING.items():
            plain = metrics.get(name)
            if loss is None or plain is None or loss <= self._config.loss_factor * plain:
                continue
            return Sickness(
                name="diverged",
                text=f"the content loss is {loss:.3g}, that of {told} {plain:.3g}",
                advice="lower lr_content and lr_generator, or adversarial_weight",
            )
        return None

    def _overpowered(self, metrics: Mapping[str, float]) -> Sickness | None:
        accuracy = metrics.get("d_accuracy", 0.0)
        real, fake = metrics.get("d_real", 0.5), metrics.get("d_fake", 0.5)
        sure = real > 1 - _SURE and fake < _SURE
        if accuracy < self._config.saturated_share or not sure:
            return None
        return Sickness(
            name="overpowered",
            text=f"the discriminator tells {accuracy:.1%} of all patches apart and is sure of it "
            f"({real:.3f} for real, {fake:.3f} for drawn ones), which teaches nothing",
            advice="lower lr_discriminator or discriminator_steps, or set r1",
        )

    def _collapsed(self, metrics: Mapping[str, float]) -> Sickness | None:
        diversity = metrics.get("diversity")
        if diversity is None or diversity >= self._config.diversity:
            return None
        return Sickness(
            name="collapsed",
            text=f"what is drawn varies by {diversity:.3f} of how reality does: the generator "
            "draws the same pattern whatever it is shown",
            advice="lower adversarial_weight, or set unroll_steps, r1 and r2",
        )


def _not_finite(metrics: Mapping[str, float]) -> Sickness | None:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    skipped = max(metrics.get("generator_skipped", 0.0), metrics.get("discriminator_skipped", 0.0))
    if not broken and skipped < 0.5:
        return None
    what = f"{', '.join(broken)} not finite" if broken else "gradients not finite"
    return Sickness(
        name="not_finite",
        text=f"{what}, {skipped:.0%} of updates left out",
        advice="lower the learning rates, or set precision to float32",
    )
