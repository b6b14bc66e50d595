"""Pixels of tiles: what was drawn, what the satellite saw, what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geo.alignment import read_aligned
from geo.chips import Cell
from geo.interpolate import halo, upsample
from geo.labels import read_labels
from geo.raster_io import read_window
from geo.reporting.plan import UNCERTAINTY, Batch, ReportPlan
from geo.reporting.satellite import SatelliteView
from geo.reporting.segmenter import Segmenter, SegmenterFacts, draw_map, widen
from geo.scores.agreement import Map
from geo.tiling import scale_slice
from geo.upscale_drawing import fill_invalid

_Stack = npt.NDArray[np.float32]
_Plane = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RegionPixels:
    """Images of a window of a region, DN on the HR grid (LR on its own); all but SR may be missing.

    Maps are of classes, one plus their place and 0 where not judged, by whose they are: ``sr``,
    ``bicubic``, ``other``, ``real`` and ``labels``; none without a segmenter.
    """

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
    maps: Mapping[str, Map] = field(default_factory=dict)  # each [H, W]

    @property
    def judged(self) -> _Mask:
        """Where all that is there is good, [H, W]."""
        return self.seen if self.valid is None else self.valid

    def cut(self, rows: slice, cols: slice, scale: int) -> dict[str, Any]:
        """The images of a part of the window by name, rows and columns in its LR pixels."""
        coarse = np.s_[..., rows, cols]
        fine = np.s_[..., scale_slice(rows, scale), scale_slice(cols, scale)]
        of: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(RegionPixels)}
        maps = {name: found[fine] for name, found in of.pop("maps").items()}
        return {"maps": maps} | {
            name: None if image is None else image[coarse if name in _COARSE else fine]
            for name, image in of.items()
        }


_COARSE = ("lr", "cloudy", "scene")


@dataclass(frozen=True, kw_only=True)
class TilePixels(RegionPixels):
    """The images of one tile."""

    cell: Cell


def read_tiles(
    plan: ReportPlan, batch: Batch, segmenter: Segmenter | None = None
) -> list[TilePixels]:
    """Read neighbouring tiles: what they span is read, warped and segmented at once.

    Parameters
    ----------
    segmenter : callable, optional
        The one that the plan is for; without it the tiles have no maps.
    """
    windows = [plan.lattice.window(cell, plan.lr_geobox) for cell in batch.cells]
    rows, cols = (
        slice(min(w[axis].start for w in windows), max(w[axis].stop for w in windows))
        for axis in (0, 1)
    )
    around = rows, cols
    if plan.segmenter is not None and segmenter is not None:
        around = widen(rows, cols, plan.segmenter, plan.scale, plan.lr_geobox.shape.yx)
    whole = _read_window(plan, batch.reference, *around)
    inner = _within((rows, cols), around)
    if plan.segmenter is None or segmenter is None:
        span = whole
    else:
        maps = _draw_maps(plan, plan.segmenter, segmenter, whole, inner)
        span = RegionPixels(**{**whole.cut(*inner, plan.scale), "maps": maps})
    return [
        _with_labels(
            plan,
            TilePixels(cell=cell, **span.cut(*_within(window, (rows, cols)), plan.scale)),
            batch.reference,
            window,
        )
        for cell, window in zip(batch.cells, windows, strict=True)
    ]


def _within(window: tuple[slice, slice], around: tuple[slice, slice]) -> tuple[slice, slice]:
    """A window as counted from the begin of one around it."""
    rows, cols = (
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(window, around, strict=True)
    )
    return rows, cols


def _draw_maps(
    plan: ReportPlan,
    facts: SegmenterFacts,
    segmenter: Segmenter,
    whole: RegionPixels,
    inner: tuple[slice, slice],
) -> dict[str, Map]:
    """What the segmenter sees in each image; all have the same holes, filled alike."""
    if not whole.judged.any():
        return {}
    fine = scale_slice(inner[0], plan.scale), scale_slice(inner[1], plan.scale)
    images = {"sr": whole.sr, "bicubic": whole.bicubic, "other": whole.other, "real": whole.hr}
    return {
        name: draw_map(
            segmenter,
            fill_invalid(image, whole.judged),
            plan.bands,
            fine,
            facts,
            plan.data_range,
        )
        * whole.judged[fine]
        for name, image in images.items()
        if image is not None
    }


def _with_labels(
    plan: ReportPlan, tile: TilePixels, reference: int | None, window: tuple[slice, slice]
) -> TilePixels:
    """A tile that has maps, with those of the labels: they lie on the ground as the truth does."""
    if plan.labels is None or plan.segmenter is None or not tile.maps:
        return tile
    fine = scale_slice(window[0], plan.scale), scale_slice(window[1], plan.scale)
    alignment = None if reference is None else plan.references[reference].alignment
    labels = read_labels(
        plan.labels, plan.sr_geobox[fine], plan.segmenter.classes, alignment, scale=plan.scale
    )
    return replace(tile, maps={**tile.maps, "labels": labels * tile.judged})


def _read_window(plan: ReportPlan, reference: int | None, rows: slice, cols: slice) -> RegionPixels:
    s = plan.scale
    fine = scale_slice(rows, s), scale_slice(cols, s)
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
    return RegionPixels(
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
