"""From aligned scenes to chips in the pair store: cut, judge, write, a row for every cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.alignment import Alignment
from geo.chips import Cell
from geo.cut import AlignedPair, Chip, cut_block
from geo.decisions import PairingRules, alignment_facts, scene_facts
from geo.landcover import LandCover
from geo.pairing import ScenePair, lattice_of
from geo.pairstore.rows import PairData, Row, pair_identity
from geo.pairstore.store import PairStore
from geo.splits import SplitRule


@dataclass(frozen=True, kw_only=True)
class BlockJob:
    """Everything a worker needs to cut a block of cells into the store."""

    pair: ScenePair
    alignment: Alignment
    rules: PairingRules
    cells: tuple[Cell, ...]
    store: str
    split_rule: SplitRule
    landcover: LandCover | None
    run_name: str


def pair_block(job: BlockJob) -> list[Row]:
    """Cut a block, write its good chips as one part, and return a row for each cell."""
    good, refused = cut_job(job)
    return [*PairStore.open(job.store).write_part(good), *refused]


def cut_job(job: BlockJob) -> tuple[list[PairData], list[Row]]:
    """Cut a block: its good chips, ready for the store, and the rows of those refused."""
    pair, rules = job.pair, job.rules
    aligned = AlignedPair(
        satellite=pair.satellite,
        aerial=pair.aerial,
        geobox=pair.geobox,
        masks=pair.masks,
        alignment=job.alignment,
        scale=rules.scale,
    )
    shared = {  # told once for all chips of the block
        **scene_facts(pair.candidate, rules),
        **alignment_facts(job.alignment),
        "crs": str(pair.geobox.crs),
        "resolution_x": pair.geobox.affine.a,
        "resolution_y": -pair.geobox.affine.e,
        "ingested_by": job.run_name,
    }
    good, refused = [], []
    lattice = lattice_of(pair.geobox, rules.lr_size)
    chips = cut_block(aligned, lattice, job.cells, rules.cut)
    # By the cell, not by the pixels: all dates of a place are on the same side.
    bounds = [lattice.bounds(chip.cell) for chip in chips]
    splits = job.split_rule.splits_of(bounds, lattice.crs)
    for chip, split in zip(chips, splits, strict=True):
        facts = _chip_facts(job, chip)
        row: Row = {**shared, **facts, "split": split}  # type: ignore[typeddict-item]  # a union of rows
        if chip.reason is None:
            good.append(PairData(row=row, lr=chip.lr, hr=chip.hr, valid=chip.valid))
        else:
            refused.append(row)
    return good, refused


def _chip_facts(job: BlockJob, chip: Chip) -> Row:
    """What the row of a chip says of it alone."""
    pair, rules = job.pair, job.rules
    crs = str(pair.geobox.crs)
    satellite, aerial = pair.candidate.satellite, pair.candidate.aerial
    facts: Row = {
        **place_facts(chip, job.landcover),
        "identity": pair_identity(
            satellite.id, aerial.id, crs, chip.cell.row, chip.cell.col, rules.scale
        ),
        "similarity": chip.similarity,
        "changed_fraction": chip.changed_fraction,
    }
    if (field := job.alignment.field) is not None:
        dy, dx = field.over(chip.geobox).mean(axis=(1, 2))
        facts |= {"dy_px": float(dy), "dx_px": float(dx)}
    if np.isfinite(chip.residual_px):
        facts["residual_px"] = chip.residual_px
    return facts


def place_facts(chip: Chip, landcover: LandCover | None) -> Row:
    """What the row of a chip says of its place and its pixels, whether it has a partner or not."""
    bounds = chip.geobox.boundingbox
    facts: Row = {
        "kind": "pair" if chip.reason is None else "rejection",
        "row": chip.cell.row,
        "col": chip.cell.col,
        "left": bounds.left,
        "bottom": bounds.bottom,
        "right": bounds.right,
        "top": bounds.top,
        "valid_fraction": chip.valid_fraction,
        "cloud_fraction": chip.cloud_fraction,
        "nodata_fraction": chip.nodata_fraction,
        "saturated_fraction": chip.saturated_fraction,
        "content": chip.content,
        "flags": list(chip.flags),
        "category": landcover.category_of(chip.geobox) if landcover else None,
    }
    if chip.reason is not None:
        facts |= {"reason": chip.reason, "value": chip.value, "limit": chip.limit}
    return facts
