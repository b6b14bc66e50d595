"""Chips cut from an aligned scene pair: LR as the sensor saw it, HR on the refined grid.

Work comes in blocks of lattice cells, so that memory is bounded and one read serves many chips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.alignment import Alignment, read_aligned
from geo.catalog.scene import Mask
from geo.chips import Cell, Lattice
from geo.ground import read_ground
from geo.raster_io import Source
from geo.sensor import degrade


@dataclass(frozen=True, kw_only=True)
class CutRules:
    """When a chip is kept.

    Parameters
    ----------
    min_valid : float
        Least share of pixels that are good in both images.
    min_similarity : float
        Least correlation between LR and HR averaged down, for chips whose disagreement is larger
        than the scene's own.
    """

    min_valid: float = 0.9
    min_similarity: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.min_valid <= 1:
            raise ValueError(f"min_valid is {self.min_valid:g}; wanted more than 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A pair of chips on one cell, or the reason why there is none.

    Parameters
    ----------
    cell : Cell
    geobox : GeoBox
        Of the LR chip.
    lr : array, [C, h, w]
        In the satellite's dtype.
    hr : array, [C, H, W]
        In the satellite's dtype and radiometry.
    valid : array of bool, [H, W]
    valid_fraction, cloud_fraction, similarity : float
    reason, value, limit
        Why the chip is refused; `reason` is None for a good one.
    """

    cell: Cell
    geobox: GeoBox
    lr: npt.NDArray[np.generic]
    hr: npt.NDArray[np.generic]
    valid: npt.NDArray[np.bool_]
    valid_fraction: float
    cloud_fraction: float
    similarity: float
    reason: str | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class AlignedPair:
    """An aligned scene pair, ready to be cut.

    Parameters
    ----------
    satellite, aerial : sequence of BandRef
        The same bands of both.
    geobox : GeoBox
        The satellite's whole grid.
    masks : sequence of Mask
        What tells the satellite's good pixels from bad ones.
    """

    satellite: Source
    aerial: Source
    geobox: GeoBox
    masks: Sequence[Mask]
    alignment: Alignment
    scale: int


def cut_block(
    pair: AlignedPair, lattice: Lattice, cells: Sequence[Cell], rules: CutRules
) -> list[Chip]:
    """Cut the chips of neighbouring cells.

    Parameters
    ----------
    cells : sequence of Cell
        Whole inside the satellite's grid and near to each other: what they span is read at once.

    Returns
    -------
    list of Chip
        One for each cell, refused ones with their reason.
    """
    windows = [lattice.window(cell, pair.geobox) for cell in cells]
    top, left = (min(w[axis].start for w in windows) for axis in (0, 1))
    bottom, right = (max(w[axis].stop for w in windows) for axis in (0, 1))
    ground = read_ground(
        pair.satellite,
        pair.geobox,
        slice(top, bottom),
        slice(left, right),
        pair.masks,
    )
    aerial = read_aligned(
        pair.aerial, ground.geobox.zoom_out(1 / pair.scale), pair.alignment, scale=pair.scale
    )
    s = pair.scale
    lr, lr_valid = ground.pixels.data, ground.pixels.valid
    cloudy = np.zeros_like(lr_valid) if ground.screened is None else ground.screened
    there = aerial.valid & (lr_valid | cloudy).repeat(s, axis=0).repeat(s, axis=1)  # [H, W]
    hr = to_dtype(aerial.data, lr.dtype)
    valid = aerial.valid & lr_valid.repeat(s, axis=0).repeat(s, axis=1)  # [H, W]
    chips = []
    for cell, (rows, cols) in zip(cells, windows, strict=True):
        y, x = rows.start - top, cols.start - left
        h, w = rows.stop - rows.start, cols.stop - cols.start
        fine = (slice(y * s, (y + h) * s), slice(x * s, (x + w) * s))
        chips.append(
            judge_chip(
                cell,
                pair.geobox[rows, cols],
                lr[:, y : y + h, x : x + w],
                hr[:, fine[0], fine[1]],
                valid[fine],
                clear_fraction=float(1 - cloudy[y : y + h, x : x + w].mean()),
                data_fraction=float(there[fine].mean()),
                residual_dn=pair.alignment.residual_dn,
                rules=rules,
            )
        )
    return chips


def to_dtype(data: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """Round and clip to the satellite's dtype."""
    wanted = np.dtype(dtype)
    if wanted.kind not in "iu":
        return data.astype(wanted)
    limits = np.iinfo(wanted)
    return np.clip(np.rint(data), limits.min, limits.max).astype(wanted)


def judge_chip(
    cell: Cell,
    geobox: GeoBox,
    lr: npt.NDArray[np.generic],
    hr: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    *,
    clear_fraction: float,
    data_fraction: float,
    residual_dn: Sequence[float],
    rules: CutRules,
) -> Chip:
    """Keep or refuse one chip: enough good pixels, and the same ground in both.

    Parameters
    ----------
    clear_fraction : float
        Share without cloud or shadow.
    data_fraction : float
        Share where both images have data, cloudy or not.
    """
    valid_fraction = float(valid.mean())
    similarity, misfit = _compare(lr, hr, valid, residual_dn)
    reason, value, limit = None, None, None
    if valid_fraction < rules.min_valid:
        # Named by what takes more ground away.
        reason = "cloud" if clear_fraction <= data_fraction else "nodata"
        value, limit = valid_fraction, rules.min_valid
    elif similarity < rules.min_similarity and misfit > _MISFIT_LIMIT:
        reason, value, limit = "dissimilar_content", similarity, rules.min_similarity
    return Chip(
        cell=cell,
        geobox=geobox,
        lr=np.ascontiguousarray(lr),
        hr=np.ascontiguousarray(hr),
        valid=np.ascontiguousarray(valid),
        valid_fraction=valid_fraction,
        cloud_fraction=1 - clear_fraction,
        similarity=similarity,
        reason=reason,
        value=value,
        limit=limit,
    )


# Flat water correlates with nothing and yet is the same ground: a low correlation only counts
# where the two also differ by more than the scene's own residual.
_MISFIT_LIMIT = 3.0


def _compare(
    lr: npt.NDArray[np.generic],
    hr: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    residual_dn: Sequence[float],
) -> tuple[float, float]:
    """Correlation, and misfit in units of the scene's residual, at LR resolution."""
    scale = hr.shape[-1] // lr.shape[-1]
    good = ndimage.minimum_filter(
        valid.reshape(lr.shape[1], scale, lr.shape[2], scale).all(axis=(1, 3)), 3
    )  # [h, w]; the blur mixes neighbours in
    if good.sum() < 16:
        return 0.0, 0.0
    coarse = degrade(hr.astype(np.float32), scale)[:, good]  # [C, n]
    fine = lr.astype(np.float32)[:, good]
    correlations = [
        np.corrcoef(a, b)[0, 1] if min(a.std(), b.std()) > 1e-6 else 0.0
        for a, b in zip(coarse, fine, strict=True)
    ]
    scales = np.maximum(np.asarray(residual_dn, np.float32), 1e-6)
    misfit = np.sqrt(((fine - coarse) ** 2).mean(axis=1)) / scales
    return float(np.mean(correlations)), float(misfit.mean())
