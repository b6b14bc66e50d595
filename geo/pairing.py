"""From two matching scenes to rows of the pair store: align, cut, write, list what was refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.align import Alignment, AlignRules, align_source
from geo.catalog import Asset, Refusal
from geo.chips import Cell, Lattice
from geo.cut import AlignedPair, Chip, CutRules, cut_block
from geo.errors import BandError, GeoError, GridError
from geo.landcover import LandCover
from geo.match import Candidate, Rejection
from geo.pairrow import PairData, Row, pair_identity, scenes_identity
from geo.pairstore import PairStore
from geo.raster_io import BandRef, inspect_raster, source_geobox
from geo.splits import SplitRule

# Raised whenever pixels of the same scenes by the same rules would come out differently.
PAIRING_VERSION = 1

# An aerial image coarser than this many HR pixels has no detail to teach.
_COARSEST_HR_PX = 1.6


@dataclass(frozen=True, kw_only=True)
class PairingRules:
    """How pairs are made.

    Parameters
    ----------
    bands : tuple of str
    scale : int
        LR pixel over HR pixel: 2, 4 or 8.
    lr_size : int
        LR pixels on a side of a chip.
    align : AlignRules
    cut : CutRules
    """

    bands: tuple[str, ...]
    scale: int = 4
    lr_size: int = 32
    align: AlignRules = field(default_factory=AlignRules)
    cut: CutRules = field(default_factory=CutRules)

    @property
    def digest(self) -> str:
        """Short hash of all that decides how pairs come out."""
        text = json.dumps([PAIRING_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        if self.scale not in (2, 4, 8):
            raise ValueError(f"scale is {self.scale}; wanted 2, 4 or 8")


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
    classification : str or None
    """

    candidate: Candidate
    satellite: tuple[BandRef, ...]
    aerial: tuple[BandRef, ...]
    geobox: GeoBox
    dtype: str
    area: tuple[slice, slice]
    classification: str | None


def inspect_pair(candidate: Candidate, rules: PairingRules) -> ScenePair:
    """Open the files of a candidate and check that they can be joined.

    Raises
    ------
    GeoError
        With the reason in ``facts["cause"]``.
    """
    satellite = candidate.satellite.band_refs(rules.bands)
    aerial = candidate.aerial.band_refs(rules.bands)
    infos = {ref.href: inspect_raster(ref.href) for ref in (*satellite, *aerial)}
    for info in (infos[ref.href] for ref in satellite):
        if not info.is_north_up:
            raise GridError(
                f"{info.href}: its grid is rotated or upside down; wanted north up, for satellite "
                "pixels are never resampled",
                href=info.href,
                cause="unsupported_grid",
            )
    geobox = source_geobox(satellite)
    _check_detail(geobox, infos[aerial[0].href].geobox, candidate, rules.scale)
    classification = candidate.satellite.classification
    return ScenePair(
        candidate=candidate,
        satellite=satellite,
        aerial=aerial,
        geobox=geobox,
        dtype=infos[satellite[0].href].dtype,
        area=_area_of(geobox, candidate.overlap, candidate.satellite.id),
        classification=None if classification is None else classification.href,
    )


def _check_detail(satellite: GeoBox, aerial: GeoBox, candidate: Candidate, scale: int) -> None:
    """Refuse an aerial image that is too coarse for the HR grid."""
    there = Transformer.from_crs("EPSG:4326", str(aerial.crs), always_xy=True)
    here = Transformer.from_crs("EPSG:4326", str(satellite.crs), always_xy=True)
    centre = candidate.overlap.centroid
    step = 1e-4
    spans = []
    for project, grid in ((here, satellite), (there, aerial)):
        x, y = project.transform([centre.x, centre.x], [centre.y, centre.y + step])
        metres = np.hypot(x[1] - x[0], y[1] - y[0])
        spans.append(metres / np.sqrt(abs(grid.affine.determinant)))  # pixels along one line
    ratio = spans[1] / spans[0]  # aerial pixels for each satellite pixel
    if ratio * _COARSEST_HR_PX < scale:
        raise GridError(
            f"{candidate.aerial.id}: {ratio:.2g} aerial pixels for each pixel of "
            f"{candidate.satellite.id}; wanted about {scale} or more for scale {scale}",
            cause="aerial_too_coarse",
            value=round(float(ratio), 3),
            limit=round(scale / _COARSEST_HR_PX, 3),
        )


