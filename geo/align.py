"""One scene pair brought together: registered, then harmonised.

The satellite's grid stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from odc.geo.geobox import GeoBox

from geo.alignment import Alignment, AlignRules
from geo.catalog.scene import Mask
from geo.colour_fit import ColourFit
from geo.ground import GroundWindow, read_ground
from geo.harmonise import HarmoniseRules, fit_colours
from geo.raster_io import Pixels, Source
from geo.registration import SceneShift, Unregistered, register
from geo.sensor import usual_noise
from geo.views import View, ViewReader, spread, spread_closely

# So many pixels tell gains and offsets as well as all of them.
_MOST_COLOURS = 50_000


def align_source(
    target: Source,
    target_geobox: GeoBox,
    reference: Source,
    *,
    area: tuple[slice, slice],
    masks: Sequence[Mask] = (),
    rules: AlignRules | None = None,
    known: SceneShift | None = None,
) -> Alignment:
    """Align an aerial scene to a satellite raster, reading only windows of it.

    Parameters
    ----------
    target : sequence of BandRef
        The satellite scene.
    target_geobox : GeoBox
        Its whole grid.
    reference : sequence of BandRef
        The aerial scene, the same bands.
    area : (rows, cols)
        Pixels of the satellite scene where the two overlap.
    masks : sequence of Mask
        What tells its good pixels from bad ones.
    known : SceneShift, optional
        A shift found elsewhere: then only the colours are brought together.
    """

    def read(rows: slice, cols: slice) -> GroundWindow:
        return read_ground(target, target_geobox, rows, cols, masks)

    return align_ground(read, target_geobox, reference, area=area, rules=rules, known=known)


def align_pixels(
    lr: Pixels, lr_geobox: GeoBox, reference: Source, *, rules: AlignRules | None = None
) -> Alignment:
    """Align an aerial scene to satellite pixels that are in memory, [C, h, w] on `lr_geobox`."""

    def read(rows: slice, cols: slice) -> GroundWindow:
        pixels = Pixels(lr.data[:, rows, cols], lr.valid[rows, cols])
        return GroundWindow(geobox=lr_geobox[rows, cols], pixels=pixels)

    height, width = lr.valid.shape
    area = (slice(0, height), slice(0, width))
    return align_ground(read, lr_geobox, reference, area=area, rules=rules)


def align_ground(
    read: Callable[[slice, slice], GroundWindow],
    grid: GeoBox,
    reference: Source,
    *,
    area: tuple[slice, slice],
    rules: AlignRules | None = None,
    known: SceneShift | None = None,
) -> Alignment:
    """Register and harmonise by windows of the common ground.

    Parameters
    ----------
    read : callable
        Rows and columns of `grid` to what the satellite shows there.
    grid : GeoBox
        The satellite scene's.
    area : (rows, cols)
        The common ground.
    known : SceneShift, optional
        A shift found elsewhere: then only the colours are brought together.
    """
    rules = rules or AlignRules()
    wanted = rules.registration
    reader = ViewReader(read, grid, reference, reach_px=wanted.max_shift_px + 1)
    windows = spread(area, wanted.window_px, wanted.max_windows)
    grounds = reader.read_grounds(windows)
    cloud = float(np.mean([ground.cloud_fraction for ground in grounds])) if grounds else 0.0
    if cloud > rules.max_cloud:
        return _refused(cloud, reason="cloud", value=cloud, limit=rules.max_cloud)
    views = [View(*both) for both in zip(grounds, reader.read_references(windows), strict=True)]

    def look_closer() -> list[View]:
        close = spread_closely(area, rules.field.window_px, rules.field.max_windows)
        return reader.read_views(close)

    shift = known or register(
        views, wanted, grid=grid, field_rules=rules.field, look_closer=look_closer
    )
    if isinstance(shift, Unregistered):
        return _refused(cloud, **asdict(shift))
    fit = bring_colours(views, shift, rules.harmonise)
    return Alignment(
        dy_px=shift.dy_px,
        dx_px=shift.dx_px,
        reliability=shift.reliability,
        residual_px=shift.residual_px,
        origin=shift.origin,
        field=shift.field,
        accepted=fit.reason is None,
        reason=fit.reason,
        value=fit.value,
        limit=fit.limit,
        colours=fit,
        cloud_fraction=cloud,
    )


def bring_colours(views: Sequence[View], shift: SceneShift, rules: HarmoniseRules) -> ColourFit:
    """Fit the colours on the pixels that are good in both."""
    aerial_pixels, satellite_pixels = [], []
    for window, reference in views:
        aerial = reference.seen(shift.over(window.geobox))
        valid = window.pixels.valid & aerial.valid
        thin = slice(None, None, max(1, len(views) * valid.size // _MOST_COLOURS))
        aerial_pixels.append(aerial.data[:, valid][:, thin])
        satellite_pixels.append(window.pixels.data[:, valid][:, thin].astype(np.float32))
    return fit_colours(
        np.concatenate(aerial_pixels, axis=1),
        np.concatenate(satellite_pixels, axis=1),
        rules,
        noise_dn=usual_noise((view.ground.pixels.data, view.ground.pixels.valid) for view in views),
    )


def _refused(
    cloud: float,
    *,
    reason: str,
    value: float,
    limit: float,
    dy_px: float = 0.0,
    dx_px: float = 0.0,
    reliability: float = 0.0,
) -> Alignment:
    return Alignment(
        dy_px=dy_px,
        dx_px=dx_px,
        reliability=reliability,
        accepted=False,
        reason=reason,
        value=value,
        limit=limit,
        residual_px=float("nan"),
        colours=None,
        cloud_fraction=cloud,
    )
