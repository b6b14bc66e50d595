"""What a region is read from: one raster, or several scenes composed (`geo.mosaic`).

>>> source = raster_source("scene.tif", aoi=read_aoi("2.7,42.3,2.8,42.4"))
>>> source.read(slice(0, 256), slice(0, 256)).data.shape
(4, 256, 256)

A source is plain data, so it travels to workers and into the plan of a run. Its one promise: a
pixel is the same whatever window it is read in. That is what makes blocks seamless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.area import area_mask, clip_window, project_area, window_of
from geo.catalog.scene import Mask
from geo.errors import BandError, SourceError
from geo.fixed_cells import cells_over
from geo.quality import find_empty, screen_masks
from geo.raster_io import (
    BandRef,
    Pixels,
    RasterInfo,
    Source,
    add_offset,
    common_grid,
    inspect_raster,
    read_window,
)

_Mask = npt.NDArray[np.bool_]

# Lossy compression frays the edge of an image that does not tell its nodata: pixels so near to
# black are no ground either.
BLACK_RIM_PX = 4
# Whether a pixel is, depends on pixels no farther than this: patches are 3 pixels wide or more.
_BLACK_REACH_PX = BLACK_RIM_PX + 2


class RegionSource(Protocol):
    """Pixels of a region on one grid; frozen, picklable and JSON-able."""

    @property
    def geobox(self) -> GeoBox:
        """The region's grid, ``height`` by ``width``."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names, in the order of the pixels' planes."""

    @property
    def dtype(self) -> str:
        """Of the pixels."""

    @property
    def hrefs(self) -> tuple[str, ...]:
        """All files that the pixels depend on."""

    @property
    def reference(self) -> tuple[BandRef, ...]:
        """Bands, one for each, whose files tell what an output should tell: nodata, colours."""

    @property
    def adds_holes(self) -> bool:
        """Whether pixels may be invalid that the files of `reference` call valid."""

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Read a window inside the grid: ``data`` [C, h, w] in `dtype`, ``valid`` [h, w].

        A pixel is the same whatever window it is read in.

        Raises
        ------
        SourceError
            If a file cannot be read (after retries of a remote one); it names file and window.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `source_from_dict` is the way back."""


def source_from_dict(plain: Mapping[str, Any]) -> RegionSource:
    """The source that its `to_dict` described, also by way of JSON.

    Raises
    ------
    ValueError
        If it is of no known kind.
    """
    if plain.get("kind") == "raster":
        return RasterSource.from_dict(plain)
    if plain.get("kind") == "mosaic":
        from geo.mosaic import MosaicSource  # which is made of sources itself

        return MosaicSource.from_dict(plain)
    raise ValueError(f"a source of kind {plain.get('kind')!r}; wanted raster or mosaic")


