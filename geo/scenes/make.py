"""Made demo scenes: aerial and satellite imagery of ground that is known because it is drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geo.errors import GeoError
from geo.scenes.ground import Ground, make_ground
from geo.scenes.layout import CATEGORIES
from geo.scenes.noise import stream
from geo.scenes.satellite import (
    CLOUD_HIGH,
    CLOUD_MEDIUM,
    DN_OF_ONE,
    REACH_LR_PX,
    Clouds,
    Radiometry,
    classify,
    observe,
    to_dn,
)
from geo.scenes.stac import (
    COLOURS,
    class_asset,
    data_asset,
    stamp,
    write_collection,
    write_item,
    write_json,
    write_landcover,
    write_raster,
)
from geo.sensor import MTF_AT_NYQUIST

_CRS = "EPSG:32630"
_CORNER_M = (446_000.0, 4_818_000.0)  # about where the region's upper left corner lies
_AERIAL_TIME = datetime(2024, 6, 18, 10, 20, tzinfo=UTC)
_AERIAL_NOISE_DN = 0.8
_LARGEST_SHIFT_LR_PX = 1.25
_MARK = "scenes.json"
_MADE_BY = "skyscale scenes"


@dataclass(frozen=True, kw_only=True)
class SatelliteDate:
    """One satellite acquisition.

    Parameters
    ----------
    gap_days : int
        Days after the aerial acquisition; negative before it.
    cloud_fraction : float
        Share of the scene under clouds, 0 to 1.
    """

    gap_days: int
    cloud_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cloud_fraction <= 1:
            raise ValueError(f"cloud_fraction: got {self.cloud_fraction}, wanted 0 to 1")


DEFAULT_DATES = (
    SatelliteDate(gap_days=-11),
    SatelliteDate(gap_days=-4, cloud_fraction=0.3),
    SatelliteDate(gap_days=3),
    SatelliteDate(gap_days=9, cloud_fraction=0.85),
    SatelliteDate(gap_days=16),
    SatelliteDate(gap_days=427),
)


@dataclass(frozen=True, kw_only=True)
class ScenesConfig:
    """What to make.

    Parameters
    ----------
    seed : int
        Another seed is another region.
    width_px, height_px : int
        Size of the aerial scene.
    aerial_gsd_m : float
        Metres of an aerial pixel.
    scale : int
        Aerial pixels along a side of a satellite pixel.
    dates : tuple of SatelliteDate
    """

    seed: int = 7
    width_px: int = 3072
    height_px: int = 3072
    aerial_gsd_m: float = 1.0
    scale: int = 4
    dates: tuple[SatelliteDate, ...] = DEFAULT_DATES

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, wanted 0 or more")
        for name in ("width_px", "height_px"):
            size = getattr(self, name)
            if not 256 <= size <= 8192:
                raise ValueError(f"{name}: got {size}, wanted 256 to 8192")
        if max(self.width_px, self.height_px) > 3 * min(self.width_px, self.height_px):
            raise ValueError(
                f"width_px, height_px: got {self.width_px} x {self.height_px}, "
                "wanted at most three times as long as wide"
            )
        if not 0.25 <= self.aerial_gsd_m <= 4:
            raise ValueError(f"aerial_gsd_m: got {self.aerial_gsd_m}, wanted 0.25 to 4")
        if self.scale not in (2, 3, 4, 6, 8):
            raise ValueError(f"scale: got {self.scale}, wanted 2, 3, 4, 6 or 8")
        gaps = [date.gap_days for date in self.dates]
        if not gaps or len(set(gaps)) < len(gaps):
            raise ValueError(f"dates: got gaps of {gaps} days, wanted one or more different ones")


@dataclass(frozen=True, kw_only=True)
class ScenesSummary:
    """What was made.

    Parameters
    ----------
    out, aerial, satellite, landcover, truth : str
        Paths: folder, the two collections, land cover, known truth.
    seed : int
    hr_shape, lr_shape : (int, int)
        Height and width.
    categories : dict of str to float
        Share of the ground.
    scenes : tuple of dict
        For each satellite scene its id, time, cloud cover and shift.
    """

    out: str
    aerial: str
    satellite: str
    landcover: str
    truth: str
    seed: int
    hr_shape: tuple[int, int]
    lr_shape: tuple[int, int]
    categories: dict[str, float]
    scenes: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Grids:
    """The three grids of a region.

    The satellite's grid lies on whole multiples of its pixel, as Sentinel-2's does; the aerial one
    is off it by a fraction; the ground reaches beyond both, so that every pixel is fully known.
    """

    ground: GeoBox
    aerial: GeoBox
    satellite: GeoBox
    origin_lr_px: tuple[float, float]
    margin_px: int

    @classmethod
    def lay(cls, config: ScenesConfig) -> _Grids:
        rng = stream(config.seed, "grids")
        gsd, scale = config.aerial_gsd_m, config.scale
        lr_gsd = gsd * scale
        fraction_y, fraction_x = (round(float(f), 2) for f in rng.uniform(0.15, 0.85, 2))
        left, top = (np.round(c / lr_gsd) * lr_gsd for c in _CORNER_M)
        aerial_left, aerial_top = left - fraction_x * lr_gsd, top + fraction_y * lr_gsd
        # Even, so that the classification has whole pixels of twice the size.
        h, w = (
            int(size / scale - fraction) // 2 * 2
            for size, fraction in (
                (config.height_px, fraction_y),
                (config.width_px, fraction_x),
            )
        )
        margin = int(np.ceil((_LARGEST_SHIFT_LR_PX + REACH_LR_PX) * scale)) + 2
        size = (config.height_px, config.width_px)
        ground_size = (size[0] + 2 * margin, size[1] + 2 * margin)
        corner = Affine.translation(aerial_left - margin * gsd, aerial_top + margin * gsd)
        return cls(
            ground=GeoBox(ground_size, corner @ Affine.scale(gsd, -gsd), _CRS),
            aerial=GeoBox(
                size, Affine.translation(aerial_left, aerial_top) @ Affine.scale(gsd, -gsd), _CRS
            ),
            satellite=GeoBox(
                (h, w), Affine.translation(left, top) @ Affine.scale(lr_gsd, -lr_gsd), _CRS
            ),
            origin_lr_px=(fraction_y, fraction_x),
            margin_px=margin,
        )


def make_scenes(
    out: Path, config: ScenesConfig, progress: Callable[[str], None] | None = None
) -> ScenesSummary:
    """Make a region and write its scenes: two STAC collections, land cover, and the truth.

    The same configuration gives the same bytes in every file.

    Parameters
    ----------
    out : Path
        Folder; new, empty, or made by this function before (then it is made anew).
    config : ScenesConfig
    progress : callable, optional
        Told in a few words what is being done.

    Returns
    -------
    ScenesSummary

    Raises
    ------
    GeoError
        If the folder holds something else.
    """
    say = progress or (lambda _: None)
    _prepare(out, config)
    grids = _Grids.lay(config)
    say(f"drawing {config.width_px} x {config.height_px} px of ground (seed {config.seed})")
    ground = make_ground(config.seed, grids.ground.shape.yx, config.aerial_gsd_m)

    say(f"aerial scene of {stamp(_AERIAL_TIME)[:10]}")
    aerial = _write_aerial(out / "aerial", config, grids, ground)
    truths, items = [], []
    for date in config.dates:
        item, truth = _write_satellite(out / "satellite", config, grids, ground, date)
        say(f"satellite scene of {item['properties']['datetime'][:10]}: {_describe(truth)}")
        items.append(item)
        truths.append(truth | {"region": "made", "of": aerial["id"]})
    collections = {
        name: write_collection(
            out / name, name=f"made-{name}", description=f"Made demo scenes: {name}", items=written
        )
        for name, written in (("aerial", [aerial]), ("satellite", items))
    }
    write_landcover(out / "landcover.geojson", ground.layout, grids.ground)
    write_json(out / "truth.json", truths)
    counts = np.bincount(ground.layout.category.ravel(), minlength=len(CATEGORIES))
    return ScenesSummary(
        out=str(out),
        aerial=str(collections["aerial"]),
        satellite=str(collections["satellite"]),
        landcover=str(out / "landcover.geojson"),
        truth=str(out / "truth.json"),
        seed=config.seed,
        hr_shape=grids.aerial.shape.yx,
        lr_shape=grids.satellite.shape.yx,
        categories={
            name: round(float(n / counts.sum()), 4)
            for name, n in zip(CATEGORIES, counts, strict=True)
        },
        scenes=tuple(
            {
                "id": item["id"],
                "datetime": item["properties"]["datetime"],
                "gap_days": truth["gap_days"],
                "cloud_cover_percent": item["properties"]["eo:cloud_cover"],
                "shift_lr_px": truth["shift_lr_px"],
            }
            for item, truth in zip(items, truths, strict=True)
        ),
    )


def _prepare(out: Path, config: ScenesConfig) -> None:
    """Make room, but only where nothing but our own files is lost."""
    if out.exists() and not out.is_dir():
        raise GeoError(f"{out}: is a file; wanted a folder for the scenes", out=str(out))
    mark = out / _MARK
    if out.is_dir() and any(out.iterdir()):
        try:
            ours = json.loads(mark.read_text(encoding="utf-8"))["made_by"] == _MADE_BY
        except (OSError, ValueError, KeyError, TypeError):
            ours = False
        if not ours:
            raise GeoError(
                f"{out}: not empty, and not made by `{_MADE_BY}`; wanted a new or empty folder",
                out=str(out),
            )
        for name in ("aerial", "satellite"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("landcover.geojson", "truth.json"):
            (out / name).unlink(missing_ok=True)
    # Marked before it is filled, so that an interrupted run can be made anew.
    write_json(mark, {"made_by": _MADE_BY, "config": asdict(config)})


def _write_aerial(
    folder: Path, config: ScenesConfig, grids: _Grids, ground: Ground
) -> dict[str, Any]:
    m = grids.margin_px
    picture = ground.on(0)[m:-m, m:-m].transpose(2, 0, 1)  # [3, H, W]
    rng = stream(config.seed, "aerial noise")
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(_AERIAL_NOISE_DN)
    data: npt.NDArray[np.uint8] = np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    item = folder / f"aerial_{_AERIAL_TIME:%Y%m%d}"
    write_raster(item / "visual.tif", data, grids.aerial, COLOURS)
    return write_item(
        item,
        collection="made-aerial",
        time=_AERIAL_TIME,
        geobox=grids.aerial,
        assets={"visual": data_asset("visual.tif", "uint8")},
        properties={"platform": "aerial", "eo:cloud_cover": 0.0},
    )


def _write_satellite(
    folder: Path, config: ScenesConfig, grids: _Grids, ground: Ground, date: SatelliteDate
) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = stream(config.seed, "satellite", date.gap_days)
    limit = _LARGEST_SHIFT_LR_PX
    dy, dx = (round(float(s), 2) for s in rng.uniform(-limit, limit, 2))
    radiometry = Radiometry.draw(rng)
    origin_y, origin_x = (grids.margin_px + o * config.scale for o in grids.origin_lr_px)
    shape = grids.satellite.shape.yx
    brightness = observe(
        ground.on(date.gap_days),
        shape,
        scale=config.scale,
        origin_px=(origin_y, origin_x),
        shift_px=(dy, dx),
    ) / np.float32(255)  # [h, w, 3]
    clouds = Clouds.draw(rng, shape, date.cloud_fraction, ground.sun)
    dn = to_dn(rng, brightness, radiometry, clouds)
    layout, lr_gsd = ground.layout, config.aerial_gsd_m * config.scale
    xs = (np.arange(shape[1]) + 0.5 - dx) * lr_gsd + origin_x * config.aerial_gsd_m
    ys = (np.arange(shape[0]) + 0.5 - dy) * lr_gsd + origin_y * config.aerial_gsd_m
    at_sea = ~layout.is_land(np.stack(np.meshgrid(xs, ys), axis=-1), 5.0)
    classes = classify(brightness, at_sea, clouds)

    time = (_AERIAL_TIME + timedelta(days=date.gap_days)).replace(hour=11, minute=2)
    item = folder / f"sat_{time:%Y%m%d}"
    write_raster(item / "B04B03B02.tif", dn, grids.satellite, COLOURS, nodata=0)
    coarse = grids.satellite.zoom_out(2)
    write_raster(item / "SCL.tif", classes[None], coarse, ("scl",), nodata=0)
    cover = float(np.isin(classes, (CLOUD_MEDIUM, CLOUD_HIGH)).mean())
    written = write_item(
        item,
        collection="made-satellite",
        time=time,
        geobox=grids.satellite,
        assets={
            "visual": data_asset("B04B03B02.tif", "uint16", nodata=0, scale=1 / DN_OF_ONE),
            "scl": class_asset("SCL.tif"),
        },
        properties={"platform": "satellite", "eo:cloud_cover": round(100 * cover, 1)},
    )
    truth = {
        "scene": item.name,
        "gap_days": date.gap_days,
        "shift_lr_px": {"dy": dy, "dx": dx},
        "gain": list(radiometry.gain),
        "offset": list(radiometry.offset),
        "gamma": radiometry.gamma,
        "noise_dn": radiometry.noise_dn,
        "grid_origin_lr_px": {"dy": grids.origin_lr_px[0], "dx": grids.origin_lr_px[1]},
        "mtf_at_nyquist": MTF_AT_NYQUIST,
        "cloud_fraction": clouds.fraction,
    }
    return written, truth


def _describe(truth: dict[str, Any]) -> str:
    shift = truth["shift_lr_px"]
    return (
        f"shift {shift['dy']:+.2f} {shift['dx']:+.2f} px, clouds {truth['cloud_fraction']:.0%}, "
        f"{abs(truth['gap_days'])} days {'after' if truth['gap_days'] > 0 else 'before'}"
    )
