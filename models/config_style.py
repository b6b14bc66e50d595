"""What can be told of looks: how one campaign is given another's, and what is done with it.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.config_checks import not_negative, positive, share
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StyleConfig:
    """Of the task ``style``: the aerial images of one campaign with the look of another.

    Weights are of losses in units of the imagery's own contrast.

    Parameters
    ----------
    source, target : str
        Whose images are redrawn, and whose look they get: patterns of aerial scene ids with ``*``
        and ``?``, several with commas between.
    layout : float
        What is where stays: features of the drawing against those of its source, each image
        about its own mean and in units of its own contrast, so that colours cost nothing.
    style : float
        What occurs with what: Gram matrices of features against those of the target.
    colour : float
        Mean and spread of each band against those of the target.
    memory : float
        What remains of the target's statistics from one update to the next.
    """

    source: str = ""
    target: str = ""
    layout: float = 1.0
    style: float = 10.0
    colour: float = 3.0
    memory: float = 0.99

    def __post_init__(self) -> None:
        positive("style layout", self.layout)
        not_negative("style style", self.style)
        not_negative("style colour", self.colour)
        share("style memory", self.memory, closed_below=True)
        if not (self.style or self.colour):
            raise ConfigError("style style and colour are both 0: no look would be moved")
        if self.source and self.source == self.target:
            raise ConfigError(
                f"style source and target are both {self.source!r}: a campaign has its own look "
                "already, so name another one"
            )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Training pairs that are shown with another look as well.

    Parameters
    ----------
    style : str or None
        What the task ``style`` has made: models:/NAME/VERSION, runs:/ID/style, or a folder. The
        HR image is redrawn, and the LR image changes as the means over its pixels do.
    share : float
        Part of the training pairs that are shown so.
    """

    style: str | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        share("augment share", self.share)
