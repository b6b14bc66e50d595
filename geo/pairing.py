"""Two matching scenes on their way to pairs: looked at, aligned, laid out in cells."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.align import align_source
from geo.alignment import Alignment
from geo.borrow import Neighbour, borrow_shift, find_neighbours, may_borrow
from geo.catalog.scene import Mask
from geo.catalog.sentinel2 import check_offset
from geo.chips import Cell, Lattice
from geo.decisions import PairingRules
from geo.errors import BandError, GeoError, GridError, SourceError
from geo.match import Candidate
from geo.pairstore.rows import pair_identity
from geo.raster_io import BandRef, inspect_raster, source_geobox

# An aerial image coarser than this many HR pixels has no detail to teach.
_COARSEST_HR_PX = 1.6
# One so many times finer is read only to be thrown away; 4 cm for an HR of 2.5 m is not.
_FINEST_HR_PX = 64


@dataclass(frozen=True, kw_only=True)
class ScenePair:
    """A candidate whose files have been looked at.

    Parameters
    ----------
    candidate : Candidate
    satellite, aerial : tuple of BandRef
        The same bands of both.
    geobox : GeoBox
        The satellite's whole grid.
    dtype : str
        Of the satellite.
    area : (rows, cols)
        Pixels of the satellite scene over the common ground.
    masks : tuple of Mask
        Of the satellite.
    """

    candidate: Candidate
    satellite: tuple[BandRef, ...]
    aerial: tuple[BandRef, ...]
    geobox: GeoBox
    dtype: str
    area: tuple[slice, slice]
    masks: tuple[Mask, ...]


def inspect_pair(candidate: Candidate, rules: PairingRules) -> ScenePair:
    """Open the files of a candidate and check that they can be joined.

    Raises
    ------
    GeoError
        With the reason in ``facts["cause"]``.
    """
    satellite = candidate.satellite.band_refs(rules.bands)
    aerial = candidate.aerial.band_refs(rules.bands)
    geobox = satellite_grid(satellite)
    _check_detail(geobox, inspect_raster(aerial[0].href).geobox, candidate, rules.scale)
    return ScenePair(
        candidate=candidate,
        satellite=satellite,
        aerial=aerial,
        geobox=geobox,
        dtype=inspect_raster(satellite[0].href).dtype,
        area=area_of(geobox, candidate.overlap, candidate.satellite.id),
        masks=candidate.satellite.masks,
    )


def satellite_grid(refs: Sequence[BandRef]) -> GeoBox:
    """Whole grid of a satellite scene.

    Raises
    ------
    GridError
        If it is not north up.
    """
    for info in (inspect_raster(ref.href) for ref in refs):
        if not info.is_north_up:
            raise GridError(
                f"{info.href}: its grid is rotated or upside down; wanted north up, for satellite "
                "pixels are never resampled",
                href=info.href,
                cause="unsupported_grid",
            )
    return source_geobox(refs)


def _check_detail(satellite: GeoBox, aerial: GeoBox, candidate: Candidate, scale: int) -> None:
    """Refuse an aerial image that is too coarse, or far too fine, for the HR grid."""
    # A point of the ground: the centroid of ground across the antimeridian lies in Africa.
    place = candidate.overlap.representative_point()
    line = shapely.linestrings([(place.x, place.y), (place.x, place.y + 1e-4)])
    spans = [
        project_lonlat(line, grid).length / np.sqrt(abs(grid.affine.determinant))
        for grid in (satellite, aerial)
    ]  # pixels along one line
    ratio = spans[1] / spans[0]  # aerial pixels for each satellite pixel
    check_ratio(ratio, scale, candidate.aerial.id, f"pixel of {candidate.satellite.id}")


def check_ratio(ratio: float, scale: int, aerial: str, pixel: str) -> None:
    """Refuse an aerial image of too few, or far too many, pixels for each of the coarse ones.

    Parameters
    ----------
    ratio : float
        Aerial pixels along an LR pixel.
    aerial, pixel : str
        The image, and whose pixel, for people.

    Raises
    ------
    GridError
    """
    if ratio * _COARSEST_HR_PX < scale:
        raise GridError(
            f"{aerial}: {ratio:.2g} aerial pixels for each {pixel}; wanted about {scale} or more "
            f"for scale {scale}",
            cause="aerial_too_coarse",
            value=round(float(ratio), 3),
            limit=round(scale / _COARSEST_HR_PX, 3),
        )
    if ratio > _FINEST_HR_PX * scale:
        raise GridError(
            f"{aerial}: {ratio:.0f} aerial pixels for each {pixel}; wanted at most "
            f"{_FINEST_HR_PX * scale:.0f}: reduce the aerial image first, or take a larger scale",
            cause="aerial_too_fine",
            value=round(float(ratio), 1),
            limit=_FINEST_HR_PX * scale,
        )


def area_of(geobox: GeoBox, overlap: shapely.Geometry, scene: str) -> tuple[slice, slice]:
    """Pixels of a grid that ground touches.

    Raises
    ------
    GridError
        If none are.
    """
    left, bottom, right, top = project_lonlat(overlap, geobox).bounds
    inverse = ~geobox.affine
    cols = sorted(inverse.a * x + inverse.c for x in (left, right))
    rows = sorted(inverse.e * y + inverse.f for y in (bottom, top))
    height, width = geobox.shape.yx
    area = (
        slice(max(0, int(np.floor(rows[0]))), min(height, int(np.ceil(rows[1])))),
        slice(max(0, int(np.floor(cols[0]))), min(width, int(np.ceil(cols[1])))),
    )
    if area[0].start >= area[0].stop or area[1].start >= area[1].stop:
        raise GridError(
            f"{scene}: its footprint and its raster lie at different places",
            cause="footprint_mismatch",
        )
    return area


def project_lonlat(geometry: shapely.Geometry, grid: GeoBox) -> shapely.Geometry:
    """Bring lon/lat geometry to a grid's CRS; edges are bent as the projection bends them.

    In a geographic CRS longitudes may run beyond 180 degrees; they are counted on as the grid
    counts them.
    """
    project = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True)
    dense = shapely.segmentize(geometry, max(1e-6, np.sqrt(geometry.area) / 16))
    there = shapely.transform(dense, project.transform, interleaved=False)
    if grid.crs is None or not grid.crs.geographic:
        return there
    box = grid.boundingbox
    middle = (box.left + box.right) / 2
    turns = 360 * np.round((shapely.get_coordinates(there)[:, 0] - middle) / 360)
    moved = shapely.get_coordinates(there)
    moved[:, 0] -= turns
    return shapely.set_coordinates(there, moved)


def _apply(grid: GeoBox, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pixel positions x, y to the CRS."""
    a = grid.affine
    x, y = at[:, 0], at[:, 1]
    return np.column_stack([a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f])


