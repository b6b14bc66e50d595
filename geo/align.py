"""One scene pair brought together: registered, then harmonised.

The satellite's grid stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from odc.geo.geobox import GeoBox

from geo.alignment import Alignment, AlignRules
from geo.catalog.scene import Mask
from geo.coregister import (
    Registration,
    RegistrationRules,
    WindowShift,
    agree,
    measure_window,
    spread_windows,
)
from geo.ground import GroundWindow, read_ground
from geo.harmonise import ColourFit, fit_colours
from geo.raster_io import Pixels, Source
from geo.reference import ReferenceWindow, read_reference

_FIRST_WINDOWS = 8

_View = tuple[GroundWindow, ReferenceWindow]


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
    """
    rules = rules or AlignRules()
    top, left = area[0].start, area[1].start
    shape = (area[0].stop - top, area[1].stop - left)
    windows = []
    for rows, cols in spread_windows(shape, rules.registration):
        rows = slice(rows.start + top, rows.stop + top)
        cols = slice(cols.start + left, cols.stop + left)
        windows.append(read_ground(target, target_geobox, rows, cols, masks))
    return align_windows(windows, reference, rules=rules)


def align_windows(
    windows: Sequence[GroundWindow],
    reference: Source,
    *,
    bands: Sequence[str] | None = None,
    rules: AlignRules | None = None,
) -> Alignment:
    """Register and harmonise by windows of the common ground.

    Registration runs twice, the second time on the aerial image already moved by the first
    shift: what is still found then is added, and says how far the answer can be trusted.
    """
    rules = rules or AlignRules()
    cloud = float(np.mean([w.cloud_fraction for w in windows])) if windows else 0.0
    if cloud > rules.max_cloud:
        return _refused(cloud, reason="cloud", value=cloud, limit=rules.max_cloud)
    # The first answer need only be near: a few windows, spread over all of them, will do.
    reach = rules.registration.max_shift_px
    views = [
        (window, read_reference(reference, window.geobox, reach_px=reach, bands=bands))
        for window in windows
    ]
    few = views[:: max(1, len(views) // _FIRST_WINDOWS)]
    first = _register(few, (0.0, 0.0), rules.registration)
    if not first.accepted:
        return _refused(cloud, first, rules=rules.registration)
    second = _register(views, (first.dy_px, first.dx_px), rules.registration)
    if not second.accepted:
        return _refused(cloud, second, rules=rules.registration)
    shift_yx = (first.dy_px + second.dy_px, first.dx_px + second.dx_px)
    fit = _harmonise(views, shift_yx)
    similar = fit.correlation >= rules.min_correlation
    return Alignment(
        dy_px=shift_yx[0],
        dx_px=shift_yx[1],
        reliability=second.reliability,
        accepted=similar,
        reason=None if similar else "dissimilar_content",
        value=None if similar else fit.correlation,
        limit=None if similar else rules.min_correlation,
        gains=fit.gains,
        offsets=fit.offsets,
        residual_px=float(np.hypot(second.dy_px, second.dx_px)) + second.spread_px,
        correlation=fit.correlation,
        residual_dn=fit.residual_dn,
        cloud_fraction=cloud,
    )


def _refused(
    cloud: float,
    registration: Registration | None = None,
    *,
    rules: RegistrationRules | None = None,
    reason: str | None = None,
    value: float | None = None,
    limit: float | None = None,
) -> Alignment:
    dy = dx = reliability = 0.0
    if registration is not None and rules is not None:
        dy, dx = registration.dy_px, registration.dx_px
        reason, reliability = registration.reason, registration.reliability
        far = reason == "shift_beyond_limit"
        value = float(np.hypot(dy, dx)) if far else reliability
        limit = rules.max_shift_px if far else rules.min_reliability
    return Alignment(
        dy_px=dy,
        dx_px=dx,
        reliability=reliability,
        accepted=False,
        reason=reason,
        value=value,
        limit=limit,
        gains=(),
        offsets=(),
        residual_px=float("nan"),
        correlation=float("nan"),
        residual_dn=(),
        cloud_fraction=cloud,
    )


def _register(
    views: Sequence[_View], shift_yx: tuple[float, float], rules: RegistrationRules
) -> Registration:
    shifts: list[WindowShift] = []
    for window, reference in views:
        aerial = reference.seen(shift_yx)
        valid = window.pixels.valid & aerial.valid
        if valid.mean() >= rules.min_valid:
            target = window.pixels.data.astype(np.float32)
            shifts.append(measure_window(aerial.data, target, valid))
    return agree(shifts, rules)


def _harmonise(views: Sequence[_View], shift_yx: tuple[float, float]) -> ColourFit:
    aerial_pixels, satellite_pixels = [], []
    for window, reference in views:
        aerial = reference.seen(shift_yx)
        valid = window.pixels.valid & aerial.valid
        aerial_pixels.append(aerial.data[:, valid])
        satellite_pixels.append(window.pixels.data[:, valid].astype(np.float32))
    return fit_colours(
        np.concatenate(aerial_pixels, axis=1), np.concatenate(satellite_pixels, axis=1)
    )
