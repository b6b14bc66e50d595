"""What the two networks and the losses can be told.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from models.config_checks import at_least, not_negative, one_of, share
from models.errors import ConfigError

SCALES = (1, 2, 4, 8)
"""1 redraws an image on its own grid."""
# Channels and blocks when nobody says otherwise.
_GENERATORS = {
    "edsr": (32, 4),
    "srresnet": (32, 4),
    "rrdb": (32, 2),
    "span": (32, 6),
    "unet": (32, 3),
}
GENERATORS = tuple(_GENERATORS)
# Stages when nobody says otherwise.
_DISCRIMINATORS = {"srgan": 4, "patchgan": 3, "unet": 3}
DISCRIMINATORS = tuple(_DISCRIMINATORS)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The network that draws. Settings left out get the defaults of the kind.

    Parameters
    ----------
    name : str
        ``edsr`` upsamples in its last layer and does all work on LR pixels, the best per CPU
        minute; ``srresnet`` upsamples by two at a time and ends on HR pixels, and can grow;
        ``rrdb`` has dense blocks within residual ones, for quality where time is no matter;
        ``span`` trains with several branches a layer and is exported with one; ``unet`` goes down
        and up again with skips, and its dropout is the noise of pix2pix.
    channels : int
        Feature planes.
    blocks : int
        Residual blocks; of ``unet`` its levels below the first, each looking twice as far.
    growth : int
        Of ``rrdb``: planes that each layer of a dense block adds.
    dropout : float
        Of ``unet``: share of planes left out in the upper half, while training and in the draws
        that ``skyscale upscale --draws`` asks for.
    fused : bool
        Of ``span``: branches already folded into one, as exported. Cannot be trained.
    """

    name: str = "edsr"
    channels: int | None = None
    blocks: int | None = None
    growth: int | None = None
    dropout: float | None = None
    fused: bool = False

    def __post_init__(self) -> None:
        one_of("generator name", self.name, GENERATORS)
        channels, blocks = _GENERATORS[self.name]
        _fill(self, "channels", channels)
        _fill(self, "blocks", blocks)
        if self.name == "rrdb":
            _fill(self, "growth", max(1, self.planes // 2))
        if self.name == "unet":
            _fill(self, "dropout", 0.2)
        _only(self, "growth", ("rrdb",))
        _only(self, "dropout", ("unet",))
        if self.fused and self.name != "span":
            raise ConfigError(f"generator fused is a setting of span, not of {self.name}")
        for name in ("channels", "blocks", "growth"):
            if (value := getattr(self, name)) is not None:
                at_least(f"generator {name}", value, 1)
        if self.dropout is not None:
            share("generator dropout", self.dropout, closed_below=True)
        if self.name == "unet" and self.depth > 4:
            raise ConfigError(
                f"a generator unet has at most 4 blocks (levels), got {self.depth}",
                blocks=self.depth,
            )

    @property
    def planes(self) -> int:
        """`channels`, which always is a number once filled."""
        assert self.channels is not None
        return self.channels

    @property
    def depth(self) -> int:
        """`blocks`, which always is a number once filled."""
        assert self.blocks is not None
        return self.blocks


def exported_form(config: GeneratorConfig) -> GeneratorConfig:
    """Configuration of the network that ``Generator.for_export`` makes of one."""
    return dataclasses.replace(config, fused=config.name == "span")


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """The network that tells drawn from real. Settings left out get the defaults of the kind.

    Parameters
    ----------
    name : str
        ``srgan``: strided convolutions with leaky ReLU, one decision per patch; ``patchgan``: one
        decision for each overlapping square, whose side follows from the stages; ``unet``: one
        for each pixel, with spectral normalisation.
    channels : int
        Feature planes of the first layer; deeper layers have up to four times as many.
    stages : int
        Halvings of the patch.
    conditional : bool
        Shows the upsampled LR image beside the patch, so that it is judged whether the two belong
        together.
    resolutions : int
        How many judges there are, each of an image half as fine as the one before it.
    """

    name: str = "srgan"
    channels: int = 16
    stages: int | None = None
    conditional: bool = False
    resolutions: int = 1

    def __post_init__(self) -> None:
        one_of("discriminator name", self.name, DISCRIMINATORS)
        _fill(self, "stages", _DISCRIMINATORS[self.name])
        at_least("discriminator channels", self.channels, 1)
        if not 1 <= self.depth <= 5:
            raise ConfigError(
                f"discriminator stages must be 1 to 5 (a patch of 32 px has no more), "
                f"got {self.stages}",
                stages=self.stages,
            )
        if not 1 <= self.resolutions <= 3:
            raise ConfigError(
                f"discriminator resolutions must be 1 to 3, got {self.resolutions}",
                resolutions=self.resolutions,
            )

    @property
    def depth(self) -> int:
        """`stages`, which always is a number once filled."""
        assert self.stages is not None
        return self.stages

    @property
    def smallest_patch(self) -> int:
        """Least side in HR pixels of what it can judge: one value is left of it at the end."""
        return 1 << (self.depth + self.resolutions - 1)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the generator is to keep to, as a sum of losses by weight; 0 leaves one out.

    All are measured in units of the imagery's own contrast, pixel losses over valid pixels only.

    Parameters
    ----------
    l1, charbonnier, mse : float
        Pixel by pixel.
    ssim : float
        One minus structural similarity.
    frequency : float
        Amplitudes of the Fourier transform.
    total_variation : float
        Differences of neighbouring pixels of what is drawn, against noise.
    consistency : float
        The image seen by the satellite's sensor against the LR input.
    lattice : float
        Patterns of the scale's own period on flat ground, the vice of generators that have
        nothing to go by and a discriminator to please; adversarial phase only.
    perceptual, style : float
        Features, and their correlations, of the network in `features`.
    features : str or None
        Weights of a VGG network as a safetensors file, or ``random`` for a small one that has
        learned nothing.
    feature_matching : float
        Features of the discriminator; adversarial phase only.
    """

    l1: float = 1.0
    charbonnier: float = 0.0
    mse: float = 0.0
    ssim: float = 0.0
    frequency: float = 0.0
    total_variation: float = 0.0
    consistency: float = 0.0
    lattice: float = 1.0
    perceptual: float = 0.0
    style: float = 0.0
    features: str | None = None
    feature_matching: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in self.weights().items():
            not_negative(f"losses {name}", weight)
        if not any(self.weights()[name] for name in ("l1", "charbonnier", "mse", "ssim")):
            raise ConfigError(
                "losses needs l1, charbonnier, mse or ssim above 0: nothing else fixes the image"
            )
        if (self.perceptual or self.style) and not self.features:
            raise ConfigError(
                "losses perceptual and style need features: the weights file of a VGG network"
            )

    def weights(self) -> dict[str, float]:
        """Weight of each loss by name."""
        return {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name != "features"
        }


def _fill(config: object, name: str, default: object) -> None:
    if getattr(config, name) is None:
        object.__setattr__(config, name, default)  # frozen for everybody else


def _only(config: GeneratorConfig, name: str, kinds: tuple[str, ...]) -> None:
    if getattr(config, name) is not None and config.name not in kinds:
        raise ConfigError(
            f"generator {name} is a setting of {', '.join(kinds)}, not of {config.name}", name=name
        )
