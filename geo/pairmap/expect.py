"""What pairing two scenes would read and write, from file headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geo.chips import Cell, Lattice
from geo.decisions import PairingRules
from geo.lone_scene import LoneScene
from geo.match import Candidate
from geo.pairing import cells_of, inspect_pair, lattice_of, project_lonlat
from geo.pairmap.content import corners_lonlat
from geo.raster_io import inspect_raster


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What to expect of a scene pair.

    Parameters
    ----------
    crs : str
    cells : tuple of Cell
        Every one that may give a pair.
    corners : array [n, 4, 2]
        The same in lon/lat, from the upper left clockwise.
    satellite_px, aerial_px : float
        Pixels of each band to be read.
    read_bytes, write_bytes : int
        Before compression.
    """

    crs: str
    cells: tuple[Cell, ...]
    corners: npt.NDArray[np.float64]
    satellite_px: float
    aerial_px: float
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True, kw_only=True)
class LoneExpectation:
    """What to expect of a scene that is cut alone; see `Expectation`."""

    cells: tuple[Cell, ...]
    corners: npt.NDArray[np.float64]
    read_bytes: int
    write_bytes: int


def expect_alone(lone: LoneScene, rules: PairingRules) -> LoneExpectation:
    """Look at what the headers of a scene's files tell."""
    cells = lone.cells(rules.lr_size)
    height, width = (span.stop - span.start for span in lone.area)
    finer = 1 if lone.satellite else rules.scale**2
    item = np.dtype(lone.dtype).itemsize
    side = len(rules.bands) * rules.lr_size**2 * item
    return LoneExpectation(
        cells=tuple(cells),
        corners=_corners_of(cells, lone.lattice(rules.lr_size), lone.geobox),
        read_bytes=len(rules.bands) * height * width * finer * item,
        write_bytes=len(cells) * side * finer,
    )


def expect_pair(candidate: Candidate, rules: PairingRules) -> Expectation:
    """Look at the headers of a candidate's files.

    Raises
    ------
    GeoError
        If the two cannot be joined, with the reason in ``facts["cause"]``.
    """
    pair = inspect_pair(candidate, rules)
    lattice = lattice_of(pair.geobox, rules.lr_size)
    cells = cells_of(pair, rules)
    aerial = inspect_raster(pair.aerial[0].href)
    height, width = (span.stop - span.start for span in pair.area)
    satellite_px = float(height * width)
    pixel = abs(aerial.geobox.affine.determinant)
    aerial_px = float(project_lonlat(candidate.ground, aerial.geobox).area / pixel)
    sizes = [np.dtype(dtype).itemsize for dtype in (pair.dtype, aerial.dtype)]
    chip = len(rules.bands) * rules.lr_size**2 * sizes[0] * (1 + rules.scale**2)
    mask = (rules.lr_size * rules.scale) ** 2
    return Expectation(
        crs=str(pair.geobox.crs),
        cells=tuple(cells),
        corners=_corners_of(cells, lattice, pair.geobox),
        satellite_px=satellite_px,
        aerial_px=aerial_px,
        read_bytes=round(len(rules.bands) * (satellite_px * sizes[0] + aerial_px * sizes[1])),
        write_bytes=len(cells) * (chip + mask),
    )


def _corners_of(cells: Sequence[Cell], lattice: Lattice, geobox: GeoBox) -> npt.NDArray[np.float64]:
    windows = [lattice.window(cell, geobox) for cell in cells]
    px = np.array(
        [
            [(c.start, r.start), (c.stop, r.start), (c.stop, r.stop), (c.start, r.stop)]
            for r, c in windows
        ],
        dtype=np.float64,
    ).reshape(-1, 4, 2)  # [n, 4, 2]: x, y
    affine = geobox.affine
    there = np.stack([affine.a * px[..., 0] + affine.c, affine.e * px[..., 1] + affine.f], axis=-1)
    return corners_lonlat(there, np.full(len(there), str(geobox.crs), dtype=object))
