"""The map of a report as one small picture, for places that show no page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from geo.pictures import encode_png
from geo.reporting.ramps import ORANGE_BLUE, VIRIDIS, Ramp, paint
from geo.reporting.summary import Rows

_LONGEST_PX = 560
_MOST_TILE_PX = 24
_LEGEND_PX, _BAR_PX = 44, 12
_LEAST_WIDTH_PX = 300
# The first that is known is shown: does it gain, is it right, does it agree with the satellite?
_SHOWN = (
    ("gain_db", "gain over bicubic, dB", ORANGE_BLUE),
    ("psnr_db", "PSNR, dB", VIRIDIS),
    ("lr_consistency", "LR consistency (lower is better)", VIRIDIS),
    ("seen_fraction", "part of the tile that is valid", VIRIDIS),
)


def draw_map(rows: Rows) -> bytes:
    """PNG of all tiles coloured by what is known of them, with a legend; unknown is grey."""
    name, title, ramp = next(
        (shown for shown in _SHOWN if any(_number(row, shown[0]) is not None for row in rows)),
        _SHOWN[-1],
    )
    at = np.array([(row["row"], row["col"]) for row in rows])
    at -= at.min(axis=0)
    grid = np.full(at.max(axis=0) + 1, np.nan)
    grid[tuple(at.T)] = [math.nan if (v := _number(row, name)) is None else v for row in rows]
    low, high = _limits(grid, diverging=ramp is ORANGE_BLUE)
    side = min(_MOST_TILE_PX, max(1, _LONGEST_PX // max(grid.shape)))
    painted = paint((grid - low) / (high - low), ramp)
    there = np.zeros(grid.shape, np.bool_)
    there[tuple(at.T)] = True
    painted[~there] = 255
    tiles = painted.repeat(side, axis=0).repeat(side, axis=1)
    step = max(1, -(-max(tiles.shape[:2]) // (2 * _LONGEST_PX)))  # of regions beyond any screen
    return encode_png(_with_legend(tiles[::step, ::step], title, low, high, ramp))


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _limits(grid: npt.NDArray[np.float64], *, diverging: bool) -> tuple[float, float]:
    known = grid[np.isfinite(grid)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, [2, 98]))
    if diverging:
        high = max(abs(low), abs(high), 1e-6)
        low = -high
    return low, max(high, low + 1e-9)


def _with_legend(
    tiles: npt.NDArray[np.uint8], title: str, low: float, high: float, ramp: Ramp
) -> npt.NDArray[np.uint8]:
    height, width = tiles.shape[0], max(tiles.shape[1], _LEAST_WIDTH_PX)
    picture = np.full((height + _LEGEND_PX, width, 3), 255, np.uint8)
    picture[:height, : tiles.shape[1]] = tiles
    bar = paint(np.linspace(0, 1, width - 8), ramp)
    picture[height + 4 : height + 4 + _BAR_PX, 4 : width - 4] = bar
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    line = height + 4 + _BAR_PX + 6
    draw.text((4, line), f"{low:.4g}", fill=(40, 40, 40))
    draw.text((width // 2, line), title, fill=(40, 40, 40), anchor="ma")
    draw.text((width - 4, line), f"{high:.4g}", fill=(40, 40, 40), anchor="ra")
    return np.asarray(image)
