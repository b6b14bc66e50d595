"""What a network that makes maps of images can be told.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.config_checks import at_least, not_negative
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Of the task ``segment``: the class of every HR pixel.

    Parameters
    ----------
    labels : str
        What each pixel shows: GeoJSON of polygons with the property ``category``, or a raster of
        one band of whole numbers, with a JSON file of the same name that names them.
    channels : int
        Feature planes at the full size; twice as many at each halving, up to eight times.
    stages : int
        Halvings: with each a pixel is seen with twice as much around it.
    jitter : float
        How far brightness and contrast of each training chip are changed at random, in parts of
        the imagery's own contrast. More makes the map hang less on the light and the colours of
        the regions that it learns from, and is worse on just these.
    """

    labels: str = ""
    channels: int = 16
    stages: int = 4
    jitter: float = 0.0

    def __post_init__(self) -> None:
        at_least("segment channels", self.channels, 1)
        if not 1 <= self.stages <= 6:
            raise ConfigError(f"segment stages must be 1 to 6, got {self.stages}")
        not_negative("segment jitter", self.jitter)
