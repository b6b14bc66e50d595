"""A smooth local shift, where one for the whole scene is not enough: relief, mosaic joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import linalg
from scipy.interpolate import BSpline

_Values = npt.NDArray[np.float64]
_NodeRows = tuple[tuple[float, ...], ...]

# Smoothness tried: from nearly a plane to nearly free. The best is chosen by cross-validation.
_SMOOTHNESS = np.logspace(-3, 4, 15)
_ROBUST_ROUNDS = 6
_ROBUST_SIGMA = 3.0  # Tukey's biweight lets go of windows further off than about this
_LEAST_SIGMA_PX = 0.02  # no window is better than this, whatever it says of itself


@dataclass(frozen=True, kw_only=True)
class ShiftField:
    """Where the satellite's content lies relative to its georeference, place by place.

    Parameters
    ----------
    grid : tuple of float
        Affine (a, b, c, d, e, f) of the satellite scene's grid, north up.
    first_yx, last_yx : (float, float)
        Ends of the ground it was measured on, in that grid's pixels (centres of pixels lie at
        halves); beyond them it goes on as it is there.
    dy, dx : tuple of tuple of float
        Coefficients of uniform cubic B-splines over that area, in its pixels, down and right.
    residual_px : float
        What it leaves of the windows' shifts, root mean square of those that were kept.
    kept : float
        Share of windows that agree with it.
    sigma_px : float
        Its standard error along an axis, root mean square over the ground: large where windows
        are few for so much bending.
    """

    grid: tuple[float, ...]
    first_yx: tuple[float, float]
    last_yx: tuple[float, float]
    dy: _NodeRows
    dx: _NodeRows
    residual_px: float
    kept: float
    sigma_px: float

    def at(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> _Values:
        """Shifts at scattered places of the scene's grid: [n] and [n] to [2, n]."""
        by, bx = self._bases(np.asarray(rows, np.float64), np.asarray(cols, np.float64))
        return np.stack([np.einsum("ni,ij,nj->n", by, c, bx) for c in self._coefficients()])

    def over(self, geobox: GeoBox) -> npt.NDArray[np.float32]:
        """Shifts at the centres of a window's pixels.

        Parameters
        ----------
        geobox : GeoBox
            A piece of the scene's grid, as it is or refined, ``h`` by ``w``.

        Returns
        -------
        array, [2, h, w]
            In the scene's pixels.
        """
        there = ~Affine(*self.grid) @ geobox.affine
        height, width = geobox.shape.yx
        rows = there.e * (np.arange(height) + 0.5) + there.f
        cols = there.a * (np.arange(width) + 0.5) + there.c
        by, bx = self._bases(rows, cols)
        return np.stack([by @ c @ bx.T for c in self._coefficients()]).astype(np.float32)

    def _coefficients(self) -> tuple[_Values, _Values]:
        return np.asarray(self.dy, np.float64), np.asarray(self.dx, np.float64)

    def _bases(self, rows: _Values, cols: _Values) -> tuple[_Values, _Values]:
        shape = (len(self.dy), len(self.dy[0]))
        return (
            _basis(rows, self.first_yx[0], self.last_yx[0], shape[0]),
            _basis(cols, self.first_yx[1], self.last_yx[1], shape[1]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ShiftField:
        """The field that `to_dict` wrote."""
        rows = {name: tuple(tuple(row) for row in plain[name]) for name in ("dy", "dx")}
        ends = {name: tuple(plain[name]) for name in ("grid", "first_yx", "last_yx")}
        return cls(**{**plain, **rows, **ends})


def _basis(at: _Values, first: float, last: float, count: int) -> _Values:
    """Values of `count` cubic B-splines over an interval: [n, count]."""
    span = max(last - first, 1e-9)
    step = 1 / (count - 3)
    inside = np.clip((at - first) / span, 0.0, 1.0)
    knots = step * np.arange(-3, count + 1)
    # The interval's end belongs to its last piece.
    matrix = BSpline.design_matrix(np.minimum(inside, 1 - 1e-12), knots, 3)
    return np.asarray(matrix.toarray())


def fit_field(
    positions_yx: npt.NDArray[np.floating],
    shifts_yx: npt.NDArray[np.floating],
    sigmas_px: npt.NDArray[np.floating],
    *,
    grid: GeoBox,
    spacing_px: float,
    margin_px: float = 0.0,
) -> ShiftField:
    """Smooth field through the shifts of windows, some of which may be grossly wrong.

    Parameters
    ----------
    positions_yx : array, [n, 2]
        Middles of the windows, in the satellite scene's pixels.
    shifts_yx : array, [n, 2]
        LR pixels.
    sigmas_px : array, [n]
        Standard errors; only their ratios and a floor count.
    grid : GeoBox
        The satellite scene's.
    spacing_px : float
        Between the splines' nodes: about the distance between windows.
    margin_px : float
        How far beyond the outermost middles the field goes on smoothly: half a window.

    Notes
    -----
    Penalised B-splines (Eilers and Marx, Statistical Science 11, 1996) with second differences:
    the smoother it is made, the nearer to a plane, so a constant shift stays constant. How smooth
    is chosen by generalised cross-validation (Craven and Wahba, 1979); outliers lose their weight
    by Tukey's biweight.
    """
    positions = np.asarray(positions_yx, np.float64)
    shifts = np.asarray(shifts_yx, np.float64)
    trust = 1 / np.maximum(np.asarray(sigmas_px, np.float64), _LEAST_SIGMA_PX) ** 2
    first, last = positions.min(axis=0) - margin_px, positions.max(axis=0) + margin_px
    counts = [3 + max(1, round((b - a) / spacing_px)) for a, b in zip(first, last, strict=True)]
    by, bx = (_basis(positions[:, axis], first[axis], last[axis], counts[axis]) for axis in (0, 1))
    design = np.einsum("ni,nj->nij", by, bx).reshape(len(positions), -1)  # [n, nodes]
    penalty = _penalty(counts[0], counts[1])
    # A first look: which windows stand out from the crowd about them.
    rough = np.median(shifts, axis=0)
    weights = trust * _biweight(np.linalg.norm(shifts - rough, axis=1), floor=0.3)
    for _ in range(_ROBUST_ROUNDS):
        nodes, spread = _smooth(design, shifts, weights, penalty)  # [nodes, 2], [nodes, nodes]
        off = np.linalg.norm(shifts - design @ nodes, axis=1)
        weights = trust * _biweight(off, floor=0.06)
    kept = weights > 0
    residual = float(np.sqrt(np.mean(off[kept] ** 2))) if kept.any() else float("inf")
    dy, dx = (nodes[:, axis].reshape(counts) for axis in (0, 1))
    return ShiftField(
        grid=tuple(grid.affine)[:6],
        first_yx=(float(first[0]), float(first[1])),
        last_yx=(float(last[0]), float(last[1])),
        dy=tuple(tuple(row) for row in dy.tolist()),
        dx=tuple(tuple(row) for row in dx.tolist()),
        residual_px=residual,
        kept=float(kept.mean()),
        sigma_px=_mean_error(spread, counts),
    )


def _penalty(rows: int, cols: int) -> _Values:
    """Sum of squared second differences along both axes, as a matrix over [rows * cols]."""
    along = []
    for count in (rows, cols):
        second = np.diff(np.eye(count), 2, axis=0)
        along.append(second.T @ second)
    total = np.kron(along[0], np.eye(cols)) + np.kron(np.eye(rows), along[1])
    # A trace of a pull to zero bending everywhere keeps nodes without windows determined.
    return np.asarray(total + 1e-9 * np.eye(rows * cols))


def _smooth(
    design: _Values, shifts: _Values, weights: _Values, penalty: _Values
) -> tuple[_Values, _Values]:
    """Penalised weighted least squares, smoothness by generalised cross-validation.

    Nodes [nodes, 2], and a root of their covariance [nodes, nodes]: Wahba, Bayesian confidence
    intervals for the cross-validated smoothing spline, J. R. Stat. Soc. B 45 (1983).
    """
    scale = weights / weights.sum() * np.count_nonzero(weights)
    normal = design.T @ (scale[:, None] * design)  # [nodes, nodes]
    right = design.T @ (scale[:, None] * shifts)  # [nodes, 2]
    # Both matrices are diagonal in these: each smoothness then costs next to nothing.
    kept, base = linalg.eigh(normal, normal + penalty)
    kept = np.clip(kept, 0.0, 1.0)  # 1 where only windows speak, 0 where only smoothness does
    in_base = base.T @ right  # [nodes, 2]
    seen = design @ base  # [n, nodes]
    best: tuple[_Values, _Values] | None = None
    best_score = np.inf
    count = np.count_nonzero(weights)
    for smoothness in _SMOOTHNESS:
        share = 1 / (kept + smoothness * (1 - kept))  # [nodes]
        freedom = float((kept * share).sum())
        if freedom >= count - 1:
            continue
        found = share[:, None] * in_base
        misfit = float((scale[:, None] * (shifts - seen @ found) ** 2).sum())
        score = count * misfit / (count - freedom) ** 2
        if score < best_score:
            variance = misfit / 2 / (count - freedom)
            best, best_score = (base @ found, base * np.sqrt(variance * share)), score
    if best is None:
        raise ValueError(f"{count} windows are too few for a field")
    return best


def _mean_error(root: _Values, counts: Sequence[int]) -> float:
    """Root mean square over the ground of a field's standard error."""
    by, bx = (_basis(np.linspace(0, 1, 2 * n), 0.0, 1.0, n) for n in counts)
    each = [by @ column.reshape(counts) @ bx.T for column in root.T]
    return float(np.sqrt(np.mean(np.sum(np.square(each), axis=0))))


def _biweight(off: _Values, floor: float) -> _Values:
    """Tukey's weight of distances, in units of their own typical size."""
    sigma = max(float(np.median(off)) / 1.18, floor)  # the median of a Rayleigh distribution
    ratio = off / (1.5 * _ROBUST_SIGMA * sigma)
    return np.asarray(np.where(ratio < 1, (1 - ratio**2) ** 2, 0.0))
