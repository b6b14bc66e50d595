"""The shift of one scene pair from all its windows: one for the whole, or a smooth field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geo.coregister import (
    Registration,
    RegistrationRules,
    WindowShift,
    agree,
    believe,
    measure_window,
)
from geo.shift_field import ShiftField, fit_field
from geo.views import View

# The first answer need only be near: a few windows, spread over all of them, will do.
_FIRST_WINDOWS = 6

Shift = tuple[float, float] | npt.NDArray[np.float32]
"""Of a window, or of each of its pixels [2, h, w]: LR pixels, down and right."""


@dataclass(frozen=True, kw_only=True)
class FieldRules:
    """When one shift is not enough, and how a field is measured.

    Parameters
    ----------
    allowed : bool
        Whether a field may be used at all.
    window_px : int
        Side of its windows: smaller than those for one shift, to follow the ground.
    max_windows : int
        Most windows along one axis.
    rounds : int
        A window sees the mean of the field under it; what that leaves is measured again.
    min_distortion_px : float
        Windows that differ less than this from one shift, root mean square, need no field.
    min_kept : float
        Least share of the windows that must agree with the field.
    max_residual_px : float
        A field that leaves more than this to its windows explains nothing.
    max_sigma_px : float
        Largest standard error of the field over its ground.
    min_believed : float
        Least share of windows that must be sure of themselves.
    """

    allowed: bool = True
    window_px: int = 64
    max_windows: int = 20
    rounds: int = 3
    min_distortion_px: float = 0.12
    min_kept: float = 0.85
    max_residual_px: float = 0.25
    max_sigma_px: float = 0.15
    min_believed: float = 0.4

    def __post_init__(self) -> None:
        if self.window_px < 32:
            raise ValueError(f"window_px is {self.window_px}; wanted 32 or more")
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; wanted 1 or more")


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
    origin : {"scene", "field", "neighbours"}
    field : ShiftField or None
        Where one shift is not enough; `dy_px` and `dx_px` are then its middle.
    """

    dy_px: float
    dx_px: float
    reliability: float
    residual_px: float
    origin: str = "scene"
    field: ShiftField | None = None

    def over(self, geobox: GeoBox) -> Shift:
        """Shift of a window of the scene's grid, or of each of its pixels."""
        return (self.dy_px, self.dx_px) if self.field is None else self.field.over(geobox)


@dataclass(frozen=True, kw_only=True)
class Unregistered:
    """No shift is believed; what was found, and why it was refused."""

    dy_px: float
    dx_px: float
    reliability: float
    reason: str
    value: float
    limit: float


