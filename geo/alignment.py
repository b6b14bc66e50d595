"""How to read an aerial scene so that it lies on a satellite's grid in the satellite's colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from odc.geo.geobox import GeoBox

from geo.chips import ground_of
from geo.colour_fit import ColourFit
from geo.coregister import RegistrationRules
from geo.errors import GridError
from geo.harmonise import HarmoniseRules
from geo.raster_io import Pixels, Source
from geo.registration import FieldRules
from geo.shift_field import ShiftField
from geo.warp import warp_to


@dataclass(frozen=True, kw_only=True)
class AlignRules:
    """When two scenes may be joined.

    Parameters
    ----------
    registration : RegistrationRules
    field : FieldRules
    max_cloud : float
        Most cloud, 0 to 1, over the common ground.
    harmonise : HarmoniseRules
    """

    registration: RegistrationRules = dataclasses.field(default_factory=RegistrationRules)
    field: FieldRules = dataclasses.field(default_factory=FieldRules)
    max_cloud: float = 0.6
    harmonise: HarmoniseRules = dataclasses.field(default_factory=HarmoniseRules)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How to read the aerial scene on the satellite's grid, and why to believe it.

    Parameters
    ----------
    dy_px, dx_px : float
        Where the satellite's content lies relative to where its georeference says, in satellite
        pixels, down and right.
    reliability : float
        0 to 1.
    accepted : bool
    reason, value, limit
        Why it was refused, by which value against which limit.
    residual_px : float
        Shift still found after the correction, plus the spread of the windows.
    colours : ColourFit or None
        None where no shift was believed.
    cloud_fraction : float
        Over the windows looked at.
    origin : {"scene", "field", "neighbours"}
        What the shift was measured on: the whole scene pair; a field of windows; or neighbouring
        scene pairs, for there was nothing here to register on.
    field : ShiftField or None
        Where one shift is not enough; `dy_px` and `dx_px` are then its middle.
    """

    dy_px: float
    dx_px: float
    reliability: float
    accepted: bool
    reason: str | None
    value: float | None
    limit: float | None
    residual_px: float
    colours: ColourFit | None
    cloud_fraction: float
    origin: str = "scene"
    field: ShiftField | None = None

    @property
    def correlation(self) -> float:
        """Of the two images at LR resolution, mean over bands; NaN where unknown."""
        return self.colours.correlation if self.colours else float("nan")

    @property
    def gains(self) -> tuple[float, ...]:
        """Of the line ``satellite = gain * aerial + offset``, for each band."""
        return self.colours.gains if self.colours else ()

    @property
    def offsets(self) -> tuple[float, ...]:
        """Of the same line."""
        return self.colours.offsets if self.colours else ()

    @property
    def residual_dn(self) -> tuple[float, ...]:
        """What harmonisation leaves, for each band."""
        return self.colours.residual_dn if self.colours else ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def read_aligned(
    reference: Source,
    hr_geobox: GeoBox,
    alignment: Alignment,
    *,
    scale: int,
    bands: Sequence[str] | None = None,
) -> Pixels:
    """Aerial pixels on the HR grid in the satellite's DN: the one and only resampling.

    Parameters
    ----------
    hr_geobox : GeoBox
        A piece of the satellite's grid refined by `scale`, ``H`` by ``W``.
    alignment : Alignment
        An accepted one.

    Returns
    -------
    Pixels
        float32 ``data`` [C, H, W], 0 where not valid.

    Raises
    ------
    GridError
        If no shift was believed.
    SourceError
    """
    if alignment.field is None:
        shift_yx = (alignment.dy_px, alignment.dx_px)
        warped = warp_to(reference, ground_of(hr_geobox, shift_yx, scale), bands=bands)
    else:
        # Content lies down and right of its ground, so the ground is up and left.
        displacement = -scale * alignment.field.over(hr_geobox)
        warped = warp_to(reference, hr_geobox, bands=bands, displacement_yx=displacement)
    if alignment.colours is None:
        raise GridError(f"the scenes were not aligned ({alignment.reason}), so nothing can be read")
    data = alignment.colours.apply(warped.data)
    data[:, ~warped.valid] = 0
    return Pixels(data, warped.valid)