def align_pair(pair: ScenePair, rules: PairingRules) -> Alignment:
    """Register and harmonise the two scenes.

    Raises
    ------
    SourceError
        If pixels cannot be read, or contradict the offset that the catalogue gives them.
    """
    check_offset_of(pair.satellite)
    return align_source(
        pair.satellite,
        pair.geobox,
        pair.aerial,
        area=pair.area,
        masks=pair.masks,
        rules=rules.align,
    )


def check_offset_of(refs: tuple[BandRef, ...]) -> None:
    """Refuse an offset that pixels contradict.

    Raises
    ------
    SourceError
    """
    if any(ref.offset_dn for ref in refs):
        _check_offset(refs)


@lru_cache(maxsize=1024)
def _check_offset(refs: tuple[BandRef, ...]) -> None:
    """Refuse an offset that would make bright ground black; asked once for a scene."""
    check = check_offset(refs)
    if check.contradicts:
        raise SourceError(
            f"{refs[0].href}: its catalogue says that {refs[0].offset_dn:+g} is to be added to its "
            f"DN, but {check.far_below_zero:.1%} of its pixels would be far below 0 then; the "
            "offset seems to be applied already: correct the catalogue",
            href=refs[0].href,
            cause="doubtful_offset",
            value=round(check.far_below_zero, 4),
            limit=0.01,
        )