def register(
    views: Sequence[View],
    rules: RegistrationRules,
    *,
    grid: GeoBox,
    field_rules: FieldRules,
    look_closer: Callable[[], Sequence[View]],
) -> SceneShift | Unregistered:
    """Register by windows that vote; where they are at odds and each is sure, by a field.

    Parameters
    ----------
    views : sequence of View
        Large windows spread over the common ground.
    grid : GeoBox
        The satellite scene's.
    look_closer : callable
        Gives the windows for a field; asked only when one is wanted.

    Notes
    -----
    Windows vote twice, the second time on the aerial image already moved by the first shift: what
    is still found then is added, and says how far the answer can be trusted.
    """
    few = views[:: max(1, len(views) // _FIRST_WINDOWS)]
    first = vote(few, (0.0, 0.0), rules)
    if first.reason == "shift_beyond_limit":
        return _refuse(first, rules)
    start = (first.dy_px, first.dx_px) if first.accepted else (0.0, 0.0)
    shifts = measure(views, [start] * len(views), rules)
    second = agree(shifts, rules)
    distortion = _distortion_px(shifts, rules)
    if field_rules.allowed and distortion > field_rules.min_distortion_px:
        found = register_field(look_closer(), start, rules, field_rules, grid)
        if found is not None:
            return found
    if not second.accepted:
        return _refuse(second, rules)
    if distortion > rules.max_disagreement_px:
        return Unregistered(
            dy_px=start[0] + second.dy_px,
            dx_px=start[1] + second.dx_px,
            reliability=second.reliability,
            reason="distorted_ground",
            value=distortion,
            limit=rules.max_disagreement_px,
        )
    return SceneShift(
        dy_px=start[0] + second.dy_px,
        dx_px=start[1] + second.dx_px,
        reliability=second.reliability,
        residual_px=float(np.hypot(second.dy_px, second.dx_px)) + second.spread_px,
    )


def register_field(
    views: Sequence[View],
    start: tuple[float, float],
    rules: RegistrationRules,
    field_rules: FieldRules,
    grid: GeoBox,
) -> SceneShift | None:
    """Measure a field about a first shift; None where it explains the windows no better."""
    field: ShiftField | None = None
    for _ in range(field_rules.rounds):
        over = [start if field is None else field.over(ground.geobox) for ground, _ in views]
        found = _Measured.of(views, over, rules, grid)
        if len(found.positions) < max(12, field_rules.min_believed * len(views)):
            return None
        before = field.at(*found.positions.T).T if field is not None else np.array(start)
        field = fit_field(
            found.positions,
            found.shifts + before,
            found.sigmas,
            grid=grid,
            spacing_px=field_rules.window_px / 2,
            margin_px=field_rules.window_px / 4,
        )
    assert field is not None
    if (
        field.kept < field_rules.min_kept
        or field.residual_px > field_rules.max_residual_px
        or field.sigma_px > field_rules.max_sigma_px
    ):
        return None
    values = field.at(*found.positions.T)  # [2, n]
    middle = values.mean(axis=1)
    if np.hypot(*middle) > rules.max_shift_px:
        return None
    distortion = float(np.sqrt(((values - middle[:, None]) ** 2).sum(axis=0).mean()))
    if distortion < field_rules.min_distortion_px:
        return None
    return SceneShift(
        dy_px=float(middle[0]),
        dx_px=float(middle[1]),
        reliability=field.kept * found.reliability,
        residual_px=field.residual_px,
        origin="field",
        field=field,
    )


@dataclass(frozen=True)
class _Measured:
    """Windows that are believed, each by its own evidence."""

    positions: npt.NDArray[np.float64]  # [n, 2], in the scene's pixels
    shifts: npt.NDArray[np.float64]  # [n, 2]
    sigmas: npt.NDArray[np.float64]  # [n]
    reliability: float

    @classmethod
    def of(
        cls,
        views: Sequence[View],
        over: Sequence[Shift],
        rules: RegistrationRules,
        grid: GeoBox,
    ) -> _Measured:
        """Measure and keep those that deserve it."""
        rows = []
        for view, shift in zip(views, over, strict=True):
            found = _measure(view, shift, rules)
            if found is None or not believe([found], rules)[0]:
                continue
            rows.append((*_middle_of(view[0].geobox, grid), found))
        return cls(
            positions=np.array([(y, x) for y, x, _ in rows]).reshape(-1, 2),
            shifts=np.array([(f.dy_px, f.dx_px) for _, _, f in rows]).reshape(-1, 2),
            sigmas=np.array([f.sigma_px for _, _, f in rows]),
            reliability=float(np.median([f.reliability for _, _, f in rows])) if rows else 0.0,
        )


def _middle_of(window: GeoBox, grid: GeoBox) -> tuple[float, float]:
    """Middle of a window in the pixels of the grid it is a piece of: row, column."""
    height, width = window.shape.yx
    col, row = ~grid.affine * (window.affine * (width / 2, height / 2))
    return row, col


def _distortion_px(shifts: Sequence[WindowShift], rules: RegistrationRules) -> float:
    """How far windows that are sure of themselves lie from their middle, root mean square."""
    sure = [s for s, ok in zip(shifts, believe(shifts, rules), strict=True) if ok]
    if len(sure) < 3:
        return 0.0
    yx = np.array([(s.dy_px, s.dx_px) for s in sure])
    off = np.linalg.norm(yx - np.median(yx, axis=0), axis=1)
    # One window that errs among many is not a distortion.
    counted = np.sort(off)[:-1] if len(off) > 3 else off
    return float(np.sqrt(np.mean(counted**2)))


def vote(
    views: Sequence[View], shift_yx: tuple[float, float], rules: RegistrationRules
) -> Registration:
    """Consensus of what windows still find when the aerial image is moved by a shift."""
    return agree(measure(views, [shift_yx] * len(views), rules), rules)


def measure(
    views: Sequence[View], over: Sequence[Shift], rules: RegistrationRules
) -> list[WindowShift]:
    """What windows with enough good ground still find."""
    found = (_measure(view, shift, rules) for view, shift in zip(views, over, strict=True))
    return [s for s in found if s is not None]


def _measure(view: View, shift: Shift, rules: RegistrationRules) -> WindowShift | None:
    ground, reference = view
    aerial = reference.seen(shift)
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
