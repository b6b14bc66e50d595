"""Several scenes as one region: each pixel from the first scene, in a fixed order, that shows it.

>>> plan = plan_mosaic(scenes, ("red", "green", "blue"), aoi=aoi)     # geo.mosaic_plan
>>> pixels = plan.source.read(rows, cols)
>>> which = plan.source.read_provenance(rows, cols)                   # 0: none, 1: the first scene

The order is one for the whole mosaic, best scene first, so any window gives the same pixels.
Scenes on the mosaic's own lattice are read as they are; others are warped once, in fixed cells of
ground. A scene is opened only where its outline touches the window, and only while pixels are
missing.

Clouds are taken out pixel by pixel, so along the edge of a cloud two dates meet. Masks carry a rim
of two pixels there, shadows are taken out as well, and all gaps of the best scene go to the second
best first, so that a hole is one piece of another date and not a mix of many; what remains is the
difference in light and season between the two, which `read_provenance` shows. Colours are balanced
only if that is asked for (`geo.mosaic_balance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

from geo.area import area_mask
from geo.cut import to_dtype
from geo.errors import GeoError
from geo.fixed_cells import cells_over
from geo.hrefs import is_remote, local_path
from geo.mosaic_balance import Tone
from geo.quality import find_patches, screen_masks
from geo.raster_io import BandRef, Pixels, add_offset
from geo.region_source import (
    BLACK_RIM_PX,
    RasterSource,
    area_from_text,
    area_to_text,
    geobox_from_dict,
    geobox_to_dict,
    near_black,
)
from geo.warp import warp_to

_Mask = npt.NDArray[np.bool_]
_Index = npt.NDArray[np.uint16]

MOST_SCENES = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, kw_only=True)
class MosaicScene:
    """A scene and its place in a mosaic.

    Parameters
    ----------
    id : str
        Of the STAC item.
    time : datetime
    cloud_fraction : float or None
        Share of cloud over the area of interest, 0 to 1; None where nothing tells.
    cloud_measured : bool
        By the scene's masks; else it is the catalogue's word for the whole scene.
    source : RasterSource
        The whole raster of the scene.
    outline : shapely geometry
        In the mosaic's CRS; beyond it the scene has no pixels.
    rows, cols : slice
        Of the mosaic, around the outline.
    corner_yx : (int, int) or None
        Row and column of the scene that the mosaic's first pixel is; None: the scene lies on
        another lattice and is warped.
    tone : Tone, optional
        Brings its colours to those of the best scene.
    """

    id: str
    time: datetime
    cloud_fraction: float | None
    cloud_measured: bool
    source: RasterSource
    outline: shapely.Geometry
    rows: slice
    cols: slice
    corner_yx: tuple[int, int] | None
    tone: Tone | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.id,
            "time": self.time.isoformat(),
            "cloud_fraction": self.cloud_fraction,
            "cloud_measured": self.cloud_measured,
            "source": self.source.to_dict(),
            "outline": area_to_text(self.outline),
            "rows": [self.rows.start, self.rows.stop],
            "cols": [self.cols.start, self.cols.stop],
            "corner_yx": None if self.corner_yx is None else list(self.corner_yx),
            "tone": self.tone and asdict(self.tone),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MosaicScene:
        """Build from what `to_dict` gave."""
        corner = plain["corner_yx"]
        fields = {
            **plain,
            "time": datetime.fromisoformat(plain["time"]),
            "source": RasterSource.from_dict(plain["source"]),
            "outline": area_from_text(plain["outline"]),
            "rows": slice(*plain["rows"]),
            "cols": slice(*plain["cols"]),
            "corner_yx": None if corner is None else (corner[0], corner[1]),
            "tone": plain["tone"] and Tone.from_dict(plain["tone"]),
        }
        return cls(**fields)


class Composite(NamedTuple):
    """A window of a mosaic.

    Parameters
    ----------
    pixels : Pixels
        0 where not valid.
    scene : array of uint16, [h, w]
        Number of the scene that each pixel came from, counted from 1; 0 where not valid.
    """

    pixels: Pixels
    scene: _Index


@dataclass(frozen=True, kw_only=True)
class MosaicSource:
    """Scenes composed on one grid (a `geo.region_source.RegionSource`).

    Parameters
    ----------
    geobox : GeoBox
    bands : tuple of str
    dtype : str
    scenes : tuple of MosaicScene
        Best first.
    area : shapely geometry, optional
        In the CRS of the grid; pixels that it does not touch are holes.
    """

    geobox: GeoBox
    bands: tuple[str, ...]
    dtype: str
    scenes: tuple[MosaicScene, ...]
    area: shapely.Geometry | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.scenes) <= MOST_SCENES:
            raise ValueError(f"got {len(self.scenes)} scenes; wanted 1 to {MOST_SCENES}")

    @property
    def hrefs(self) -> tuple[str, ...]:
        """All files that the pixels depend on."""
        return tuple(dict.fromkeys(h for scene in self.scenes for h in scene.source.hrefs))

    @property
    def reference(self) -> tuple[BandRef, ...]:
        """Bands of the best scene, or of the best that lies on the mosaic's own lattice."""
        own = [scene for scene in self.scenes if scene.corner_yx is not None]
        return (own or list(self.scenes))[0].source.refs

    @property
    def adds_holes(self) -> bool:
        """A mosaic may have holes anywhere."""
        return True

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Read a window; see `RegionSource.read`.

        Raises
        ------
        GeoError
            If a scene cannot be read there. The next scene does not step in: a block that fails
            is listed and can be run again, while other pixels on a second run go unseen.
        """
        return self.compose(rows, cols).pixels

    def read_provenance(self, rows: slice, cols: slice) -> _Index:
        """Number of the scene that each pixel comes from, counted from 1; 0: none. [h, w]."""
        return self.compose(rows, cols).scene

    def compose(self, rows: slice, cols: slice) -> Composite:
        """Read pixels and provenance of a window in one go.

        Raises
        ------
        GeoError
            As `read`.
        """
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        data = np.zeros((len(self.bands), *shape), self.dtype)
        number = np.zeros(shape, np.uint16)
        missing = np.ones(shape, dtype=np.bool_)
        if self.area is not None:
            missing = area_mask(self.area, self.geobox, rows, cols)
        for count, scene in enumerate(self.scenes, 1):
            piece = _piece_to_fill(scene, self.geobox, rows, cols, missing)
            if piece is None:
                continue
            there = _shift(piece[0], rows.start), _shift(piece[1], cols.start)
            pixels = self._read_scene(scene, *there, missing[piece])
            if scene.tone is not None:
                pixels = scene.tone.apply(pixels)
            found = pixels.valid & missing[piece]
            data[:, *piece][:, found] = pixels.data[:, found]
            number[piece][found] = count
            missing[piece][found] = False
        return Composite(Pixels(data, number > 0), number)

    def _read_scene(self, scene: MosaicScene, rows: slice, cols: slice, missing: _Mask) -> Pixels:
        """A scene's pixels in a window of the mosaic, those that are missing at least."""
        try:
            if scene.corner_yx is None:
                return _warp_scene(scene.source, self.geobox, rows, cols, missing, self.dtype)
            down, right = scene.corner_yx
            return scene.source.read(_shift(rows, down), _shift(cols, right))
        except GeoError as error:
            window = (rows.start, rows.stop, cols.start, cols.stop)
            raise type(error)(
                f"scene {scene.id}, rows {rows.start} to {rows.stop} and columns {cols.start} to "
                f"{cols.stop} of the mosaic: {error.message}",
                **{**error.facts, "scene": scene.id, "window": window},
            ) from error

    def count_scenes(self, numbers: _Index) -> npt.NDArray[np.int64]:
        """Pixels of each scene, [scenes + 1], the first is those of none; windows add up."""
        return np.bincount(numbers.ravel(), minlength=len(self.scenes) + 1)

    def provenance(self, counts: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Who made how much of the region, in order: a row of JSON values for each scene.

        Parameters
        ----------
        counts : array, [scenes + 1]
            Sum of `count_scenes` over windows.
        """
        total = max(1, int(counts[1:].sum()))
        return [
            {
                "scene": number,
                "id": scene.id,
                "time": scene.time.isoformat(),
                "cloud_fraction": scene.cloud_fraction,
                "cloud_measured": scene.cloud_measured,
                "resampled": scene.corner_yx is None,
                "balanced": scene.tone is not None,
                "hrefs": list(scene.source.hrefs),
                "pixels": int(counts[number]),
                "share": round(int(counts[number]) / total, 6),
            }
            for number, scene in enumerate(self.scenes, 1)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "mosaic",
            "geobox": geobox_to_dict(self.geobox),
            "bands": list(self.bands),
            "dtype": self.dtype,
            "scenes": [scene.to_dict() for scene in self.scenes],
            "area": area_to_text(self.area),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MosaicSource:
        """Build from what `to_dict` gave."""
        return cls(
            geobox=geobox_from_dict(plain["geobox"]),
            bands=tuple(plain["bands"]),
            dtype=plain["dtype"],
            scenes=tuple(MosaicScene.from_dict(scene) for scene in plain["scenes"]),
            area=area_from_text(plain["area"]),
        )


def _piece_to_fill(
    scene: MosaicScene, grid: GeoBox, rows: slice, cols: slice, missing: _Mask
) -> tuple[slice, slice] | None:
    """The part of a window, in its pixels, that a scene may fill; None: nothing to read."""
    spans = []
    for span, reach in ((rows, scene.rows), (cols, scene.cols)):
        start, stop = max(span.start, reach.start), min(span.stop, reach.stop)
        if start >= stop:
            return None
        spans.append(slice(start - span.start, stop - span.start))
    piece = (spans[0], spans[1])
    left = missing[piece]
    if not left.any():
        return None
    tight = [
        slice(span.start + int(found[0]), span.start + int(found[-1]) + 1)
        for span, axis in zip(piece, (1, 0), strict=True)
        for found in [np.flatnonzero(left.any(axis=axis))]
    ]
    there = grid[_shift(tight[0], rows.start), _shift(tight[1], cols.start)].extent.geom
    return (tight[0], tight[1]) if shapely.intersects(scene.outline, there) else None


def _warp_scene(
    source: RasterSource, grid: GeoBox, rows: slice, cols: slice, missing: _Mask, dtype: str
) -> Pixels:
    """A scene of another lattice on the mosaic's, cell by cell; cells that miss nothing stay 0."""
    data = np.zeros((len(source.refs), *missing.shape), dtype)
    valid = np.zeros(missing.shape, dtype=np.bool_)
    stamp = _stamp(source)
    for cell in cells_over(grid, rows, cols):
        if missing[cell.place].any():
            warped = _warp_cell(source, cell.geobox, dtype, stamp)
            data[:, *cell.place] = warped.data[:, *cell.inside]
            valid[cell.place] = warped.valid[cell.inside]
    return Pixels(data, valid)


def _stamp(source: RasterSource) -> tuple[int, ...]:
    """When local files were written; nothing for remote ones."""
    paths = [Path(local_path(href)) for href in source.hrefs if not is_remote(href)]
    return tuple(path.stat().st_mtime_ns for path in paths if path.exists())


@lru_cache(maxsize=32)  # neighbouring blocks want the same cells; at 4 bands they take 20 MB
def _warp_cell(source: RasterSource, cell: GeoBox, dtype: str, stamp: tuple[int, ...]) -> Pixels:
    """One cell; `stamp` tells one state of its files from another."""
    refs = source.refs
    if source.zeros_are_holes:
        refs = tuple(replace(ref, offset_dn=0.0) for ref in refs)
    warped = warp_to(refs, cell)
    valid = warped.valid
    if valid.any() and source.masks:
        screen = screen_masks(source.masks, cell)
        valid = valid & screen.clear & screen.known
    if valid.any() and source.zeros_are_holes:
        valid = valid & ~_near_black(refs, cell)
    data = to_dtype(warped.data, dtype)
    if source.zeros_are_holes:
        offsets = [ref.offset_dn for ref in source.refs]
        data = np.stack([add_offset(p, valid, o) for p, o in zip(data, offsets, strict=True)])
    return Pixels(data, valid)


def _near_black(refs: tuple[BandRef, ...], cell: GeoBox) -> _Mask:
    """Pixels in or beside patches of zeros; no kernel carries black farther than the rim."""
    margin = 2 * BLACK_RIM_PX
    stored = warp_to(refs, cell.pad(margin), resampling="nearest")
    empty = find_patches((stored.data == 0).all(axis=0) & stored.valid)
    return near_black(empty)[margin:-margin, margin:-margin]


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
