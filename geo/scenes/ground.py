"""Made ground on a date: everything drawn, and what changes from one date to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.scenes.buildings import boat
from geo.scenes.canvas import Canvas, Sun, polygon_share, stain
from geo.scenes.farmland import FieldPlot, sow_fields
from geo.scenes.harbour import build_port
from geo.scenes.layout import Layout, Points, make_layout
from geo.scenes.nature import make_nature, plant_woods
from geo.scenes.noise import Field, fractal, stream
from geo.scenes.routes import draw_river, draw_roads
from geo.scenes.settlement import build_city, build_suburbs

_HAZE = np.float32(0.22)
# What a cut does to a field's colour: paler and drier.
_CUT = np.array([1.16, 1.07, 1.04], np.float32)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Made ground.

    Parameters
    ----------
    colour : array of float32, [H, W, 3]
        0 to 255: what a camera would record above, without boats on the open sea.
    layout : Layout
    gsd_m : float
    plots : tuple of FieldPlot
    seed : int
    sun : Sun
    """

    colour: Field
    layout: Layout
    gsd_m: float
    plots: tuple[FieldPlot, ...]
    seed: int
    sun: Sun

    def on(self, gap_days: int) -> Field:
        """The ground so many days after the aerial acquisition (before: negative), [H, W, 3].

        Boats are elsewhere on every date; ripe fields are cut as weeks go by, and after a season
        most fields bear something else.
        """
        colour = self.colour.copy()
        for index, plot in enumerate(self.plots):
            self._change(colour, plot, index, gap_days)
        self._sail(colour, gap_days)
        return np.clip(colour, 0, 255, out=colour)

    def _change(self, colour: Field, plot: FieldPlot, index: int, gap_days: int) -> None:
        rng = stream(self.seed, "season", index)
        cut_on, again = rng.integers(1, 60), rng.uniform()
        recolour = np.exp(rng.normal(0, 0.22, 3) + rng.normal(0, 0.12)).astype(np.float32)
        if abs(gap_days) > 60:
            if again > 0.75:
                return
            factor = recolour
        elif plot.ripe and 0 < cut_on <= gap_days:
            factor = _CUT
        else:
            return
        window, share = polygon_share(plot.outline, colour.shape, self.gsd_m)
        colour[window] *= 1 + (factor - 1) * share[..., None]

    def _sail(self, colour: Field, gap_days: int) -> None:
        """Boats on the open sea, most of them with a wake."""
        layout, gsd_m = self.layout, self.gsd_m
        rng = stream(self.seed, "boats", gap_days)
        count = 3 + int(rng.poisson(11 * np.prod(layout.extent_m) / 3072.0**2))
        height, width = layout.extent_m
        tries = rng.uniform((0, 0), (width, height), (60 * count, 2))
        offshore = np.asarray(layout.sample(layout.sea_m, tries)) > 0.045 * layout.size_m
        local = np.abs(layout.port.locate(tries))
        free = (local[:, 0] > 0.55 * layout.port_length_m) | (local[:, 1] > layout.port_reach_m)
        canvas = Canvas(gsd_m)
        for spot in tries[offshore & free][:count]:
            angle, length = rng.uniform(0, 2 * np.pi), float(rng.choice([7, 9, 12, 16, 24]))
            reach = length * rng.uniform(5, 11)
            end = spot - reach * np.array([np.cos(angle), np.sin(angle)])
            local = np.abs(layout.port.locate(end))
            clear = local[0] > 0.55 * layout.port_length_m or local[1] > layout.port_reach_m
            if clear and layout.sample(layout.sea_m, end) > 40 and rng.uniform() < 0.8:
                self._wake(colour, spot, angle, length, reach)
            boat(canvas, rng, spot, angle, length)
        canvas.render(colour, self.sun)

    def _wake(self, colour: Field, spot: Points, angle: float, length: float, reach: float) -> None:
        """Foam behind a boat: a fading trail and two arms."""
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        parts = 14
        for i in range(parts):
            near, far = i / parts, (i + 1) / parts
            fade = (1 - near) ** 1.5
            for side, spread, width in ((0.0, 0.0, 0.16), (-1.0, 0.16, 0.05), (1.0, 0.16, 0.05)):
                a = spot - along * (reach * near - 0.3 * length)
                b = spot - along * (reach * far - 0.3 * length)
                a = a + across * side * spread * reach * near
                b = b + across * side * spread * reach * far
                half = across * (0.3 + width * length * (1 + near))
                outline = np.array([a - half, b - half, b + half, a + half])
                stain(
                    colour,
                    outline,
                    (218, 226, 226),
                    (0.75 if side == 0 else 0.4) * fade,
                    self.gsd_m,
                )


def make_ground(seed: int, shape: tuple[int, int], gsd_m: float) -> Ground:
    """Make the ground of a region.

    Parameters
    ----------
    seed : int
    shape : (H, W)
        Pixels.
    gsd_m : float
        Metres of a pixel.

    Returns
    -------
    Ground
    """
    sun = Sun()
    cells = int(np.clip(max(shape) / 3, 192, 400))
    layout = make_layout(seed, (shape[0] * gsd_m, shape[1] * gsd_m), cells=cells)
    nature = make_nature(layout, seed, shape, gsd_m, sun)
    colour = nature.colour
    canvas = Canvas(gsd_m)
    plant_woods(canvas, nature, layout, seed)
    plots = sow_fields(canvas, colour, nature.woods, layout, seed, gsd_m, sun)
    draw_river(canvas, layout, nature.height_m, seed)
    draw_roads(canvas, layout, nature.height_m, seed, sun)
    build_suburbs(canvas, layout, seed, sun)
    build_city(canvas, layout, seed, sun)
    build_port(canvas, layout, seed, sun)
    canvas.render(colour, sun)
    grain = fractal(stream(seed, "grain"), shape, 7 / gsd_m, octaves=2, gain=0.8)
    colour *= (1 + 0.018 * grain)[..., None]
    # The air between: colours lose some of their strength.
    grey = colour.mean(axis=-1, keepdims=True)
    colour += _HAZE * (grey - colour)
    colour += np.array([5, 7, 10], np.float32)
    return Ground(colour=colour, layout=layout, gsd_m=gsd_m, plots=tuple(plots), seed=seed, sun=sun)
