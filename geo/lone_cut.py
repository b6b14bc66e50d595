"""Chips cut of a single scene, by the screens of pairs: the image that it has, and nothing beside.

With something that degrades, HR chips become pairs to train on: their LR images are derived.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.aerial_screen import screen_aerial
from geo.chips import Cell
from geo.colour_fit import ColourFit
from geo.cut import Chip, judge_chip, split, to_dtype
from geo.decisions import aerial_facts, colour_facts, satellite_facts
from geo.derive import Derive, derive_pairs
from geo.ground import read_ground
from geo.landcover import LandCover
from geo.lone_scene import LoneRules, LoneScene
from geo.pairblock import place_facts
from geo.pairstore.rows import PairData, Row, scene_ids
from geo.similarity import content_of, see_chips, shares
from geo.splits import SplitRule
from geo.warp import warp_to

HELD_OUT = "held_out"

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LoneJob:
    """Everything a worker needs to cut a block of cells of one scene.

    Parameters
    ----------
    colours : ColourFit or None
        What brings an aerial scene into the satellite side's colours; None leaves it as it is.
    noise_dn : tuple of float
        Of the LR side for each band: what content is measured by.
    """

    lone: LoneScene
    rules: LoneRules
    colours: ColourFit | None
    noise_dn: tuple[float, ...]
    cells: tuple[Cell, ...]
    store: str
    dtype: str
    split_rule: SplitRule
    landcover: LandCover | None
    run_name: str


def cut_lone_job(job: LoneJob, derive: Derive | None = None) -> tuple[list[PairData], list[Row]]:
    """Cut a block: its good chips, ready for the store, and the rows of those refused.

    Parameters
    ----------
    derive : callable, optional
        Makes LR images of HR ones; chips that are not on training ground are refused then.
    """
    lone, rules = job.lone, job.rules
    lattice = lone.lattice(rules.pairing.lr_size)
    cut = _cut_satellite if lone.satellite else _cut_aerial
    chips = [judge_chip(chip, rules.pairing.cut) for chip in cut(job)]
    bounds = [lattice.bounds(chip.cell) for chip in chips]
    splits = job.split_rule.splits_of(bounds, lattice.crs)
    if derive is not None:
        chips = [
            _held_out(chip) if chip.reason is None and place != "train" else chip
            for chip, place in zip(chips, splits, strict=True)
        ]
    shared = _shared_facts(job)
    good, refused = [], []
    for chip, place in zip(chips, splits, strict=True):
        row: Row = {**shared, **_chip_facts(job, chip, derive is not None), "split": place}
        if chip.reason is None:
            good.append(PairData(row=row, lr=chip.lr, hr=chip.hr, valid=chip.valid))
        else:
            refused.append(row)
    return (good if derive is None else derive_pairs(good, derive, job.dtype)), refused


def _held_out(chip: Chip) -> Chip:
    """Refuse ground that validation and test are kept from: what is derived never goes there."""
    return replace(chip, reason=HELD_OUT, value=None, limit=None)


def _window_of(job: LoneJob) -> tuple[slice, slice, npt.NDArray[np.int_]]:
    """Rows and columns that hold all cells, and where each cell lies in them."""
    size = job.rules.pairing.lr_size
    lattice = job.lone.lattice(size)
    windows = [lattice.window(cell, job.lone.geobox) for cell in job.cells]
    top, left = (min(w[axis].start for w in windows) for axis in (0, 1))
    bottom, right = (max(w[axis].stop for w in windows) for axis in (0, 1))
    places = np.array([(r.start - top, c.start - left) for r, c in windows]) // size
    return slice(top, bottom), slice(left, right), places


def _cut_satellite(job: LoneJob) -> list[Chip]:
    """LR chips as the sensor saw them."""
    lone, size, scale = job.lone, job.rules.pairing.lr_size, job.rules.pairing.scale
    rows, cols, places = _window_of(job)
    ground = read_ground(lone.refs, lone.geobox, rows, cols, lone.masks)
    lr = split(ground.pixels.data, places, size)
    good = split(ground.pixels.valid[None], places, size)[:, 0]
    cloudy, hot = (
        np.zeros_like(good) if found is None else split(found[None], places, size)[:, 0]
        for found in (ground.screened, ground.saturated)
    )
    fine = size * scale
    return _chips(
        job,
        lr=lr,
        hr=np.zeros((len(lr), lr.shape[1], fine, fine), lr.dtype),
        valid=good.repeat(scale, axis=1).repeat(scale, axis=2),
        cloud=cloudy.mean(axis=(1, 2)),
        nodata=1 - (good | cloudy | hot).mean(axis=(1, 2)),
        saturated=hot.mean(axis=(1, 2)),
        content=content_of(lr, good, job.noise_dn),
    )


def _cut_aerial(job: LoneJob) -> list[Chip]:
    """HR chips, warped once, in the colours of the satellite side."""
    lone, rules = job.lone, job.rules.pairing
    rows, cols, places = _window_of(job)
    fine = rules.lr_size * rules.scale
    colours = job.colours or ColourFit.as_it_is(len(rules.bands))
    warped = warp_to(lone.refs, lone.geobox[rows, cols].zoom_out(1 / rules.scale))
    data = colours.apply(warped.data)
    data[:, ~warped.valid] = 0
    hr = split(data, places, fine)
    inside = split(warped.valid[None], places, fine)[:, 0]
    there, hot = screen_aerial(hr, inside, lone.refs, colours)
    valid = there & ~hot
    seen, good = see_chips(hr, there, rules.scale)
    size = rules.lr_size
    return _chips(
        job,
        lr=np.zeros((len(hr), hr.shape[1], size, size), job.dtype),
        hr=to_dtype(hr, job.dtype),
        valid=valid,
        cloud=np.zeros(len(hr)),
        nodata=1 - there.mean(axis=(1, 2)),
        saturated=shares(hot, rules.scale).mean(axis=(1, 2)),
        content=content_of(seen, good, job.noise_dn),
    )


def _chips(
    job: LoneJob,
    *,
    lr: npt.NDArray[Any],
    hr: npt.NDArray[Any],
    valid: _Mask,
    cloud: npt.NDArray[Any],
    nodata: npt.NDArray[Any],
    saturated: npt.NDArray[Any],
    content: npt.NDArray[Any],
) -> list[Chip]:
    lattice = job.lone.lattice(job.rules.pairing.lr_size)
    unknown = float("nan")
    return [
        Chip(
            cell=cell,
            geobox=lattice.geobox_of(cell, job.lone.geobox),
            lr=lr[i],
            hr=hr[i],
            valid=valid[i],
            valid_fraction=float(valid[i].mean()),
            cloud_fraction=float(cloud[i]),
            nodata_fraction=float(nodata[i]),
            saturated_fraction=float(saturated[i]),
            similarity=unknown,
            changed_fraction=unknown,
            content=float(content[i]),
            residual_px=unknown,
        )
        for i, cell in enumerate(job.cells)
    ]


def _shared_facts(job: LoneJob) -> Row:
    """What every row of a block says."""
    lone = job.lone
    satellite, aerial = scene_ids(lone.side, lone.scene.id)
    facts = satellite_facts(lone.scene) if lone.satellite else aerial_facts(lone.scene)
    affine = lone.geobox.affine
    shared: Row = {
        **facts,
        **({} if lone.satellite else colour_facts(job.colours)),
        "settings_digest": job.rules.digest(lone.side),
        "satellite_id": satellite,
        "aerial_id": aerial,
        "side": lone.side,
        "crs": str(lone.geobox.crs),
        "resolution_x": affine.a,
        "resolution_y": -affine.e,
        "ingested_by": job.run_name,
    }
    return shared


def _chip_facts(job: LoneJob, chip: Chip, derived: bool) -> Row:
    """What the row of a chip says of it alone."""
    identity = job.lone.identity(chip.cell, job.rules)
    facts: Row = {**place_facts(chip, job.landcover), "identity": identity}
    if chip.reason is not None:
        return facts
    if derived:
        return facts | {"kind": "pair", "derived": job.rules.derived, "side": None}
    return facts | {"kind": "chip"}
