"""One scene pair brought together: registered, then harmonised.

The satellite's grid stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from odc.geo.geobox import GeoBox

from geo.alignment import Alignment, AlignRules
from geo.catalog.scene import Mask
from geo.coregister import spread_windows
from geo.ground import GroundWindow, read_ground
from geo.harmonise import ColourFit, HarmoniseRules, estimate_noise, fit_colours
from geo.raster_io import Pixels, Source
from geo.reference import read_reference
from geo.registration import SceneShift, Unregistered, View, register


def align_scene(
    lr: Pixels,
    lr_geobox: GeoBox,
    reference: Source,
    *,
    bands: Sequence[str] | None = None,
    rules: AlignRules | None = None,
) -> Alignment:
    """Align an aerial scene to satellite pixels that are in memory.

    Parameters
    ----------
    lr : Pixels
        ``data`` [C, h, w] on `lr_geobox`.
    reference : str or sequence of BandRef
        The aerial scene, the same bands.
    """
    rules = rules or AlignRules()
    windows = [
        GroundWindow(
            geobox=lr_geobox[rows, cols],
            pixels=Pixels(lr.data[:, rows, cols], lr.valid[rows, cols]),
        )
        for rows, cols in spread_windows(lr.valid.shape, rules.registration)
    ]
    return align_windows(windows, reference, bands=bands, rules=rules)


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
    rules = rules or AlignRules()
    top, left = area[0].start, area[1].start
    shape = (area[0].stop - top, area[1].stop - left)
    windows = []
    for rows, cols in spread_windows(shape, rules.registration):
        rows = slice(rows.start + top, rows.stop + top)
        cols = slice(cols.start + left, cols.stop + left)
        windows.append(read_ground(target, target_geobox, rows, cols, masks))
    return align_windows(windows, reference, rules=rules, known=known)


def align_windows(
    windows: Sequence[GroundWindow],
    reference: Source,
    *,
    bands: Sequence[str] | None = None,
    rules: AlignRules | None = None,
    known: SceneShift | None = None,
) -> Alignment:
    """Register and harmonise by windows of the common ground.

    Parameters
    ----------
    known : SceneShift, optional
        A shift found elsewhere: then only the colours are brought together.
    """
    rules = rules or AlignRules()
    cloud = float(np.mean([w.cloud_fraction for w in windows])) if windows else 0.0
    if cloud > rules.max_cloud:
        return _refused(cloud, reason="cloud", value=cloud, limit=rules.max_cloud)
    reach = rules.registration.max_shift_px
    views = [
        (window, read_reference(reference, window.geobox, reach_px=reach, bands=bands))
        for window in windows
    ]
    shift = known or register(views, rules.registration)
    if isinstance(shift, Unregistered):
        return _refused(cloud, **asdict(shift))
    fit = bring_colours(views, (shift.dy_px, shift.dx_px), rules.harmonise)
    return Alignment(
        **asdict(shift),
        accepted=fit.reason is None,
        reason=fit.reason,
        value=fit.value,
        limit=fit.limit,
        colours=fit,
        cloud_fraction=cloud,
    )


def bring_colours(
    views: Sequence[View], shift_yx: tuple[float, float], rules: HarmoniseRules
) -> ColourFit:
    """Fit the colours on the pixels that are good in both."""
    aerial_pixels, satellite_pixels, noise = [], [], []
    for window, reference in views:
        aerial = reference.seen(shift_yx)
        valid = window.pixels.valid & aerial.valid
        aerial_pixels.append(aerial.data[:, valid])
        satellite_pixels.append(window.pixels.data[:, valid].astype(np.float32))
        noise.append(estimate_noise(window.pixels.data, window.pixels.valid))
    return fit_colours(
        np.concatenate(aerial_pixels, axis=1),
        np.concatenate(satellite_pixels, axis=1),
        rules,
        noise_dn=np.median(noise, axis=0).tolist(),
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
