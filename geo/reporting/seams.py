"""Do the blocks that a raster was computed in show? A score along their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.place_draws import draw_places, interval_95
from geo.raster_io import read_window
from geo.reporting.plan import ReportPlan
from geo.reporting.tiles import read_satellite

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# Pieces of edges that are looked at, of this many pixels: enough to see a break of a few hundredths
# of what the ground itself does, and few enough to read.
_MOST_PIECES = 300
_PIECE_PX = 512
# LR pixels on either side whose boundaries are what an edge is compared with.
_NEIGHBOURS = 4


@dataclass(frozen=True)
class EdgePiece:
    """A piece of an edge between two blocks, in pixels of the raster.

    Parameters
    ----------
    across : int
        Row (or column) that begins the second block.
    along : slice
        Columns (or rows), of whole LR pixels.
    is_row : bool
        Whether the edge runs along a row.
    """

    across: int
    along: slice
    is_row: bool


@dataclass(frozen=True)
class Breaks:
    """How much neighbouring pixels break with the slope on both sides, of a piece of an edge.

    Parameters
    ----------
    piece : EdgePiece
    sr : array, [4]
        Sum of breaks across the edge, DN, how many values that is, and the same across boundaries
        of LR pixels beside it.
    bicubic : array, [4], or None
        The same of the satellite image upsampled, where there is one.
    """

    piece: EdgePiece
    sr: _Floats
    bicubic: _Floats | None


def edge_pieces(plan: ReportPlan) -> list[EdgePiece]:
    """Pieces of the edges between blocks: all, or of many as many as are drawn by chance."""
    if plan.block_px is None:
        return []
    height, width = plan.sr_geobox.shape.yx
    reach = (_NEIGHBOURS + 1) * plan.scale
    step = -(-min(_PIECE_PX, plan.block_px) // plan.scale) * plan.scale
    pieces = [
        EdgePiece(across, slice(start, min(start + step, length)), is_row)
        for is_row, depth, length in ((True, height, width), (False, width, height))
        for across in range(plan.block_px, depth - reach, plan.block_px)
        if across >= reach
        for start in range(0, length, step)
    ]
    if len(pieces) <= _MOST_PIECES:
        return pieces
    drawn = np.random.default_rng(0).choice(len(pieces), _MOST_PIECES, replace=False)
    return [pieces[i] for i in np.sort(drawn)]


def measure_breaks(plan: ReportPlan, piece: EdgePiece) -> Breaks:
    """Measure one piece of an edge.

    The break between two pixels is how far the second lies from where the slopes on either side
    would put it: ``|x[0] - x[-1] - ((x[-1] - x[-2]) + (x[1] - x[0])) / 2|``, which smooth ground
    does not have. Networks upscale by rearranging, so their output has a pattern that repeats with
    the LR pixels: an edge is compared with other boundaries of LR pixels only.
    """
    s = plan.scale
    reach = (_NEIGHBOURS + 1) * s
    over = slice(piece.across - reach, piece.across + reach)
    rows, cols = (over, piece.along) if piece.is_row else (piece.along, over)
    pixels = read_window(plan.sr.href, rows, cols, plan.bands)
    valid, bicubic = pixels.valid, None
    if plan.lr is not None and not piece.across % s:
        coarse = (slice(span.start // s, span.stop // s) for span in (rows, cols))
        seen = read_satellite(plan.lr, s, *coarse)
        valid = valid & seen.clear.repeat(s, axis=0).repeat(s, axis=1)
        bicubic = _sums(seen.bicubic, valid, s, is_row=piece.is_row)
    return Breaks(piece, _sums(pixels.data, valid, s, is_row=piece.is_row), bicubic)


def _sums(data: npt.NDArray[Any], valid: _Mask, scale: int, *, is_row: bool) -> _Floats:
    """See `Breaks`."""
    planes = data.astype(np.float64)
    if not is_row:
        planes, valid = planes.swapaxes(1, 2), valid.T
    middle = planes.shape[1] // 2
    found = [
        _break_at(planes, valid, middle + place * scale)
        for place in range(-_NEIGHBOURS, _NEIGHBOURS + 1)
    ]
    edge = found.pop(_NEIGHBOURS)
    return np.array([*edge, *np.sum(found, axis=0)], np.float64)


def _break_at(planes: _Floats, valid: _Mask, at: int) -> tuple[float, float]:
    before, here = planes[:, at - 1], planes[:, at]
    slopes = (before - planes[:, at - 2]) + (planes[:, at + 1] - here)
    good = valid[at - 2 : at + 2].all(axis=0)
    found = np.abs(here - before - slopes / 2)[:, good]
    return float(found.sum()), float(found.size)


def seam_score(plan: ReportPlan, breaks: Sequence[Breaks]) -> dict[str, Any] | None:
    """How much more a raster breaks along the edges of its blocks than beside them.

    Fields and streets run along rows and columns, too: where the satellite image is there, what
    it breaks along the same edges, upsampled by bicubic, is taken off.

    Returns
    -------
    dict or None
        ``score``, 0 where the edges cannot be told from other ground, 1 where they break twice as
        much; its 95 % ``interval`` over edges between two blocks (None of fewer than two),
        ``break_dn`` along edges and ``beside_dn``, ``blocks_px``, ``edges``, and
        ``against_satellite``. None where nothing can be said.
    """
    known = [b for b in breaks if b.sr[1] and b.sr[2]]
    against = all(b.bicubic is not None and b.bicubic[2] for b in known)
    if not known or plan.block_px is None:
        return None
    sums = np.array([b.sr for b in known])
    if against:
        sums = np.concatenate([sums, [b.bicubic for b in known]], axis=1)
    places = [(b.piece.is_row, b.piece.across, b.piece.along.start // plan.block_px) for b in known]
    total = sums.sum(axis=0)
    drawn = draw_places(sums, places)
    return {
        "score": float(_excess(total)),
        "interval": None if drawn is None else interval_95(_excess(drawn)),
        "break_dn": float(total[0] / total[1]),
        "beside_dn": float(total[2] / total[3]),
        "blocks_px": plan.block_px,
        "edges": len(set(places)),
        "against_satellite": against,
    }


def _excess(sums: _Floats) -> _Floats:
    """Of sums [..., 4] or [..., 8]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = sums.reshape(*sums.shape[:-1], -1, 2)
        means = parts[..., 0] / parts[..., 1]
        ratio = means[..., 0] / means[..., 1]
        if means.shape[-1] == 4:
            ratio = ratio / (means[..., 2] / means[..., 3])
    found: _Floats = ratio - 1
    return found