def borrow_alignment(
    pair: ScenePair, refused: Alignment, aligned: Sequence[Neighbour], rules: PairingRules
) -> Alignment:
    """Align scenes that show nothing to register on by what their neighbours found.

    Colours are fitted here, or, where there is no contrast to fit them on, taken over as well.

    Parameters
    ----------
    refused : Alignment
        What was found for `pair` itself.
    aligned : sequence of (Candidate, Alignment)
        What was found for others.

    Returns
    -------
    Alignment
        `refused` itself where nobody can help.
    """
    neighbours = find_neighbours(pair.candidate, aligned) if may_borrow(refused) else []
    shift = borrow_shift(neighbours)
    if shift is None:
        return refused
    found = align_source(
        pair.satellite,
        pair.geobox,
        pair.aerial,
        area=pair.area,
        masks=pair.masks,
        rules=rules.align,
        known=shift,
    )
    if found.reason != "poor_colour_fit":
        return found
    return replace(
        found, accepted=True, reason=None, value=None, limit=None, colours=neighbours[0].colours
    )


def lattice_of(geobox: GeoBox, lr_size: int) -> Lattice:
    """The lattice that the chips of an LR grid lie on."""
    affine = geobox.affine
    return Lattice(crs=str(geobox.crs), resolution_xy=(affine.a, -affine.e), lr_size=lr_size)


def cells_of(pair: ScenePair, rules: PairingRules) -> list[Cell]:
    """Whole cells inside the satellite scene that touch the ground wanted."""
    return cells_on(pair.geobox, pair.area, pair.candidate.ground, rules.lr_size)


def cells_on(
    geobox: GeoBox, area: tuple[slice, slice], wanted: shapely.Geometry, lr_size: int
) -> list[Cell]:
    """Whole cells of an LR grid, inside an area of it, that touch ground in lon/lat."""
    lattice = lattice_of(geobox, lr_size)
    cells = lattice.cells_in(geobox[area])
    if not cells:
        return []
    windows = [lattice.window(cell, geobox) for cell in cells]
    corners = np.array(
        [
            [(c.start, r.start), (c.stop, r.start), (c.stop, r.stop), (c.start, r.stop)]
            for r, c in windows
        ],
        dtype=np.float64,
    )  # [n, 4, 2]: x, y
    outlines = shapely.transform(shapely.polygons(corners), lambda at: _apply(geobox, at))
    ground = project_lonlat(wanted, geobox)
    shapely.prepare(ground)
    touching = shapely.intersects(ground, outlines)
    return [cell for cell, touches in zip(cells, touching, strict=True) if touches]


def unknown_cells(pair: ScenePair, rules: PairingRules, known: Container[str]) -> list[Cell]:
    """Cells that these settings have not decided yet."""
    satellite, aerial = pair.candidate.satellite.id, pair.candidate.aerial.id
    crs = str(pair.geobox.crs)
    return [
        cell
        for cell in cells_of(pair, rules)
        if pair_identity(satellite, aerial, crs, cell.row, cell.col, rules.scale) not in known
    ]


def common_bands(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Bands that both scenes of the first usable candidate have, in the satellite's order.

    Raises
    ------
    BandError
        If the names have nothing in common.
    """
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    for candidate in candidates:
        try:
            names = candidate.satellite.band_names(), candidate.aerial.band_names()
        except GeoError:
            continue  # it will be refused, with this reason, when its turn comes
        if shared := tuple(n for n in names[0] if n in names[1]):
            return shared
    if names is None:
        return ()
    raise BandError(
        f"the satellite bands ({', '.join(names[0])}) and the aerial bands "
        f"({', '.join(names[1])}) share no name; name them alike or use --bands"
    )


def first_dtype(candidates: Sequence[Candidate], rules: PairingRules) -> str | None:
    """Satellite dtype of the first usable candidate, or None where there is none.

    Raises
    ------
    GeoError
        What was wrong with the last candidate, when none is usable.
    """
    error: GeoError | None = None
    for candidate in candidates:
        try:
            return inspect_pair(candidate, rules).dtype
        except GeoError as met:
            error = met
    if error is not None:
        raise error
    return None
