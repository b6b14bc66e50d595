"""The second door: one resampling from a raster's own grid onto another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rasterio.warp
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import Resampling
from rasterio.windows import Window

from geo.errors import GridError
from geo.raster_io import Pixels, Source, inspect_raster, open_raster, source_refs

# Pixels read around what the target covers, in target pixels: the widest kernel (cubic) reaches
# two, and GDAL blurs narrow windows when it must guess the ratio (rasterio#2839).
_MARGIN_PX = 4
# Source pixels kept for each target pixel when an overview is fine enough to start from.
_OVERSAMPLING = 4.0

_Array = npt.NDArray[np.float64]
_Mapping = Callable[[_Array, _Array], tuple[_Array, _Array]]


@dataclass(frozen=True)
class _Placement:
    """Where a target grid falls on a source grid: window and ratio."""

    rows: tuple[int, int]
    cols: tuple[int, int]
    ratio_yx: tuple[float, float]  # source pixels for each target pixel


def warp_to(
    source: Source,
    geobox: GeoBox,
    *,
    bands: Sequence[str] | None = None,
    resampling: str = "cubic",
) -> Pixels:
    """Resample a raster once onto a grid.

    Parameters
    ----------
    source : str or sequence of BandRef
    geobox : GeoBox
        The grid wanted; it may lie anywhere, in any CRS.
    bands : sequence of str, optional
        Names, when `source` is an href.
    resampling : {"cubic", "bilinear", "nearest"}
        Cubic keeps sharpness on grids of about the same ratio. Bilinear widens with the ratio and
        then is near to a sensor of MTF 0.3 at Nyquist, so it is the choice for bringing an
        aerial image to satellite resolution.

    Returns
    -------
    Pixels
        float32 ``data`` [C, h, w], 0 where not valid; valid only where the kernel saw no invalid
        pixel and nothing outside the raster.

    Raises
    ------
    SourceError, BandError, GridError
    """
    refs = source_refs(source, bands)
    planes: dict[object, npt.NDArray[np.float32]] = {}
    valid = np.ones(geobox.shape.yx, dtype=np.bool_)
    for href in dict.fromkeys(ref.href for ref in refs):
        wanted = [ref for ref in refs if ref.href == href]
        warped = _warp_file(href, [ref.index for ref in wanted], geobox, resampling)
        planes.update(zip(wanted, warped.data, strict=True))
        valid &= warped.valid
    data = np.stack([planes[ref] for ref in refs])  # [C, h, w]
    data[:, ~valid] = 0
    return Pixels(data, valid)


def _warp_file(href: str, indexes: list[int], geobox: GeoBox, resampling: str) -> Pixels:
    grid = inspect_raster(href).geobox
    place = _place(grid, geobox)
    if place is None:
        shape = geobox.shape.yx
        return Pixels(np.zeros((len(indexes), *shape), np.float32), np.zeros(shape, np.bool_))
    pixels, transform = _read_padded(href, indexes, grid, place)
    scales = {  # GDAL widens its kernels by these; left to itself it guesses from the window
        name: min(1.0, (abs(shrunk) / max(ratio, 1e-9)))
        for name, ratio, shrunk in zip(
            ("YSCALE", "XSCALE"), place.ratio_yx, _shrink_of(grid, transform), strict=True
        )
    }
    common = {
        "src_transform": transform,
        "src_crs": str(grid.crs),
        "dst_transform": geobox.affine,
        "dst_crs": str(geobox.crs),
        "tolerance": 0.01,
        **scales,
    }
    pixels.data[:, ~pixels.valid] = np.nan
    data, _ = rasterio.warp.reproject(
        pixels.data,
        np.full((len(indexes), *geobox.shape.yx), np.nan, np.float32),
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=Resampling[resampling],
        **common,
    )
    # No nodata here: invalid pixels weigh in as 0, so the result is the share of good ones.
    share, _ = rasterio.warp.reproject(
        pixels.valid.astype(np.float32),
        np.zeros(geobox.shape.yx, np.float32),
        resampling=Resampling.nearest if resampling == "nearest" else Resampling.bilinear,
        **common,
    )
    valid = (share > 0.999) & np.isfinite(data).all(axis=0)
    return Pixels(data, valid)


def _place(grid: GeoBox, target: GeoBox) -> _Placement | None:
    """Window of `grid` that `target` needs, or None when they do not meet."""
    height, width = target.shape.yx
    steps = np.linspace(-_MARGIN_PX, max(height, width) + _MARGIN_PX, 33)
    ys = np.clip(steps, -_MARGIN_PX, height + _MARGIN_PX)
    xs = np.clip(steps, -_MARGIN_PX, width + _MARGIN_PX)
    mesh_x, mesh_y = np.meshgrid(xs, ys)
    to_grid = _pixel_mapping(target, grid)
    px, py = to_grid(mesh_x.ravel(), mesh_y.ravel())
    finite = np.isfinite(px) & np.isfinite(py)
    if not finite.any():
        return None
    rows = (int(np.floor(py[finite].min())), int(np.ceil(py[finite].max())))
    cols = (int(np.floor(px[finite].min())), int(np.ceil(px[finite].max())))
    if rows[0] >= grid.shape.y or cols[0] >= grid.shape.x or rows[1] <= 0 or cols[1] <= 0:
        return None
    return _Placement(rows, cols, _ratio(to_grid, height, width))


def _pixel_mapping(target: GeoBox, grid: GeoBox) -> _Mapping:
    """Map pixel positions of `target` to those of `grid`: arrays x, y to arrays x, y."""
    try:
        project = Transformer.from_crs(str(target.crs), str(grid.crs), always_xy=True)
    except ProjError as error:
        raise GridError(f"no way from {target.crs} to {grid.crs}: {error}") from error
    from_target, to_grid = target.affine, ~grid.affine

    def mapping(x: _Array, y: _Array) -> tuple[_Array, _Array]:
        return _apply(to_grid, *project.transform(*_apply(from_target, x, y)))

    return mapping


def _apply(affine: Affine, x: _Array, y: _Array) -> tuple[_Array, _Array]:
    return (affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f)


def _ratio(to_grid: _Mapping, height: int, width: int) -> tuple[float, float]:
    """Source pixels for each target pixel along y and x, at the centre of the target."""
    x0, y0 = width / 2, height / 2
    x, y = to_grid(np.array([x0, x0 + 1, x0]), np.array([y0, y0, y0 + 1]))
    jacobian = np.array([[x[1] - x[0], x[2] - x[0]], [y[1] - y[0], y[2] - y[0]]])
    per_axis = np.hypot(jacobian[:, 0], jacobian[:, 1])  # source x, source y
    return float(per_axis[1]), float(per_axis[0])


def _read_padded(
    href: str, indexes: list[int], grid: GeoBox, place: _Placement
) -> tuple[Pixels, Affine]:
    """Read what is needed, thinned where far too fine, with an invalid rim beyond the raster."""
    rows = (max(0, place.rows[0]), min(grid.shape.y, place.rows[1]))
    cols = (max(0, place.cols[0]), min(grid.shape.x, place.cols[1]))
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    thin = [max(1, int(ratio / _OVERSAMPLING)) for ratio in place.ratio_yx]
    out = (-(-height // thin[0]), -(-width // thin[1]))
    window = Window(cols[0], rows[0], width, height)
    with open_raster(href) as dataset:
        data = dataset.read(
            indexes,
            window=window,
            out_shape=(len(indexes), *out),
            out_dtype="float32",
            resampling=Resampling.average,
        )  # [c, h, w]
        masks = dataset.read_masks(indexes, window=window, out_shape=(len(indexes), *out))
    valid = (masks > 0).all(axis=0) & np.isfinite(data).all(axis=0)
    rim = 2
    data = np.pad(data, ((0, 0), (rim, rim), (rim, rim)))
    valid = np.pad(valid, rim)
    shrink = Affine.scale(width / out[1], height / out[0])
    corner = Affine.translation(cols[0], rows[0]) @ shrink @ Affine.translation(-rim, -rim)
    return Pixels(data, valid), grid.affine @ corner


def _shrink_of(grid: GeoBox, transform: Affine) -> tuple[float, float]:
    """How many source pixels one read pixel stands for, along y and x."""
    relative = ~grid.affine @ transform
    return relative.e, relative.a
