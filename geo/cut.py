"""Chips cut from an aligned scene pair: LR as the sensor saw it, HR on the refined grid.

Work comes in blocks of lattice cells, so that memory is bounded and one read serves many chips.
All chips of a block are measured together and then judged one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geo.aerial_screen import screen_aerial
from geo.alignment import Alignment, read_aligned
from geo.catalog.scene import Mask
from geo.chips import Cell, Lattice
from geo.chipshift import measure_chips
from geo.colour_fit import ColourFit
from geo.ground import GroundWindow, read_ground
from geo.raster_io import Pixels, Source
from geo.similarity import Comparison, compare_chips, see_chips, shares

_Mask = npt.NDArray[np.bool_]
_Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CutRules:
    """When a chip is kept.

    Parameters
    ----------
    min_valid : float
        Least share of pixels that are good in both images.
    min_similarity : float
        Least similarity of LR and HR as the satellite would see it (`geo.similarity`).
    max_changed : float
        Most ground, as a share, that is different in the two.
    min_content : float
        Chips with less slope than this, in units of the scene's noise, are flagged
        ``low_content``: there is nothing on them but noise.
    max_residual_px : float
        Most shift, in LR pixels, that a chip by itself may still show.
    """

    min_valid: float = 0.9
    min_similarity: float = 0.6
    max_changed: float = 0.2
    min_content: float = 1.3
    max_residual_px: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.min_valid <= 1:
            raise ValueError(f"min_valid is {self.min_valid:g}; wanted more than 0, at most 1")
        if not -1 <= self.min_similarity <= 1:
            raise ValueError(f"min_similarity is {self.min_similarity:g}; wanted -1 to 1")
        if not 0 <= self.max_changed <= 1:
            raise ValueError(f"max_changed is {self.max_changed:g}; wanted 0 to 1")
        for name in ("min_content", "max_residual_px"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"{name} is {value:g}; wanted 0 or more")


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
    valid_fraction : float
    cloud_fraction, nodata_fraction, saturated_fraction : float
        What takes good pixels away; they may overlap.
    similarity, changed_fraction, content : float
        See `geo.similarity.Comparison`.
    residual_px : float
        Shift that the chip by itself still shows, in LR pixels; NaN where it shows too little.
    flags : tuple of str
        What a user may want to know of a chip that is kept: ``low_content``, ``saturated``.
    reason, value, limit
        Why the chip is refused; `reason` is None for a good one.
    """

    cell: Cell
    geobox: GeoBox
    lr: npt.NDArray[np.generic]
    hr: npt.NDArray[np.generic]
    valid: _Mask
    valid_fraction: float
    cloud_fraction: float
    similarity: float
    nodata_fraction: float = 0.0
    saturated_fraction: float = 0.0
    changed_fraction: float = 0.0
    content: float = 0.0
    residual_px: float = float("nan")
    flags: tuple[str, ...] = ()
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
        pair.satellite, pair.geobox, slice(top, bottom), slice(left, right), pair.masks
    )
    aerial = read_aligned(
        pair.aerial, ground.geobox.zoom_out(1 / pair.scale), pair.alignment, scale=pair.scale
    )
    places = np.array([(r.start - top, c.start - left) for r, c in windows]) // lattice.lr_size
    stacks = _stack_chips(ground, aerial, places, lattice.lr_size, pair)
    facts = _measure(stacks, pair)
    hr = to_dtype(stacks.hr, stacks.lr.dtype)
    chips = []
    for i, (cell, (rows, cols)) in enumerate(zip(cells, windows, strict=True)):
        chip = Chip(
            cell=cell,
            geobox=pair.geobox[rows, cols],
            lr=stacks.lr[i],
            hr=hr[i],
            valid=stacks.valid[i],
            valid_fraction=float(facts.valid_fraction[i]),
            cloud_fraction=float(facts.cloud_fraction[i]),
            nodata_fraction=float(facts.nodata_fraction[i]),
            saturated_fraction=float(facts.saturated_fraction[i]),
            similarity=float(facts.same.similarity[i]),
            changed_fraction=float(facts.same.changed_fraction[i]),
            content=float(facts.same.content[i]),
            residual_px=float(facts.residual_px[i]),
        )
        chips.append(judge_chip(chip, rules))
    return chips


@dataclass(frozen=True)
class _Stacks:
    """All chips of a block, each contiguous."""

    lr: npt.NDArray[Any]  # [n, C, h, w]
    lr_valid: _Mask  # [n, h, w]
    cloudy: _Mask  # [n, h, w], with rim
    lr_saturated: _Mask  # [n, h, w]
    hr: npt.NDArray[np.float32]  # [n, C, H, W]
    hr_valid: _Mask  # [n, H, W], of the aerial image alone, saturated or not
    hr_saturated: _Mask  # [n, H, W]
    valid: _Mask  # [n, H, W], good in both


