"""The shift of one scene pair from all its windows: one for the whole, or a smooth field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geo.coregister import Registration, RegistrationRules, WindowShift, agree, measure_window
from geo.ground import GroundWindow
from geo.reference import ReferenceWindow

# The first answer need only be near: a few windows, spread over all of them, will do.
_FIRST_WINDOWS = 8

View = tuple[GroundWindow, ReferenceWindow]
"""The same ground in both images."""


@dataclass(frozen=True, kw_only=True)
class SceneShift:
    """Where the satellite's content lies relative to where its georeference says.

    Parameters
    ----------
    dy_px, dx_px : float
        Satellite pixels, down and right.
    reliability : float
        0 to 1.
    residual_px : float
        Shift still found after the correction, plus the spread of the windows.
    origin : {"scene", "neighbours"}
    """

    dy_px: float
    dx_px: float
    reliability: float
    residual_px: float
    origin: str = "scene"


@dataclass(frozen=True, kw_only=True)
class Unregistered:
    """No shift is believed; what was found, and why it was refused."""

    dy_px: float
    dx_px: float
    reliability: float
    reason: str
    value: float
    limit: float


def register(views: Sequence[View], rules: RegistrationRules) -> SceneShift | Unregistered:
    """Register by windows that vote.

    Notes
    -----
    They vote twice, the second time on the aerial image already moved by the first shift: what is
    still found then is added, and says how far the answer can be trusted.
    """
    few = views[:: max(1, len(views) // _FIRST_WINDOWS)]
    first = vote(few, (0.0, 0.0), rules)
    if not first.accepted:
        return _refuse(first, rules)
    second = vote(views, (first.dy_px, first.dx_px), rules)
    if not second.accepted:
        return _refuse(second, rules)
    return SceneShift(
        dy_px=first.dy_px + second.dy_px,
        dx_px=first.dx_px + second.dx_px,
        reliability=second.reliability,
        residual_px=float(np.hypot(second.dy_px, second.dx_px)) + second.spread_px,
    )


def vote(
    views: Sequence[View], shift_yx: tuple[float, float], rules: RegistrationRules
) -> Registration:
    """Consensus of what windows still find when the aerial image is moved by a shift."""
    return agree([s for view in views if (s := _measure(view, shift_yx, rules))], rules)


def _measure(
    view: View, shift_yx: tuple[float, float], rules: RegistrationRules
) -> WindowShift | None:
    ground, reference = view
    aerial = reference.seen(shift_yx)
    valid = ground.pixels.valid & aerial.valid
    if valid.mean() < rules.min_valid:
        return None
    return measure_window(aerial.data, ground.pixels.data.astype(np.float32), valid)


def _refuse(found: Registration, rules: RegistrationRules) -> Unregistered:
    far = found.reason == "shift_beyond_limit"
    return Unregistered(
        dy_px=found.dy_px,
        dx_px=found.dx_px,
        reliability=found.reliability,
        reason=found.reason or "unreliable_registration",
        value=float(np.hypot(found.dy_px, found.dx_px)) if far else found.reliability,
        limit=rules.max_shift_px if far else rules.min_reliability,
    )
