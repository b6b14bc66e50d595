"""Chips with the statistics of real imagery, cut and varied from whatever imagery there is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from geo.pairstore.rows import PairData, Row, pair_identity
from geo.scenes.make import ScenesConfig, make_scenes

_SHARED = Path(__file__).resolve().parents[2].parent / "shared/data/trial"
_DN_PER_BYTE = 12  # to uint16 as surface reflectance x 10000


def source_image(bands: int) -> tuple[npt.NDArray[np.float32], str]:
    """An aerial image [C, H, W] and where it is from: real where there is one, else made."""
    real = _SHARED / "village/aerial/oam_zanzibar/visual.tif"
    if real.exists():
        return _read(real, bands), "real aerial image"
    with tempfile.TemporaryDirectory() as name:
        make_scenes(Path(name), ScenesConfig(width_px=2048, height_px=2048))
        return _read(next(Path(name).rglob("aerial*/visual.tif")), bands), "made aerial image"


def _read(path: Path, bands: int) -> npt.NDArray[np.float32]:
    with rasterio.open(path) as dataset:
        image = dataset.read().astype(np.float32)
    return image[np.arange(bands) % len(image)]


def make_pairs(
    count: int, *, bands: int, lr_size: int, scale: int = 4, first: int = 0, seed: int = 0
) -> Iterator[PairData]:
    """Pairs cut at random places, each with a gain and sensor noise of its own."""
    image, _ = source_image(bands)
    fine = lr_size * scale
    _, height, width = image.shape
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        y, x = rng.integers(height - fine), rng.integers(width - fine)
        cut = image[:, y : y + fine, x : x + fine] * (_DN_PER_BYTE * rng.uniform(0.8, 1.2))
        noise = rng.standard_normal(cut.shape, np.float32)
        hr = np.clip(np.rint(cut + 300 + 12 * noise), 0, 65535)
        lr = hr.reshape(bands, lr_size, scale, lr_size, scale).mean((2, 4))
        yield PairData(
            row=row_of(number, scale),
            lr=np.rint(lr).astype(np.uint16),
            hr=hr.astype(np.uint16),
            valid=np.ones((fine, fine), np.bool_),
        )


def row_of(number: int, scale: int, *, scene_pairs: int = 500) -> Row:
    """What the index would say of a pair: `scene_pairs` in a row are of the same two scenes."""
    scene = number // scene_pairs
    satellite, aerial = f"S2A_MSIL2A_{scene:06d}_T33UUP", f"naip_{scene // 4:06d}"
    row, col = divmod(number, 1000)
    return {
        "identity": pair_identity(satellite, aerial, "EPSG:32633", row, col, scale),
        "kind": "pair",
        "settings_digest": "0123456789abcdef",
        "satellite_id": satellite,
        "aerial_id": aerial,
        "satellite_href": f"/archive/sentinel-2/{satellite}/B04.tif",
        "aerial_href": f"/archive/naip/{aerial}/visual.tif",
        "gap_days": 3.0,
        "crs": "EPSG:32633",
        "row": row,
        "col": col,
        "left": 320.0 * col,
        "bottom": -320.0 * (row + 1),
        "right": 320.0 * (col + 1),
        "top": -320.0 * row,
        "dy_px": 0.31 + 1e-3 * scene,
        "dx_px": -0.62,
        "reliability": 0.99,
        "gains": [1.02, 0.98, 1.11],
        "offsets": [12.0, -30.5, 4.25],
        "similarity": 0.9 + (number % 97) / 1000,
        "valid_fraction": 1.0,
        "category": ("farm", "farm", "farm", "village", "forest", "port")[number % 6],
        "split": "train",
    }
