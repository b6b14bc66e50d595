"""Ground of known classes, and a segmenter that knows its colours; by files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.interpolate import upsample
from geo.labels import Labels, open_labels
from geo.reporting.plan import ReportPlan
from geo.reporting.segmenter import SegmenterFacts
from geo.sensor import degrade
from tests.geo import rasters
from tests.geo.reports import plan_of

CLASSES = ("farm", "forest", "town", "water")
COLOURS = np.array([[3000, 2600, 1500], [900, 1500, 700], [2600, 2500, 2400], [500, 700, 1200]])
BANDS = ("red", "green", "blue")
DATA_RANGE = 10_000.0


@dataclass(frozen=True)
class NearestColour:
    """Takes each pixel for the class whose colour is nearest to the mean around it.

    Means are of whole blocks of `stride` pixels and of their neighbours, as networks have them.
    """

    stride: int = 6
    name: str = "nearest colour"
    classes: tuple[str, ...] = CLASSES
    bands: tuple[str, ...] = ("blue", "red", "green")
    data_range: float = DATA_RANGE

    @property
    def halo(self) -> int:
        return 2 * self.stride - 1

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[1:]
        pad = [(0, 0), (0, -height % self.stride), (0, -width % self.stride)]
        whole = np.pad(image.astype(np.float64), pad, mode="edge")
        rows, cols = whole.shape[1] // self.stride, whole.shape[2] // self.stride
        blocks = whole.reshape(len(image), rows, self.stride, cols, self.stride).mean((2, 4))
        around = ndimage.uniform_filter(blocks, (0, 3, 3), mode="nearest")
        coarse = around.repeat(self.stride, 1).repeat(self.stride, 2)[:, :height, :width]
        seen = 0.3 * coarse + 0.7 * image
        order = [BANDS.index(band) for band in self.bands]
        colours = COLOURS[: len(self.classes), order]
        apart = ((seen[None] - colours[:, :, None, None]) ** 2).sum(1)
        return (1 + apart.argmin(0)).astype(np.uint8)


@dataclass(frozen=True)
class FarPixels(NearestColour):
    """Classes that depend on every DN at the corners of what a pixel sees, to the last digit."""

    stride: int = 1

    @property
    def halo(self) -> int:
        return 11

    def __call__(self, image: np.ndarray) -> np.ndarray:
        far = np.pad(np.rint(image).sum(0), self.halo, mode="edge")
        whole, height = 2 * self.halo, image.shape[1]
        seen = far[:height] + far[whole:]
        seen = seen[:, : image.shape[2]] + 3 * seen[:, whole:]
        return (1 + seen % len(self.classes)).astype(np.uint8)


def class_field(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Patches of classes, 1 to 4, small enough for bicubic to blur them."""
    noise = np.random.default_rng(seed).normal(size=(len(CLASSES), *shape))
    smooth = np.stack([ndimage.gaussian_filter(plane, 5) for plane in noise])
    return (1 + smooth.argmax(0)).astype(np.uint8)


@dataclass(frozen=True)
class ClassGround:
    """Files of a region whose classes are known."""

    aerial: str
    lr: str
    sr: str
    bicubic: str
    truth: str
    labels: str
    classes: np.ndarray  # [H, W], what `labels` holds
    grid: GeoBox

    @property
    def read_labels(self) -> Labels:
        return open_labels(self.labels)

    def plan(self, segmenter: Any = None, *, sr: str | None = None, **settings: Any) -> ReportPlan:
        """Of SR against the aerial image, labels and all unless told otherwise."""
        known: dict[str, Any] = {
            "reference": self.aerial,
            "lr": self.lr,
            "labels": self.read_labels,
            "tile_lr": 16,
            "segmenter": SegmenterFacts.of(segmenter or NearestColour()),
        }
        return plan_of(sr or self.sr, **known | settings)


def make_class_ground(
    folder: Path,
    shape: tuple[int, int] = (384, 320),
    *,
    share: float = 0.6,
    hole: str | None = None,
) -> ClassGround:
    """SR is bicubic and a share of what it lacks; a hole lies in the image that is named."""
    classes = class_field(shape)
    texture = np.random.default_rng(1).normal(0, 60, (3, *shape))
    hr = (COLOURS[classes - 1].transpose(2, 0, 1) + texture).astype(np.float32)
    lr = degrade(hr, 4)
    plain = upsample(lr, 4, "bicubic")
    images = {
        "aerial": hr,
        "truth": hr,
        "lr": lr,
        "bicubic": plain,
        "sr": plain + share * (hr - plain),
    }
    fine = rasters.grid(shape, size=1.0)
    if hole:
        size = 1 if hole == "lr" else 4
        images[hole] = images[hole].copy()
        # Beside an edge of tiles, narrower than a halo.
        images[hole][:, 12 * size : 60 * size, 25 * size : 27 * size] = 0
    files = {
        name: rasters.write(
            folder / f"{name}.tif",
            data.round().clip(0, 65535).astype(np.uint16),
            fine.zoom_out(4) if name == "lr" else fine,
            nodata=0,
            bands=BANDS,
            tags={"SKYSCALE_SCALE": "4", "SKYSCALE_MODEL": "generator/7"},
        )
        for name, data in images.items()
    }
    labels = rasters.write(folder / "cover.tif", classes[None], fine, nodata=0, bands=("class",))
    names = {str(place): name for place, name in enumerate(CLASSES, start=1)}
    (folder / "cover.json").write_text(json.dumps(names))
    return ClassGround(**files, labels=labels, classes=classes, grid=fine)