def _area_of(geobox: GeoBox, overlap: shapely.Geometry, scene: str) -> tuple[slice, slice]:
    """Pixels of the satellite grid that the common ground touches."""
    project = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True)
    dense = shapely.segmentize(overlap, max(1e-6, np.sqrt(overlap.area) / 16))
    ground = shapely.transform(dense, project.transform, interleaved=False)
    left, bottom, right, top = ground.bounds
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


def align_pair(pair: ScenePair, rules: PairingRules) -> Alignment:
    """Register and harmonise the two scenes."""
    return align_source(
        pair.satellite,
        pair.geobox,
        pair.aerial,
        area=pair.area,
        classification=pair.classification,
        rules=rules.align,
    )


def lattice_of(pair: ScenePair, rules: PairingRules) -> Lattice:
    """The lattice that the satellite's chips lie on."""
    affine = pair.geobox.affine
    return Lattice(
        crs=str(pair.geobox.crs),
        resolution_xy=(affine.a, -affine.e),
        lr_size=rules.lr_size,
    )


def cells_of(pair: ScenePair, rules: PairingRules) -> list[Cell]:
    """Whole cells inside the satellite scene that touch the ground wanted."""
    lattice = lattice_of(pair, rules)
    cells = lattice.cells_in(pair.geobox[pair.area])
    if not cells:
        return []
    windows = [lattice.window(cell, pair.geobox) for cell in cells]
    corners = np.array(
        [
            [(c.start, r.start), (c.stop, r.start), (c.stop, r.stop), (c.start, r.stop)]
            for r, c in windows
        ],
        dtype=np.float64,
    )  # [n, 4, 2]: x, y
    affine = pair.geobox.affine
    project = Transformer.from_crs(str(pair.geobox.crs), "EPSG:4326", always_xy=True)
    lon, lat = project.transform(
        affine.a * corners[..., 0] + affine.c, affine.e * corners[..., 1] + affine.f
    )
    outlines = shapely.polygons(np.stack([lon, lat], axis=-1))
    ground = pair.candidate.ground
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


