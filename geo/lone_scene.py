"""A scene without a partner on its way to chips: looked at, laid out in cells.

A satellite scene is cut on its own grid, as it is for pairs. An aerial one is warped once onto the
lattice of its own CRS, whose LR pixels are those of the store's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.catalog.scene import Mask, Scene
from geo.chips import Cell, Lattice
from geo.decisions import PAIRING_VERSION, PairingRules
from geo.ground import GroundWindow, read_ground
from geo.pairing import area_of, cells_on, check_offset_of, check_ratio, lattice_of, satellite_grid
from geo.pairstore.rows import chip_identity, derived_identity
from geo.raster_io import BandRef, Pixels, inspect_raster
from geo.raster_shift import pixel_metres
from geo.reference import read_reference
from geo.sensor import usual_noise
from geo.splits import zones_of
from geo.views import spread

# A CRS whose units are so near to metres of ground is as good a lattice as UTM, whose own are off
# by up to 0.1 %.
_SAME_METRES = 0.01
_SAMPLE_PX, _SAMPLES = 128, 3  # windows, and how many of them along each axis


@dataclass(frozen=True, kw_only=True)
class LoneRules:
    """How chips of single scenes are made.

    Parameters
    ----------
    pairing : PairingRules
        Bands, scale, size and screens, as for pairs.
    pixel_m : float
        Of an LR pixel beneath HR chips.
    coloured : bool
        Whether HR chips are brought into the satellite side's colours.
    derived : str or None
        Name of what makes LR images of HR chips, where these are to become pairs.
    """

    pairing: PairingRules
    pixel_m: float
    coloured: bool
    derived: str | None = None

    def digest(self, side: str) -> str:
        """Short hash of all that decides how chips of a side come out."""
        rules = self.pairing
        told = [PAIRING_VERSION, side, rules.bands, rules.scale, rules.lr_size, asdict(rules.cut)]
        if side == "lr":
            told.append(rules.align.max_cloud)
        else:
            method = rules.align.harmonise.method if self.coloured else None
            told += [self.pixel_m, method, self.derived]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def scene_digest(self, side: str, ground: shapely.Geometry) -> str:
        """The same with the ground asked for: a wider area of interest is new work."""
        text = f"{self.digest(side)} {ground.wkt}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class LoneScene:
    """A scene whose files have been looked at.

    Parameters
    ----------
    side : {"lr", "hr"}
        ``lr`` of a satellite, ``hr`` of an aerial scene.
    ground : shapely geometry
        What is wanted of it, lon/lat.
    refs : tuple of BandRef
    geobox : GeoBox
        LR grid of the whole scene: a satellite's own.
    dtype : str
        Of its files.
    whole, area : (rows, cols)
        Pixels of the grid over all of the scene, which is looked at whatever part of it is wanted,
        and over the ground wanted.
    masks : tuple of Mask
        Of a satellite.
    """

    scene: Scene
    side: str
    ground: shapely.Geometry
    refs: tuple[BandRef, ...]
    geobox: GeoBox
    dtype: str
    whole: tuple[slice, slice]
    area: tuple[slice, slice]
    masks: tuple[Mask, ...]

    def lattice(self, lr_size: int) -> Lattice:
        """The lattice that its chips lie on."""
        return lattice_of(self.geobox, lr_size)

    def cells(self, lr_size: int) -> list[Cell]:
        """Whole cells that touch the ground wanted."""
        return cells_on(self.geobox, self.area, self.ground, lr_size)

    def identity(self, cell: Cell, rules: LoneRules) -> str:
        """Identity of the chip, or the derived pair, on a cell."""
        place = self.scene.id, str(self.geobox.crs), cell.row, cell.col, rules.pairing.scale
        return derived_identity(*place) if rules.derived else chip_identity(self.side, *place)

    def unknown_cells(self, rules: LoneRules, known: Container[str]) -> list[Cell]:
        """Cells that are not decided yet, by identity."""
        cells = self.cells(rules.pairing.lr_size)
        return [cell for cell in cells if self.identity(cell, rules) not in known]

    @property
    def satellite(self) -> bool:
        """Whether it is of the satellite side."""
        return self.side == "lr"


def inspect_alone(
    scene: Scene, side: str, ground: shapely.Geometry, rules: PairingRules, pixel_m: float
) -> LoneScene:
    """Open the files of a scene and lay its grid out.

    Parameters
    ----------
    pixel_m : float
        Of an LR pixel beneath an aerial scene.

    Raises
    ------
    GeoError
        With the reason in ``facts["cause"]``.
    """
    refs = scene.band_refs(rules.bands)
    info = inspect_raster(refs[0].href)
    if side == "lr":
        geobox = satellite_grid(refs)
    else:
        finest = min(pixel_metres(info.geobox))
        check_ratio(pixel_m / finest, rules.scale, scene.id, f"LR pixel of {pixel_m:g} m")
        geobox = lattice_grid(info.geobox, pixel_m)
    return LoneScene(
        scene=scene,
        side=side,
        ground=ground,
        refs=refs,
        geobox=geobox,
        dtype=info.dtype,
        whole=area_of(geobox, scene.footprint, scene.id),
        area=area_of(geobox, ground, scene.id),
        masks=scene.masks if side == "lr" else (),
    )


def lattice_grid(grid: GeoBox, pixel_m: float) -> GeoBox:
    """The grid of whole LR pixels that holds a raster, north up, counted from its CRS's origin.

    It is in the raster's own CRS where that counts metres of ground, else in the UTM zone of its
    middle: so neighbouring rasters share their cells.
    """
    crs = _metric_crs(grid)
    box = grid.footprint(crs, buffer=0, npoints=16).boundingbox
    left, right = np.floor(box.left / pixel_m), np.ceil(box.right / pixel_m)
    top, bottom = np.ceil(box.top / pixel_m), np.floor(box.bottom / pixel_m)
    affine = Affine(pixel_m, 0, left * pixel_m, 0, -pixel_m, top * pixel_m)
    return GeoBox((int(top - bottom), int(right - left)), affine, crs)


def _metric_crs(grid: GeoBox) -> str:
    a = grid.affine
    sides = np.hypot(a.b, a.e), np.hypot(a.a, a.d)  # of a pixel, down and right, in its units
    metres = np.array(pixel_metres(grid))
    if np.abs(metres / sides - 1).max() <= _SAME_METRES:
        return str(grid.crs)
    middle = grid.center_pixel.boundingbox
    project = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    lon, lat = project.transform((middle.left + middle.right) / 2, (middle.bottom + middle.top) / 2)
    return f"EPSG:{int(zones_of(np.array(lon), np.array(lat)))}"


@dataclass(frozen=True, kw_only=True)
class LoneLook:
    """What windows spread over a scene show at LR resolution.

    Parameters
    ----------
    windows : list of Pixels
        As the satellite sees its ground, or as it would see the aerial one: [C, h, w] each.
    cloud_fraction : float
    """

    windows: list[Pixels]
    cloud_fraction: float

    @cached_property
    def noise_dn(self) -> tuple[float, ...]:
        """Standard deviation of the noise for each band."""
        return usual_noise((window.data, window.valid) for window in self.windows)

    def pixels(self, most: int) -> npt.NDArray[np.float32]:
        """At most about so many good pixels, float32 [C, n]."""
        good = [window.data[:, window.valid] for window in self.windows]
        every = np.concatenate(good, axis=1).astype(np.float32)
        return every[:, :: max(1, -(-every.shape[1] // most))]


def look_at(lone: LoneScene) -> LoneLook:
    """Read windows spread over the scene.

    Raises
    ------
    SourceError
        If pixels cannot be read, or contradict the offset that the catalogue gives them.
    """
    windows = spread(lone.whole, _SAMPLE_PX, _SAMPLES)
    if not lone.satellite:
        seen = [
            read_reference(lone.refs, lone.geobox[window], reach_px=0).seen((0.0, 0.0))
            for window in windows
        ]
        return LoneLook(windows=seen, cloud_fraction=0.0)
    check_offset_of(lone.refs)
    grounds: list[GroundWindow] = [
        read_ground(lone.refs, lone.geobox, *window, lone.masks) for window in windows
    ]
    return LoneLook(
        windows=[ground.pixels for ground in grounds],
        cloud_fraction=float(np.mean([ground.cloud_fraction for ground in grounds])),
    )