@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """Bands that lie on one grid, or a window of them, on their own pixels.

    Parameters
    ----------
    refs : tuple of BandRef
    bands : tuple of str
        Their names.
    geobox : GeoBox
        Of the window.
    dtype : str
    corner_yx : (int, int)
        Row and column of the raster where the window begins.
    masks : tuple of Mask
        Cloud, its shadow, saturation and what a mask does not know are holes, with a rim
        (`geo.quality.screen_masks`).
    area : shapely geometry, optional
        In the CRS of the grid; pixels that it does not touch are holes.
    zeros_are_holes : bool
        Patches of 0 in all bands are no ground, nor is a rim around them: for files that tell no
        nodata.
    """

    refs: tuple[BandRef, ...]
    bands: tuple[str, ...]
    geobox: GeoBox
    dtype: str
    corner_yx: tuple[int, int] = (0, 0)
    masks: tuple[Mask, ...] = ()
    area: shapely.Geometry | None = None
    zeros_are_holes: bool = False

    def __post_init__(self) -> None:
        if not self.refs or len(self.refs) != len(self.bands):
            raise BandError(
                f"got {len(self.bands)} names ({', '.join(self.bands)}) for {len(self.refs)} bands;"
                " wanted one for each, and one band at least"
            )

    @property
    def hrefs(self) -> tuple[str, ...]:
        """All files that the pixels depend on."""
        bands, masks = (ref.href for ref in self.refs), (mask.href for mask in self.masks)
        return tuple(dict.fromkeys([*bands, *masks]))

    @property
    def reference(self) -> tuple[BandRef, ...]:
        """The bands themselves."""
        return self.refs

    @property
    def adds_holes(self) -> bool:
        """Whether masks or an area take pixels away."""
        return bool(self.masks or self.area is not None or self.zeros_are_holes)

    def read(self, rows: slice, cols: slice) -> Pixels:
        """Read a window; see `RegionSource.read`."""
        there = self._there(rows, cols)
        if self.zeros_are_holes:
            pixels = self._read_zeros(rows, cols)
        else:
            pixels = read_window(self.refs, *there)
        valid = pixels.valid
        if self.area is not None and valid.any():
            valid = valid & area_mask(self.area, self.geobox, rows, cols)
        if self.masks and valid.any():
            valid = valid & clear_mask(self.masks, self.geobox, rows, cols, valid)
        return Pixels(pixels.data, valid)

    def take(self, positions: Sequence[int]) -> RasterSource:
        """The same with some of the bands, in the order given."""
        return replace(
            self,
            refs=tuple(self.refs[i] for i in positions),
            bands=tuple(self.bands[i] for i in positions),
        )

    def _there(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """A window in pixels of the whole raster."""
        (top, left), (height, width) = self.corner_yx, self.geobox.shape.yx
        if not (0 <= rows.start < rows.stop <= height and 0 <= cols.start < cols.stop <= width):
            raise SourceError(
                f"rows {rows.start} to {rows.stop} and columns {cols.start} to {cols.stop} were "
                f"asked for; the region has {height} rows and {width} columns",
                cause="outside_raster",
            )
        return (
            slice(rows.start + top, rows.stop + top),
            slice(cols.start + left, cols.stop + left),
        )

    def _read_zeros(self, rows: slice, cols: slice) -> Pixels:
        """Read and take patches of zeros out, as they stand in the file."""
        height, width = self.geobox.shape.yx
        wide_rows, wide_cols = _padded(rows, height), _padded(cols, width)
        inner = (
            slice(rows.start - wide_rows.start, rows.stop - wide_rows.start),
            slice(cols.start - wide_cols.start, cols.stop - wide_cols.start),
        )
        stored = [replace(ref, offset_dn=0.0) for ref in self.refs]
        pixels = read_window(stored, *self._there(wide_rows, wide_cols))
        empty = find_empty(pixels.data, pixels.valid)
        valid = (pixels.valid & ~near_black(empty))[inner]
        planes = [
            add_offset(plane[inner], valid, ref.offset_dn)
            for plane, ref in zip(pixels.data, self.refs, strict=True)
        ]
        return Pixels(np.stack(planes), valid)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "raster",
            "refs": [asdict(ref) for ref in self.refs],
            "bands": list(self.bands),
            "geobox": geobox_to_dict(self.geobox),
            "dtype": self.dtype,
            "corner_yx": list(self.corner_yx),
            "masks": [asdict(mask) for mask in self.masks],
            "area": area_to_text(self.area),
            "zeros_are_holes": self.zeros_are_holes,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RasterSource:
        """Build from what `to_dict` gave."""
        top, left = plain["corner_yx"]
        return cls(
            refs=tuple(BandRef(**ref) for ref in plain["refs"]),
            bands=tuple(plain["bands"]),
            geobox=geobox_from_dict(plain["geobox"]),
            dtype=plain["dtype"],
            corner_yx=(top, left),
            masks=tuple(Mask(**mask) for mask in plain["masks"]),
            area=area_from_text(plain["area"]),
            zeros_are_holes=plain["zeros_are_holes"],
        )


def raster_source(
    source: Source,
    bands: Sequence[str] | None = None,
    *,
    masks: Sequence[Mask] = (),
    aoi: shapely.Geometry | None = None,
) -> RasterSource:
    """Look at a raster, or at bands in several files, without reading pixels.

    Parameters
    ----------
    source : str or sequence of BandRef
        A raster, or bands that may lie in several files on one grid.
    bands : sequence of str, optional
        With a raster: which of its bands to take. With a sequence of BandRef: what they are called.
    masks : sequence of Mask
        Of the same scene; what they find bad becomes holes.
    aoi : shapely geometry, optional
        Lon/lat. The region is the raster's own pixels within its bounds, never resampled; pixels
        that it does not touch are holes.

    Raises
    ------
    SourceError
        If a file cannot be used, or the area lies beside the raster (cause ``no_overlap``).
    BandError
    GridError
        If the files do not lie on one grid.
    """
    if isinstance(source, str):
        info = inspect_raster(absolute_href(source))
        refs, names, infos = info.refs(bands), tuple(bands or info.bands), {info.href: info}
    else:
        refs = tuple(replace(ref, href=absolute_href(ref.href)) for ref in source)
        infos = {href: inspect_raster(href) for href in dict.fromkeys(r.href for r in refs)}
        names = tuple(bands) if bands else tuple(_name_of(ref, infos[ref.href]) for ref in refs)
    if not refs:
        raise BandError("the source has no bands; wanted one at least")
    whole = RasterSource(
        refs=refs,
        bands=names,
        geobox=common_grid(list(infos.values())),
        dtype=str(np.result_type(*(info.dtype for info in infos.values()))),
        masks=tuple(replace(mask, href=absolute_href(mask.href)) for mask in masks),
    )
    return whole if aoi is None else crop_to(whole, aoi)


def crop_to(source: RasterSource, aoi: shapely.Geometry) -> RasterSource:
    """The part of a raster over an area in lon/lat.

    Raises
    ------
    SourceError
        With cause ``no_overlap`` if they share no ground.
    """
    area = project_area(aoi, source.geobox)
    frame = source.geobox.extent.geom
    window = clip_window(window_of(area, source.geobox), source.geobox.shape.yx)
    if window is None or not shapely.intersects(area, frame):
        raise SourceError(
            f"{source.refs[0].href}: does not reach the area of interest",
            href=source.refs[0].href,
            cause="no_overlap",
        )
    rows, cols = window
    top, left = source.corner_yx
    there = source.geobox.affine @ Affine.translation(cols.start, rows.start)
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    return replace(
        source,
        geobox=GeoBox(shape, there, source.geobox.crs),
        corner_yx=(top + rows.start, left + cols.start),
        area=area,
    )


def clear_mask(
    masks: Sequence[Mask], grid: GeoBox, rows: slice, cols: slice, wanted: _Mask
) -> _Mask:
    """Pixels of a window that masks find clear, [h, w]; nothing is looked up where none is wanted.

    Looked up cell by cell, for which of two mask pixels a centre on their edge falls to hangs on
    the last digits of the window's place.
    """
    clear = np.zeros(wanted.shape, dtype=np.bool_)
    for cell in cells_over(grid, rows, cols):
        if wanted[cell.place].any():
            screen = screen_masks(masks, cell.geobox)
            clear[cell.place] = (screen.clear & screen.known)[cell.inside]
    return clear


def near_black(empty: _Mask) -> _Mask:
    """Pixels in or beside what is empty."""
    if not empty.any():
        return empty
    return np.asarray(ndimage.binary_dilation(empty, iterations=BLACK_RIM_PX))


def tells_no_nodata(infos: Sequence[RasterInfo]) -> bool:
    """Whether none of some files of integers can say that a pixel is empty."""
    return all(
        info.nodata is None and not info.has_mask and np.dtype(info.dtype).kind in "iu"
        for info in infos
    )


def absolute_href(href: str) -> str:
    """A local path from the root, for workers may stand elsewhere; a URL as it is."""
    return href if "://" in href else str(Path(href).absolute())


def geobox_to_dict(geobox: GeoBox) -> dict[str, Any]:
    """Shape, affine and CRS as plain values."""
    return {
        "shape": list(geobox.shape.yx),
        "affine": list(geobox.affine)[:6],
        "crs": str(geobox.crs),
    }


def geobox_from_dict(plain: Mapping[str, Any]) -> GeoBox:
    """The grid that `geobox_to_dict` described, exactly."""
    return GeoBox(tuple(plain["shape"]), Affine(*plain["affine"]), plain["crs"])


def area_to_text(area: shapely.Geometry | None) -> str | None:
    """A geometry as text that loses no digit."""
    return None if area is None else str(shapely.to_wkb(area, hex=True))


def area_from_text(text: str | None) -> shapely.Geometry | None:
    """The geometry that `area_to_text` wrote."""
    return None if text is None else shapely.from_wkb(text)


def _name_of(ref: BandRef, info: RasterInfo) -> str:
    named = dict(zip(info.indexes, info.bands, strict=True))
    return named.get(ref.index, f"band{ref.index}")


def _padded(span: slice, length: int) -> slice:
    return slice(max(0, span.start - _BLACK_REACH_PX), min(length, span.stop + _BLACK_REACH_PX))