def _stack_chips(
    ground: GroundWindow,
    aerial: Pixels,
    places: npt.NDArray[np.int_],
    size: int,
    pair: AlignedPair,
) -> _Stacks:
    """Take a block apart into chips; `places` [n, 2] are their rows and columns in it."""
    lr = ground.pixels.data
    nothing = np.zeros(ground.pixels.valid.shape, dtype=np.bool_)
    cloudy = nothing if ground.screened is None else ground.screened
    saturated = nothing if ground.saturated is None else ground.saturated
    lr_valid = split(ground.pixels.valid[None], places, size)[:, 0]
    fine = size * pair.scale
    hr_valid = split(aerial.valid[None], places, fine)[:, 0]
    hr = split(aerial.data, places, fine)
    hr_valid, hr_saturated = screen_aerial(hr, hr_valid, pair.aerial, colours_of(pair))
    valid = hr_valid & ~hr_saturated
    cells = valid.reshape(len(places), size, pair.scale, size, pair.scale)
    cells &= lr_valid[:, :, None, :, None]  # a view: writes into valid
    return _Stacks(
        lr=split(lr, places, size),
        lr_valid=lr_valid,
        cloudy=split(cloudy[None], places, size)[:, 0],
        lr_saturated=split(saturated[None], places, size)[:, 0],
        hr=hr,
        hr_valid=hr_valid,
        hr_saturated=hr_saturated,
        valid=valid,
    )


def split(image: npt.NDArray[Any], places: npt.NDArray[np.int_], size: int) -> npt.NDArray[Any]:
    """Chips of a block of whole cells: [C, rows * size, cols * size] to [n, C, size, size]."""
    bands, height, width = image.shape
    cells = image.reshape(bands, height // size, size, width // size, size)
    chips = cells.transpose(1, 3, 0, 2, 4)[places[:, 0], places[:, 1]]  # [n, C, size, size]
    return np.ascontiguousarray(chips)


@dataclass(frozen=True)
class _Facts:
    """What is measured on all chips of a block, each [n]."""

    valid_fraction: _Shares
    cloud_fraction: _Shares
    nodata_fraction: _Shares
    saturated_fraction: _Shares
    same: Comparison
    residual_px: _Shares


def _measure(stacks: _Stacks, pair: AlignedPair) -> _Facts:
    s = pair.scale
    seen, good = see_chips(stacks.hr, stacks.hr_valid, s)
    colours = colours_of(pair)
    same = compare_chips(
        stacks.lr, seen, good & stacks.lr_valid, colours.tolerance_dn, colours.noise_dn
    )
    data = stacks.lr_valid | stacks.cloudy | stacks.lr_saturated
    there = shares(stacks.hr_valid, s) * data  # [n, h, w]
    hot = np.maximum(stacks.lr_saturated, shares(stacks.hr_saturated, s))
    return _Facts(
        valid_fraction=stacks.valid.mean(axis=(1, 2)),
        cloud_fraction=stacks.cloudy.mean(axis=(1, 2)),
        nodata_fraction=1 - there.mean(axis=(1, 2)),
        saturated_fraction=hot.mean(axis=(1, 2)),
        same=same,
        residual_px=measure_chips(stacks.lr, seen, good & stacks.lr_valid),
    )


def colours_of(pair: AlignedPair) -> ColourFit:
    """The colour fit of a pair that is to be cut.

    Raises
    ------
    ValueError
        If its alignment is one without colours.
    """
    if pair.alignment.colours is None:
        raise ValueError("the alignment has no colour fit; wanted an accepted one")
    return pair.alignment.colours


def judge_chip(chip: Chip, rules: CutRules) -> Chip:
    """Keep or refuse a measured chip: enough good pixels, and the same ground in both.

    What a chip without a partner cannot know, is NaN, and no reason.

    Reasons: ``cloud``, ``nodata`` or ``saturated``, whichever takes most ground away;
    ``misregistered``; ``dissimilar_content``; ``changed_ground`` for a part of the chip.
    """
    flags = [("low_content", chip.content < rules.min_content)]
    flags.append(("saturated", chip.saturated_fraction > 0))
    reason, value, limit = None, None, None
    if chip.valid_fraction < rules.min_valid:
        lost = {
            "cloud": chip.cloud_fraction,
            "nodata": chip.nodata_fraction,
            "saturated": chip.saturated_fraction,
        }
        reason = max(lost, key=lambda name: lost[name])
        value, limit = chip.valid_fraction, rules.min_valid
    elif chip.residual_px > rules.max_residual_px:
        reason, value, limit = "misregistered", chip.residual_px, rules.max_residual_px
    elif chip.similarity < rules.min_similarity:
        reason, value, limit = "dissimilar_content", chip.similarity, rules.min_similarity
    elif chip.changed_fraction > rules.max_changed:
        reason, value, limit = "changed_ground", chip.changed_fraction, rules.max_changed
    return replace(
        chip,
        flags=tuple(name for name, raised in flags if raised),
        reason=reason,
        value=value,
        limit=limit,
    )


def to_dtype(data: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """Round and clip to the satellite's dtype."""
    wanted = np.dtype(dtype)
    if wanted.kind not in "iu":
        return data.astype(wanted)
    limits = np.iinfo(wanted)
    out = np.empty(data.shape, wanted)
    for piece, target in zip(data, out, strict=True):  # small enough to stay in the cache
        whole = np.rint(piece)
        target[:] = np.clip(whole, limits.min, limits.max, out=whole)
    return out