def blocks_of(cells: Sequence[Cell], *, side: tuple[int, int] = (8, 16)) -> Iterator[list[Cell]]:
    """Neighbouring cells together, at most as many as one part of the store holds."""
    blocks: dict[tuple[int, int], list[Cell]] = {}
    for cell in cells:
        blocks.setdefault((cell.row // side[0], cell.col // side[1]), []).append(cell)
    for key in sorted(blocks):
        yield blocks[key]


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
    pair, rules = job.pair, job.rules
    aligned = AlignedPair(
        satellite=pair.satellite,
        aerial=pair.aerial,
        geobox=pair.geobox,
        classification=pair.classification,
        alignment=job.alignment,
        scale=rules.scale,
    )
    chips = cut_block(aligned, lattice_of(pair, rules), job.cells, rules.cut)
    good = [_pair_data(job, chip) for chip in chips if chip.reason is None]
    refused = [_row(job, chip) for chip in chips if chip.reason is not None]
    return [*PairStore.open(job.store).write_part(good), *refused]


def _pair_data(job: BlockJob, chip: Chip) -> PairData:
    return PairData(row=_row(job, chip), lr=chip.lr, hr=chip.hr, valid=chip.valid)


def _row(job: BlockJob, chip: Chip) -> Row:
    """Row of a chip, kept or refused."""
    pair, rules = job.pair, job.rules
    crs = str(pair.geobox.crs)
    bounds = chip.geobox.boundingbox
    satellite, aerial = pair.candidate.satellite, pair.candidate.aerial
    row: Row = {
        **_scene_facts(pair.candidate, rules),
        "identity": pair_identity(
            satellite.id, aerial.id, crs, chip.cell.row, chip.cell.col, rules.scale
        ),
        "kind": "pair" if chip.reason is None else "rejection",
        "crs": crs,
        "resolution_x": pair.geobox.affine.a,
        "resolution_y": -pair.geobox.affine.e,
        "row": chip.cell.row,
        "col": chip.cell.col,
        "left": bounds.left,
        "bottom": bounds.bottom,
        "right": bounds.right,
        "top": bounds.top,
        **_alignment_facts(job.alignment),
        "similarity": chip.similarity,
        "valid_fraction": chip.valid_fraction,
        "cloud_fraction": chip.cloud_fraction,
        "category": job.landcover.category_of(chip.geobox) if job.landcover else None,
        "split": job.split_rule.split_of(chip.cell, crs),
        "ingested_by": job.run_name,
    }
    if chip.reason is not None:
        row |= {"reason": chip.reason, "value": chip.value, "limit": chip.limit}
    return row


def _scene_facts(candidate: Candidate, rules: PairingRules) -> Row:
    satellite, aerial = candidate.satellite, candidate.aerial
    return {
        "settings_digest": rules.digest,
        "satellite_id": satellite.id,
        "aerial_id": aerial.id,
        "satellite_href": _first_href(satellite.assets),
        "aerial_href": _first_href(aerial.assets),
        "satellite_time": satellite.time,
        "aerial_time": aerial.time,
        "gap_days": candidate.gap_days,
    }


def _first_href(assets: dict[str, Asset]) -> str:
    return next(iter(assets.values())).href


def _alignment_facts(alignment: Alignment) -> Row:
    return {
        "dy_px": alignment.dy_px,
        "dx_px": alignment.dx_px,
        "reliability": alignment.reliability,
        "residual_px": alignment.residual_px,
        "gains": list(alignment.gains),
        "offsets": list(alignment.offsets),
    }


def scenes_digest(candidate: Candidate, rules: PairingRules) -> str:
    """Digest of settings and of the ground asked for: a wider area of interest is new work."""
    text = f"{rules.digest} {candidate.ground.wkt}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenes_row(
    candidate: Candidate, alignment: Alignment, rules: PairingRules, run_name: str
) -> Row:
    """Row that says: all chips of these scenes are committed; or why there are none."""
    row: Row = {
        **_scene_facts(candidate, rules),
        **_alignment_facts(alignment),
        "identity": scenes_identity(candidate.satellite.id, candidate.aerial.id),
        "settings_digest": scenes_digest(candidate, rules),
        "kind": "scenes" if alignment.accepted else "rejection",
        "cloud_fraction": alignment.cloud_fraction,
        "ingested_by": run_name,
    }
    if not alignment.accepted:
        reason = alignment.reason or "unreliable_registration"
        row |= {"reason": reason, "value": alignment.value, "limit": alignment.limit}
    return row


def failed_row(candidate: Candidate, error: GeoError, rules: PairingRules, run_name: str) -> Row:
    """Row for scenes that could not be used at all, for example for a damaged file."""
    cause = str(error.facts.get("cause") or _CAUSES.get(type(error).__name__, "unreadable"))
    return {
        **_scene_facts(candidate, rules),
        "identity": scenes_identity(candidate.satellite.id, candidate.aerial.id),
        "kind": "rejection",
        "reason": cause,
        "value": error.facts.get("value"),
        "limit": error.facts.get("limit"),
        "detail": error.message,
        "ingested_by": run_name,
    }


_CAUSES = {"BandError": "missing_band", "GridError": "unsupported_grid"}


def match_row(rejection: Rejection, rules: PairingRules, run_name: str) -> Row:
    """Row for scenes that did not match."""
    return {
        "identity": scenes_identity(rejection.satellite_id, rejection.aerial_id),
        "kind": "rejection",
        "settings_digest": rules.digest,
        "satellite_id": rejection.satellite_id,
        "aerial_id": rejection.aerial_id,
        "reason": rejection.reason,
        "value": rejection.value,
        "limit": rejection.limit,
        "detail": rejection.detail,
        "ingested_by": run_name,
    }


def refusal_row(refusal: Refusal, side: str, rules: PairingRules, run_name: str) -> Row:
    """Row for something in a source that is no scene; `side` is ``satellite`` or ``aerial``."""
    satellite, aerial = (refusal.id, "") if side == "satellite" else ("", refusal.id)
    return {
        "identity": scenes_identity(satellite or f"{refusal.href}", aerial or f"{refusal.href}"),
        "kind": "rejection",
        "settings_digest": rules.digest,
        "satellite_id": satellite,
        "aerial_id": aerial,
        "reason": refusal.reason,
        "detail": refusal.detail,
        "ingested_by": run_name,
    }
