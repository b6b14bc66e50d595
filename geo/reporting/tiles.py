"""Pixels of tiles: what was drawn, what the satellite saw, what is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geo.alignment import read_aligned
from geo.chips import Cell
from geo.interpolate import halo, upsample
from geo.raster_io import read_window
from geo.reporting.plan import UNCERTAINTY, Batch, ReportPlan
from geo.reporting.satellite import SatelliteView
from geo.upscale_drawing import fill_invalid

_Stack = npt.NDArray[np.float32]
_Plane = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TilePixels:
    """The images of one tile, DN on the HR grid (LR on its own); all but SR may be missing."""

    cell: Cell
    sr: _Stack  # [C, H, W]
    other: _Stack | None  # [C, H, W]
    hr: _Stack | None  # [C, H, W]
    lr: _Stack | None  # [C, h, w]
    bicubic: _Stack | None  # [C, H, W]
    uncertainty: _Plane | None  # [H, W]
    seen: _Mask  # [H, W], where all but the reference are good
    valid: _Mask | None  # [H, W], where the reference is good as well
    cloudy: _Mask | None  # [h, w]
    scene: npt.NDArray[np.uint16] | None  # [h, w], see `SatelliteView.scene_of`


def read_tiles(plan: ReportPlan, batch: Batch) -> list[TilePixels]:
    """Read neighbouring tiles: what they span is read and warped at once."""
    s = plan.scale
    spans = [plan.lattice.window(cell, plan.lr_geobox) for cell in batch.cells]
    top, left = (min(span[axis].start for span in spans) for axis in (0, 1))
    bottom, right = (max(span[axis].stop for span in spans) for axis in (0, 1))
    whole = _read_span(plan, batch.reference, slice(top, bottom), slice(left, right))
    tiles = []
    for cell, (rows, cols) in zip(batch.cells, spans, strict=True):
        y, x = rows.start - top, cols.start - left
        h, w = rows.stop - rows.start, cols.stop - cols.start
        fine = np.s_[..., y * s : (y + h) * s, x * s : (x + w) * s]
        coarse = np.s_[..., y : y + h, x : x + w]
        tiles.append(
            TilePixels(
                cell=cell,
                sr=whole.sr[fine],
                other=None if whole.other is None else whole.other[fine],
                hr=None if whole.hr is None else whole.hr[fine],
                lr=None if whole.lr is None else whole.lr[coarse],
                bicubic=None if whole.bicubic is None else whole.bicubic[fine],
                uncertainty=None if whole.uncertainty is None else whole.uncertainty[fine],
                seen=whole.seen[fine],
                valid=None if whole.valid is None else whole.valid[fine],
                cloudy=None if whole.cloudy is None else whole.cloudy[coarse],
                scene=None if whole.scene is None else whole.scene[coarse],
            )
        )
    return tiles


class _Span(NamedTuple):
    """What tiles are cut from; see `TilePixels`."""

    sr: _Stack
    other: _Stack | None
    hr: _Stack | None
    lr: _Stack | None
    bicubic: _Stack | None
    uncertainty: _Plane | None
    seen: _Mask
    valid: _Mask | None
    cloudy: _Mask | None
    scene: npt.NDArray[np.uint16] | None


def _read_span(plan: ReportPlan, reference: int | None, rows: slice, cols: slice) -> _Span:
    s = plan.scale
    fine = (slice(rows.start * s, rows.stop * s), slice(cols.start * s, cols.stop * s))
    planes = (*plan.bands, UNCERTAINTY) if plan.has_uncertainty else plan.bands
    drawn = read_window(plan.sr.href, *fine, planes)
    seen, other = drawn.valid, None
    if plan.other is not None:
        theirs = read_window(plan.other.href, *fine, plan.bands)
        other, seen = theirs.data.astype(np.float32), seen & theirs.valid
    lr = bicubic = cloudy = scene = None
    if plan.lr is not None:
        lr, bicubic, clear, cloudy, scene = read_satellite(plan.lr, plan.scale, rows, cols)
        seen = seen & clear.repeat(s, axis=0).repeat(s, axis=1)
    hr = valid = None
    if reference is not None:
        truth = plan.references[reference]
        aligned = read_aligned(truth.scene.source, plan.sr_geobox[fine], truth.alignment, scale=s)
        hr, valid = aligned.data, seen & aligned.valid
    count = len(plan.bands)
    return _Span(
        sr=drawn.data[:count].astype(np.float32),
        other=other,
        hr=hr,
        lr=lr,
        bicubic=bicubic,
        uncertainty=drawn.data[count].astype(np.float32) if plan.has_uncertainty else None,
        seen=seen,
        valid=valid,
        cloudy=cloudy,
        scene=scene,
    )


class Satellite(NamedTuple):
    """LR pixels, their bicubic, where they are clear and cloudy; see `TilePixels`."""

    lr: _Stack
    bicubic: _Stack
    clear: _Mask
    cloudy: _Mask | None
    scene: npt.NDArray[np.uint16] | None


def read_satellite(view: SatelliteView, scale: int, rows: slice, cols: slice) -> Satellite:
    """LR pixels, their bicubic with its context from beyond the window, and where it is clear."""
    reach = halo("bicubic")
    height, width = view.geobox.shape.yx
    around = (
        slice(max(0, rows.start - reach), min(height, rows.stop + reach)),
        slice(max(0, cols.start - reach), min(width, cols.stop + reach)),
    )
    pixels, ground, scene = view.look(*around)
    # The same filling as before the network, so that neither has an advantage beside a hole.
    filled = fill_invalid(pixels.data, pixels.valid) if pixels.valid.any() else pixels.data
    upsampled = upsample(filled.astype(np.float32), scale, "bicubic")
    y, x = rows.start - around[0].start, cols.start - around[1].start
    h, w, s = rows.stop - rows.start, cols.stop - cols.start, scale
    inner = np.s_[..., y : y + h, x : x + w]
    return Satellite(
        lr=pixels.data[inner].astype(np.float32),
        bicubic=upsampled[:, y * s : (y + h) * s, x * s : (x + w) * s],
        clear=ground.pixels.valid[inner],
        cloudy=None if ground.screened is None else ground.screened[inner],
        scene=None if scene is None else scene[inner],
    )
