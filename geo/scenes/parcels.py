"""Land divided among people: rectangles within rectangles, bent until they look grown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo.scenes.layout import Frame, Points


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A piece of land in local metres, out to the middle of the roads around it.

    Parameters
    ----------
    x0, y0, x1, y1 : float
    gaps : (float, float, float, float)
        Half widths of the roads at its left, top, right and bottom side.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    gaps: tuple[float, float, float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        return self.x1 - self.x0, self.y1 - self.y0

    @property
    def centre(self) -> Points:
        """Middle of the cell."""
        return np.array([(self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2])

    def shrunk(self, extra: float = 0.0) -> Cell:
        """The cell without its half of the roads, and `extra` less on all sides."""
        left, top, right, bottom = self.gaps
        return Cell(
            x0=self.x0 + left + extra,
            y0=self.y0 + top + extra,
            x1=self.x1 - right - extra,
            y1=self.y1 - bottom - extra,
            gaps=(0, 0, 0, 0),
        )

    def outline(self, step: float = 12.0) -> Points:
        """Points around the cell, close enough to be bent."""
        across = max(2, int((self.x1 - self.x0) / step) + 1)
        down = max(2, int((self.y1 - self.y0) / step) + 1)
        x = np.linspace(self.x0, self.x1, across)
        y = np.linspace(self.y0, self.y1, down)
        return np.concatenate(
            [
                np.stack([x[:-1], np.full(across - 1, self.y0)], -1),
                np.stack([np.full(down - 1, self.x1), y[:-1]], -1),
                np.stack([x[:0:-1], np.full(across - 1, self.y1)], -1),
                np.stack([np.full(down - 1, self.x0), y[:0:-1]], -1),
            ]
        )

    def sides(self, step: float = 12.0) -> list[tuple[Points, float]]:
        """Left, top, right and bottom side as bendable lines, with the half width of its road."""
        x = np.linspace(self.x0, self.x1, max(2, int((self.x1 - self.x0) / step) + 1))
        y = np.linspace(self.y0, self.y1, max(2, int((self.y1 - self.y0) / step) + 1))
        lines = [
            np.stack([np.full_like(y, self.x0), y], -1),
            np.stack([x, np.full_like(x, self.y0)], -1),
            np.stack([np.full_like(y, self.x1), y], -1),
            np.stack([x, np.full_like(x, self.y1)], -1),
        ]
        return list(zip(lines, self.gaps, strict=True))


def divide(
    rng: np.random.Generator,
    half_size: float,
    *,
    largest: tuple[float, float],
    road_half_widths: tuple[float, ...],
    irregularity: float = 0.18,
) -> list[Cell]:
    """Divide a square by roads, the first ones the widest.

    Parameters
    ----------
    rng : numpy.random.Generator
    half_size : float
        The square reaches from minus to plus this.
    largest : (float, float)
        A cell is divided until it is no larger, along x and y.
    road_half_widths : tuple of float
        From the first division to the last; later ones take the last width.
    irregularity : float
        How far from the middle a division may fall, as a share of the side.

    Returns
    -------
    list of Cell
    """
    first = road_half_widths[0]
    todo = [(Cell(x0=-half_size, y0=-half_size, x1=half_size, y1=half_size, gaps=(first,) * 4), 0)]
    done: list[Cell] = []
    while todo:
        cell, depth = todo.pop()
        ratios = [side / limit for side, limit in zip(cell.size, largest, strict=True)]
        if max(ratios) <= rng.uniform(0.95, 1.35):
            done.append(cell)
            continue
        road = road_half_widths[min(depth // 2, len(road_half_widths) - 1)]
        share = 0.5 + irregularity * rng.uniform(-1, 1)
        left, top, right, bottom = cell.gaps
        if ratios[0] >= ratios[1]:
            x = cell.x0 + share * cell.size[0]
            a = Cell(x0=cell.x0, y0=cell.y0, x1=x, y1=cell.y1, gaps=(left, top, road, bottom))
            b = Cell(x0=x, y0=cell.y0, x1=cell.x1, y1=cell.y1, gaps=(road, top, right, bottom))
        else:
            y = cell.y0 + share * cell.size[1]
            a = Cell(x0=cell.x0, y0=cell.y0, x1=cell.x1, y1=y, gaps=(left, top, right, road))
            b = Cell(x0=cell.x0, y0=y, x1=cell.x1, y1=cell.y1, gaps=(left, road, right, bottom))
        todo += [(a, depth + 1), (b, depth + 1)]
    return done


@dataclass(frozen=True, kw_only=True)
class Bend:
    """A smooth bend of the plane, so that straight plans become streets that follow the land.

    Parameters
    ----------
    frame : Frame
        Place and direction of the plan.
    amplitude_m, wavelength_m : float
        Size of the bends.
    phases : array, [2, 3]
    """

    frame: Frame
    amplitude_m: float
    wavelength_m: float
    phases: Points

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        centre: Points,
        angle: float,
        amplitude_m: float,
        wavelength_m: float,
    ) -> Bend:
        """A random bend around `centre`."""
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        return cls(
            frame=Frame(centre=centre, along=along, across=across),
            amplitude_m=amplitude_m,
            wavelength_m=wavelength_m,
            phases=rng.uniform(0, 2 * np.pi, (2, 3)),
        )

    def place(self, points: Points) -> Points:
        """World positions of plan positions, [n, 2]."""
        k = 2 * np.pi / self.wavelength_m
        x, y = points[..., 0], points[..., 1]
        (a, b, c), (d, e, f) = self.phases
        bent = np.stack(
            [
                x
                + self.amplitude_m
                * (
                    np.sin(k * y + a)
                    + 0.5 * np.sin(k * (1.7 * y + 0.9 * x) + b)
                    + 0.4 * np.sin(0.6 * k * x + c)
                ),
                y
                + self.amplitude_m
                * (
                    np.sin(k * x + d)
                    + 0.5 * np.sin(k * (1.6 * x - 0.8 * y) + e)
                    + 0.4 * np.sin(0.6 * k * y + f)
                ),
            ],
            axis=-1,
        )
        return self.frame.place(bent)

    def direction(self, point: Points) -> float:
        """Angle in the world of the plan's x at a plan position."""
        a, b = self.place(point + np.array([[-2.0, 0.0], [2.0, 0.0]]))
        return float(np.arctan2(b[1] - a[1], b[0] - a[0]))
