"""Scene pairs whose ground is displaced as a whole, place by place, or beyond belief."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.align import align_pixels
from geo.alignment import Alignment, AlignRules, read_aligned
from geo.raster_io import Pixels
from geo.registration import FieldRules
from geo.sensor import degrade

SCALE, SIDE = 4, 240  # LR pixels


def wave(shape: tuple[int, int], wavelength_px: float, amplitude_px: float) -> Any:
    """A smooth distortion [2, h, w] in LR pixels, for pixels of 1 / SCALE."""
    y, x = (np.indices(shape) + 0.5) / SCALE
    k = 2 * np.pi / wavelength_px
    down = np.sin(k * y + 0.4) * np.cos(k * x)
    right = np.cos(k * y) * np.sin(k * x + 1.1)
    return amplitude_px * np.stack([down, right]) + np.array([0.3, -0.5])[:, None, None]


class Bent:
    """Ground seen from the air in place, and by a satellite displaced by a field."""

    def __init__(
        self, rasters: ModuleType, folder: Path, wavelength_px: float, amplitude_px: float = 1.5
    ) -> None:
        shape = (SIDE * SCALE, SIDE * SCALE)
        self.grid: GeoBox = rasters.grid(shape, size=2.5)
        hr = 100 + 20 * rasters.ground(shape, seed=4, finest_px=5.0)
        self.field = wave(shape, wavelength_px, amplitude_px)
        at = np.indices(shape) - SCALE * self.field
        self.seen = np.stack([ndimage.map_coordinates(b, at, order=3, mode="nearest") for b in hr])
        self.href = rasters.write(folder / "aerial.tif", hr.astype(np.float32), self.grid)
        noise = np.random.default_rng(0).normal(0, 3, (3, SIDE, SIDE))
        self.lr = (10 * degrade(self.seen, SCALE) + 300 + noise).astype(np.float32)

    def align(self, rules: AlignRules | None = None) -> Alignment:
        pixels = Pixels(self.lr, np.ones((SIDE, SIDE), bool))
        return align_pixels(pixels, self.grid.zoom_out(SCALE), self.href, rules=rules)

    def true_field(self) -> npt.NDArray[np.float64]:
        """At the centres of LR pixels."""
        middles = slice(SCALE // 2, None, SCALE)
        return np.asarray(self.field[:, middles, middles])


@pytest.mark.parametrize("wavelength_px", [170, 400])
def test_a_smooth_distortion_is_found_to_a_fraction_of_a_pixel(
    rasters: ModuleType, tmp_path: Path, wavelength_px: float
) -> None:
    bent = Bent(rasters, tmp_path, wavelength_px)
    found = bent.align()
    assert (found.accepted, found.origin) == (True, "field")
    assert found.field is not None
    off = found.field.over(bent.grid.zoom_out(SCALE)) - bent.true_field()
    assert np.sqrt((off**2).mean()) < 0.15
    # And the aerial image is read so that it lies on what the satellite saw.
    inner = bent.grid[200:-200, 200:-200]
    got = read_aligned(bent.href, inner, found, scale=SCALE)
    want = 10 * bent.seen[:, 200:-200, 200:-200] + 300
    assert got.valid.all()
    assert np.abs(got.data - want).mean() < 0.08 * want.std()


def test_one_shift_stays_one_shift(rasters: ModuleType, tmp_path: Path) -> None:
    found = Bent(rasters, tmp_path, 200, amplitude_px=0.0).align()
    assert (found.accepted, found.origin, found.field) == (True, "scene", None)
    assert np.hypot(found.dy_px - 0.3, found.dx_px + 0.5) < 0.02


def test_a_field_that_is_not_allowed_leaves_distorted_ground_refused(
    rasters: ModuleType, tmp_path: Path
) -> None:
    rules = AlignRules(field=FieldRules(allowed=False))
    found = Bent(rasters, tmp_path, 400).align(rules)
    assert not found.accepted
    assert found.reason in ("distorted_ground", "unreliable_registration")
    assert found.value is not None
    assert found.limit is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_px": 16}, "window_px is 16; wanted 32 or more"),
        ({"rounds": 0}, "rounds is 0; wanted 1 or more"),
    ],
)
def test_rules_check_themselves(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FieldRules(**options)
