"""Drawing on made ground: outlines with heights, trees, and the shadows that both cast.

Shapes are collected in metres and drawn tile by tile at a multiple of the resolution, then
averaged, as an aerial camera would: edges are smooth, and memory stays small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.spatial import KDTree

from geo.scenes.layout import Points
from geo.scenes.noise import Field

Colour = tuple[float, float, float]

_SUPERSAMPLING = 3
_TILE_PX = 384
# Light that shadows keep: the sky's, which is blue.
_SKY_LIGHT = np.array([0.38, 0.42, 0.50], np.float32)
_TREE_COLOURS = 64


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Where the sun stands.

    Parameters
    ----------
    azimuth_deg : float
        Clockwise from north.
    elevation_deg : float
    """

    azimuth_deg: float = 138.0
    elevation_deg: float = 47.0

    @property
    def towards(self) -> Points:
        """Unit vector on the ground towards the sun, (x, y down)."""
        a = np.radians(self.azimuth_deg)
        return np.array([np.sin(a), -np.cos(a)])

    @property
    def slope(self) -> float:
        """Tangent of the elevation: how fast a ray of light rises."""
        return float(np.tan(np.radians(self.elevation_deg)))

    def facet(self, slope_x: float, slope_y: float) -> float:
        """Brightness of one plane, as `shade` has it for many."""
        sx, sy = self.towards.tolist()
        run = -(slope_x * sx + slope_y * sy)
        direct = (run / self.slope + 1) / float(np.sqrt(1 + slope_x**2 + slope_y**2))
        return float(0.32 + 0.68 * max(direct, 0.0))

    def shade(self, slope_xy: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Brightness of surfaces against flat ground (Lambert, with light from the sky).

        Parameters
        ----------
        slope_xy : array, [..., 2]
            Rise of the surface per metre along x and y.
        """
        s = np.asarray(slope_xy, np.float32)
        run = -(s[..., 0] * np.float32(self.towards[0]) + s[..., 1] * np.float32(self.towards[1]))
        norm = np.sqrt(1 + s[..., 0] ** 2 + s[..., 1] ** 2)
        direct = np.clip((run / np.float32(self.slope) + 1) / norm, 0, None)
        return np.asarray(0.32 + 0.68 * direct, np.float32)


@dataclass(frozen=True, slots=True)
class _Shape:
    points: Points  # [n, 2] in metres
    colour: tuple[int, int, int]
    height_m: float
    width_m: float | None  # a line of this width; None: an area


class Canvas:
    """Shapes to be drawn over ground; later ones cover earlier ones, trees cover what is lower.

    Parameters
    ----------
    gsd_m : float
        Metres of a pixel; positions are metres (x, y down) from the upper left corner.
    """

    def __init__(self, gsd_m: float) -> None:
        self.gsd_m = gsd_m
        self._shapes: list[_Shape] = []
        self._trees: list[npt.NDArray[np.float64]] = []

    def area(self, points: npt.ArrayLike, colour: Colour, height_m: float = 0.0) -> None:
        """Fill an outline, [n, 2] metres; `height_m` above the ground it casts a shadow."""
        self._add(points, colour, height_m, None)

    def line(
        self, points: npt.ArrayLike, width_m: float, colour: Colour, height_m: float = 0.0
    ) -> None:
        """Draw a line of some width."""
        self._add(points, colour, height_m, width_m)

    def disc(
        self, centre: npt.ArrayLike, radius_m: float, colour: Colour, height_m: float = 0.0
    ) -> None:
        """Fill a circle."""
        t = np.linspace(0, 2 * np.pi, 17)[:-1]
        ring = np.asarray(centre) + radius_m * np.stack([np.cos(t), np.sin(t)], axis=-1)
        self.area(ring, colour, height_m)

    def trees(
        self,
        points: npt.ArrayLike,
        radius_m: npt.ArrayLike,
        height_m: npt.ArrayLike,
        colours: npt.ArrayLike,
    ) -> None:
        """Plant trees.

        Parameters
        ----------
        points : array, [n, 2]
        radius_m, height_m : array, [n]
        colours : array of int, [n]
            Index into the shades of green, 0 (dark, bluish) to 63 (light, yellowish).
        """
        xy = np.asarray(points, np.float64).reshape(-1, 2)
        columns = [np.broadcast_to(a, len(xy)) for a in (radius_m, height_m, colours)]
        self._trees.append(np.column_stack([xy, *columns]))

    def fell(self, line: Points, distance_m: float) -> None:
        """Take away trees whose stems stand within a distance of a line, [n, 2]."""
        tree = KDTree(_dense(line, distance_m / 2))
        self._trees = [t[tree.query(t[:, :2])[0] > distance_m] for t in self._trees]

    def _add(
        self, points: npt.ArrayLike, colour: Colour, height_m: float, width_m: float | None
    ) -> None:
        r, g, b = (int(min(max(c, 0), 255)) for c in colour)
        shape = _Shape(np.asarray(points, np.float64), (r, g, b), height_m, width_m)
        self._shapes.append(shape)

    def render(self, ground: Field, sun: Sun) -> None:
        """Draw everything over `ground` in place.

        Parameters
        ----------
        ground : array of float32, [H, W, 3]
            0 to 255.
        sun : Sun
        """
        boxes = np.array(
            [[*s.points.min(axis=0), *s.points.max(axis=0)] for s in self._shapes]
        ).reshape(-1, 4)
        pads = np.array([s.width_m or 0.0 for s in self._shapes])
        heights = np.array([s.height_m for s in self._shapes])
        boxes[:, :2] -= pads[:, None]
        boxes[:, 2:] += pads[:, None]
        forest = np.concatenate([np.zeros((0, 5)), *self._trees])
        shadow_px = 1 / sun.slope / self.gsd_m
        widest = int(np.ceil(shadow_px * max(heights.max(initial=0), forest[:, 3].max(initial=0))))
        for top in range(0, ground.shape[0], _TILE_PX):
            for left in range(0, ground.shape[1], _TILE_PX):
                view = ground[top : top + _TILE_PX, left : left + _TILE_PX]
                corner = np.array([left, top]) * self.gsd_m
                size = np.array(view.shape[1::-1]) * self.gsd_m
                low, high = corner - widest * self.gsd_m, corner + size + widest * self.gsd_m
                near = (boxes[:, :2] < high).all(axis=1) & (boxes[:, 2:] > low).all(axis=1)
                reach = forest[:, 2:3]
                close = (forest[:, :2] - reach < high) & (forest[:, :2] + reach > low)
                shapes = [self._shapes[i] for i in np.flatnonzero(near)]
                trees = forest[close.all(axis=1)]
                if shapes or len(trees):
                    # Only as much around the tile as the tallest thing here can shade.
                    tallest = max(heights[near].max(initial=0), trees[:, 3].max(initial=0))
                    margin_px = int(np.ceil(shadow_px * tallest)) + 4
                    start = corner - margin_px * self.gsd_m
                    _render_tile(view, shapes, trees, start, self.gsd_m, margin_px, sun)


def _dense(line: Points, step_m: float) -> Points:
    """The line with points at most about `step_m` apart."""
    length = np.append(0.0, np.cumsum(np.hypot(*np.diff(line, axis=0).T)))
    at = np.linspace(0, length[-1], int(length[-1] / step_m) + 2)
    return np.stack([np.interp(at, length, line[:, 0]), np.interp(at, length, line[:, 1])], -1)


def _render_tile(
    view: Field,
    shapes: list[_Shape],
    trees: npt.NDArray[np.float64],
    low: Points,
    gsd_m: float,
    margin_px: int,
    sun: Sun,
) -> None:
    fine = gsd_m / _SUPERSAMPLING
    h, w = ((n + 2 * margin_px) * _SUPERSAMPLING for n in view.shape[:2])
    picture = Image.new("RGBA", (w, h), (0, 0, 0, 0))
    relief = Image.new("F", (w, h), 0.0)
    paint, raise_ = ImageDraw.Draw(picture), ImageDraw.Draw(relief)
    for shape in shapes:
        # On a lattice common to all tiles, so that rounding leaves no seams between them.
        step = 1.0 if shape.width_m else 1 / 64
        lattice = np.floor((shape.points / fine - 0.5) / step + 0.5) * step
        points = [tuple(p) for p in (lattice - np.round(low / fine)).tolist()]
        colour = (*shape.colour, 255)
        if shape.width_m is None:
            paint.polygon(points, fill=colour)
            raise_.polygon(points, fill=shape.height_m)
        else:
            width = max(1, round(shape.width_m / fine))
            paint.line(points, fill=colour, width=width, joint="curve")
            if shape.height_m > 0:
                raise_.line(points, fill=shape.height_m, width=width, joint="curve")

    keep = slice(margin_px * _SUPERSAMPLING, -margin_px * _SUPERSAMPLING)
    height = np.array(relief)  # [h, w]
    rgba = np.array(picture)[keep, keep]
    colours = rgba[..., :3].astype(np.float32)
    cover = rgba[..., 3] > 0
    if len(trees):
        canopy, shade = _canopy(trees, height.shape, low, fine, sun)
        above = canopy > height
        height = np.maximum(height, canopy)
        crown = above[keep, keep]
        tone, light = shade
        colours[crown] = _greens()[tone[keep, keep][crown]] * light[keep, keep][crown][:, None]
        cover |= crown
    lit = 1 - _cast_shadow(height, fine, sun)[keep, keep]  # [h, w]
    clear = np.where(cover, np.float32(0), np.float32(1))
    colours *= (1 - clear)[..., None]
    dark, bright = _shrink(colours * (1 - lit)[..., None]), _shrink(colours * lit[..., None])
    through_dark = _shrink((clear * (1 - lit))[..., None])
    through_bright = _shrink((clear * lit)[..., None])
    view *= through_bright + through_dark * _SKY_LIGHT
    view += bright + dark * _SKY_LIGHT


def _shrink(fine: Field) -> Field:
    """Average of each block of fine pixels, [h, w, c]."""
    k = _SUPERSAMPLING
    total = np.zeros((fine.shape[0] // k, fine.shape[1] // k, fine.shape[2]), np.float32)
    for i in range(k):
        for j in range(k):
            total += fine[i::k, j::k]
    total /= k * k
    return total


def _cast_shadow(height: Field, fine_m: float, sun: Sun) -> Field:
    """Where something towards the sun stands above the ray of light, soft by about a metre.

    The highest obstacle is found by doubling: the shadow of 2k steps is that of k steps, and the
    same again from k steps on.
    """
    tallest = float(height.max())
    if tallest <= 0:
        return np.zeros_like(height)
    step = sun.towards
    ray = np.full_like(height, -1e3)
    first = _shifted(height, step) - np.float32(fine_m * sun.slope)
    ray = np.maximum(ray, first)
    reach = 1
    while reach * fine_m * sun.slope < tallest:
        further = _shifted(ray, step * reach) - np.float32(reach * fine_m * sun.slope)
        ray = np.maximum(ray, further)
        reach *= 2
    return np.asarray(np.clip((ray - height) / np.float32(1.2), 0, 1), np.float32)


def _shifted(field: Field, step: Points) -> Field:
    """The field as seen `step` pixels further on; beyond the rim lies nothing."""
    dx, dy = (round(float(s)) for s in step)
    h, w = field.shape
    out = np.full_like(field, -1e3)
    rows = slice(max(0, -dy), min(h, h - dy))
    cols = slice(max(0, -dx), min(w, w - dx))
    source = field[rows.start + dy : rows.stop + dy, cols.start + dx : cols.stop + dx]
    out[rows, cols] = source
    return out


def _greens() -> Field:
    """Shades of leaves, [64, 3]."""
    t = np.linspace(0, 1, _TREE_COLOURS)[:, None]
    dark, mid, light = np.array([[[56, 74, 52]], [[82, 102, 60]], [[120, 128, 76]]], np.float64)
    return np.asarray(
        np.where(t < 0.5, dark + 2 * t * (mid - dark), mid + (2 * t - 1) * (light - mid)),
        np.float32,
    )


def _canopy(
    trees: npt.NDArray[np.float64], shape: tuple[int, ...], low: Points, fine_m: float, sun: Sun
) -> tuple[Field, tuple[npt.NDArray[np.intp], Field]]:
    """Heights of the crowns and their colours.

    Crowns are domes with a few bumps. The highest wins: height and colour travel in one integer,
    so that one unbuffered maximum decides both.
    """
    h, w = shape
    pad = int(np.ceil(trees[:, 2].max() / fine_m)) + 1
    packed = np.zeros((h + 2 * pad, w + 2 * pad), np.int32)
    xy = (trees[:, :2] - low) / fine_m + pad
    sizes = np.maximum(np.round(trees[:, 2] / fine_m), 1).astype(np.intp)
    for size in np.unique(sizes):
        group = sizes == size
        span = np.arange(-size, size + 1)
        dy, dx = (d.ravel() for d in np.meshgrid(span, span, indexing="ij"))
        angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx) / size
        turn = (trees[group, :1] * 7.3 + trees[group, 1:2] * 3.1) % (2 * np.pi)  # [n, 1]
        lobes = 0.86 + 0.14 * np.sin(5 * angle + turn) * np.cos(2 * angle - turn)
        dome = 1 - (distance / lobes) ** 2  # [n, k]
        inside = dome > 0
        # A crown is not a hemisphere: its rim hangs well above the ground.
        height = trees[group, 3:4] * (0.55 + 0.45 * np.sqrt(np.clip(dome, 0, 1)))
        value = (height * 256).astype(np.int32) * _TREE_COLOURS + trees[group, 4:5].astype(np.int32)
        rows = np.floor(xy[group, 1:]).astype(np.intp) + dy
        cols = np.floor(xy[group, :1]).astype(np.intp) + dx
        inside &= (rows >= 0) & (rows < packed.shape[0]) & (cols >= 0) & (cols < packed.shape[1])
        flat = rows[inside] * packed.shape[1] + cols[inside]
        np.maximum.at(packed.reshape(-1), flat, value[inside])
    packed = packed[pad : pad + h, pad : pad + w]
    canopy = np.asarray((packed // _TREE_COLOURS) / np.float32(256), np.float32)
    dy_m, dx_m = np.gradient(canopy, fine_m)
    slope = np.stack([np.clip(dx_m, -1.6, 1.6), np.clip(dy_m, -1.6, 1.6)], axis=-1)
    return canopy, ((packed % _TREE_COLOURS).astype(np.intp), sun.shade(0.7 * slope))


def rectangle(centre: npt.ArrayLike, angle: float, length: float, width: float) -> Points:
    """Corners of a rectangle whose length runs at `angle` (radians, x towards y), [4, 2]."""
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * width / 2
    middle = np.asarray(centre, np.float64)
    return np.array(
        [
            middle - along - across,
            middle + along - across,
            middle + along + across,
            middle - along + across,
        ]
    )


def polygon_share(
    outline: Points, shape: tuple[int, ...], gsd_m: float
) -> tuple[tuple[slice, slice], Field]:
    """Where an outline lies on a picture, and the share of each pixel that it covers.

    Returns
    -------
    window : (slice, slice)
        Rows and columns of its bounding box.
    share : array of float32, [h, w]
    """
    k = 3
    pixels = outline / gsd_m
    x0, y0 = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, shape[1::-1])
    if x1 <= x0 or y1 <= y0:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
    mask = Image.new("L", (int(x1 - x0) * k, int(y1 - y0) * k), 0)
    points = [tuple(p) for p in ((pixels - (x0, y0)) * k - 0.5).tolist()]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    share = np.asarray(mask.reduce(k), np.float32) / np.float32(255)
    return (slice(int(y0), int(y1)), slice(int(x0), int(x1))), share


def stain(ground: Field, outline: Points, colour: Colour, opacity: float, gsd_m: float) -> None:
    """Mix a colour into the ground inside an outline, in place."""
    window, share = polygon_share(outline, ground.shape, gsd_m)
    target = ground[window]
    target += (np.array(colour, np.float32) - target) * (share * np.float32(opacity))[..., None]
