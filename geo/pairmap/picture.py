"""The pair map as one PNG."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from geo.pairmap.colours import AERIAL, SATELLITE, colours_of, is_kept
from geo.pairmap.content import ACCEPTED, PairMap
from geo.pairmap.table import head_of, table_of
from geo.pairmap.view import Arrow, View, arrows_of, view_of

_WIDTH, _MIN_HEIGHT, _MAX_HEIGHT = 1400, 460, 1000
_FINE = 2  # drawn larger and brought down, so that lines are smooth
_PAPER, _INK, _QUIET, _LINE = "#fbfbf9", "#1d2328", "#5d6770", "#c9cdcf"
_LISTED = 14  # scene pairs in the table of the picture
_ARROW_SHARE = 0.1  # of the map's smaller side, for the longest shift

_Floats = npt.NDArray[np.float64]


def draw_png(content: PairMap) -> bytes:
    """PNG file of a map with its legend and its table."""
    canvas = _Canvas(content, view_of(content))
    canvas.draw_map()
    map_image = canvas.image.resize(canvas.size, Image.Resampling.LANCZOS)
    legend = list(_legend(content, canvas))
    lines = [head_of(content), *table_of(content, most=_LISTED)]
    head, row = 58, 24
    legend_rows = -(-len(legend) // 4)
    height = head + canvas.size[1] + 20 + legend_rows * row + 24 + len(lines) * row + 20
    page = Image.new("RGB", (_WIDTH, height), _PAPER)
    page.paste(map_image, (0, head))
    draw = ImageDraw.Draw(page)
    draw.text((20, 16), _fit(draw, content.title, 24, _WIDTH - 40), _INK, font=_font(24))
    y = head + canvas.size[1] + 16
    _draw_legend(draw, legend, y, row)
    _draw_table(draw, lines, y + legend_rows * row + 18, row)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Canvas:
    """The map itself."""

    def __init__(self, content: PairMap, view: View) -> None:
        self.content, self.view = content, view
        left, top, right, bottom = view.bounds
        wide, high = right - left, bottom - top
        height = int(np.clip(_WIDTH * high / wide, _MIN_HEIGHT, _MAX_HEIGHT))
        self.size = (_WIDTH, height)
        self.px_per_km = _FINE * min(_WIDTH / wide, height / high)
        middle = ((left + right) / 2, (top + bottom) / 2)
        self._origin = np.array(
            [
                _FINE * _WIDTH / 2 - middle[0] * self.px_per_km,
                _FINE * height / 2 - middle[1] * self.px_per_km,
            ]
        )
        self.image = Image.new("RGB", (_FINE * _WIDTH, _FINE * height), "#ffffff")
        self.ink = ImageDraw.Draw(self.image)
        self.arrows = arrows_of(content, view)
        self.longest_px = max((a.length_px for a in self.arrows), default=0.0)

    def place(self, km: npt.ArrayLike) -> _Floats:
        """Pixels of positions in km."""
        return np.asarray(np.asarray(km) * self.px_per_km + self._origin)

    def draw_map(self) -> None:
        """Chips, then footprints, then shifts, then the scale."""
        self._chips()
        for side, colour, dash in (("satellite", SATELLITE, 0), ("aerial", AERIAL, 14)):
            for outline in self.content.outlines:
                if outline.side == side:
                    for ring in self.view.rings(outline.footprint, 0.5 / self.px_per_km):
                        self._ring(self.place(ring), colour, dash)
        for arrow in self.arrows:
            self._arrow(arrow)
        self._scale_bar()

    def _chips(self) -> None:
        chips = self.content.chips
        if not len(chips):
            return
        corners = self.place(self.view.to_km(chips.corners))  # [n, 4, 2]
        if chips.stride > 1:
            corners = corners.mean(axis=1, keepdims=True) + chips.stride * (
                corners - corners.mean(axis=1, keepdims=True)
            )
        colours = colours_of(chips.names)
        kept = np.array([is_kept(name) for name in chips.names])[chips.code]
        covered = chips.covered
        corners[covered] = _lower_left(corners[covered])
        for i in [*np.flatnonzero(kept), *np.flatnonzero(~kept)]:
            shape = [tuple(p) for p in corners[i]]
            side = math.dist(shape[0], shape[1])
            edge = _PAPER if side > 8 else None
            self.ink.polygon(shape, fill=colours[chips.names[chips.code[i]]], outline=edge)
            if not kept[i] and side > 10:
                self.ink.line([shape[3], shape[1]], fill=_INK, width=1 if covered[i] else 2)

    def _ring(self, ring: _Floats, colour: str, dash: int) -> None:
        pieces = _dashes(ring, dash, self.image.size) if dash else [ring]
        for piece in pieces:
            self.ink.line([tuple(p) for p in piece], fill=colour, width=2 * _FINE)

    def _arrow(self, arrow: Arrow) -> None:
        """A shift, much enlarged: white under black, so that it shows on any ground."""
        if arrow.length_px == 0:
            return
        start = self.place(arrow.at_km)
        reach = _ARROW_SHARE * min(self.image.size) * arrow.length_px / self.longest_px
        direction = np.array(arrow.shift_yx[::-1]) / arrow.length_px
        tip, across = start + direction * reach, np.array([-direction[1], direction[0]])
        head = min(9 * _FINE, reach / 2)
        barbs = [tip - direction * head + sign * across * head * 0.6 for sign in (-1, 1)]
        for colour, width in (("#ffffff", 5 * _FINE), ("#000000", 2 * _FINE)):
            self.ink.line([tuple(start), tuple(tip)], fill=colour, width=width)
            for barb in barbs:
                self.ink.line([tuple(tip), tuple(barb)], fill=colour, width=width)
        radius = 2.5 * _FINE
        box = (start[0] - radius, start[1] - radius, start[0] + radius, start[1] + radius)
        self.ink.ellipse(box, fill="#000000", outline="#ffffff")

    def _scale_bar(self) -> None:
        wide, high = self.image.size
        km = _round_down(0.22 * wide / self.px_per_km)
        length = km * self.px_per_km
        x, y = 24 * _FINE, high - 26 * _FINE
        text = f"{km:g} km" if km >= 1 else f"{km * 1000:g} m"
        font = _font(15 * _FINE)
        box = (x - 10 * _FINE, y - 30 * _FINE, x + length + 10 * _FINE, y + 12 * _FINE)
        self.ink.rectangle(box, fill="#ffffff", outline=_LINE)
        self.ink.line([(x, y), (x + length, y)], fill=_INK, width=3 * _FINE)
        self.ink.text((x, y - 24 * _FINE), text, _INK, font=font)


def _lower_left(corners: _Floats) -> _Floats:
    """The lower left corner of chips: what another date had refused, upon what was kept."""
    anchor = corners[:, 3:4]
    return np.asarray(anchor + 0.36 * (corners - anchor))


def _dashes(ring: _Floats, length: int, size: tuple[int, int]) -> Iterator[_Floats]:
    """Pieces of a line, as far as they can be seen."""
    for start, end in itertools.pairwise(ring):
        piece = _clip(start, end, size)
        if piece is None:
            continue
        start, end = piece
        count = max(1, int(np.hypot(*(end - start)) / (2 * length * _FINE)))
        for i in range(count):
            a, b = (i + 0.0) / count, (i + 0.6) / count
            yield np.array([start + (end - start) * a, start + (end - start) * b])


def _clip(start: _Floats, end: _Floats, size: tuple[int, int]) -> tuple[_Floats, _Floats] | None:
    """The part of a line inside the picture (Liang and Barsky, 1984)."""
    low, high = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        for edge, sign in ((0.0, -1.0), (float(size[axis]), 1.0)):
            gap, pace = sign * (edge - start[axis]), sign * step
            if pace == 0:
                if gap < 0:
                    return None
            elif pace > 0:
                high = min(high, gap / pace)
            else:
                low = max(low, gap / pace)
    if low >= high:
        return None
    return start + (end - start) * low, start + (end - start) * high


def _legend(content: PairMap, canvas: _Canvas) -> Iterator[tuple[str, str, str]]:
    """Kind of sign, colour, text."""
    counts: dict[str, int] = dict.fromkeys(content.chips.names, 0)
    for entry in content.pairs:
        for name, count in entry.chips.items():
            counts[name] = counts.get(name, 0) + count
    colours = colours_of(content.chips.names)
    for name in content.chips.names:
        kind = "chip" if is_kept(name) else "crossed"
        text = f"{counts[name]} {name}" if is_kept(name) else f"{counts[name]} refused: {name}"
        yield kind, colours[name], text
    yield "line", SATELLITE, "satellite footprint"
    yield "dashed", AERIAL, "aerial footprint"
    if canvas.longest_px > 0:
        yield "arrow", "#000000", f"shift, the longest {canvas.longest_px:.2f} px"
    gaps = sorted(e.gap_days for e in content.pairs if e.chips[ACCEPTED] and e.gap_days is not None)
    if gaps:
        yield "none", _INK, f"gap {gaps[0]:.1f} to {gaps[-1]:.1f} days"
    if content.chips.stride > 1:
        n = content.chips.stride
        yield "none", _INK, f"each square stands for {n} x {n} chips"


def _draw_legend(
    draw: ImageDraw.ImageDraw, legend: Sequence[tuple[str, str, str]], y: float, row: int
) -> None:
    column = (_WIDTH - 40) / 4
    for i, (kind, colour, text) in enumerate(legend):
        x, top = 20 + (i % 4) * column, y + (i // 4) * row
        middle = top + 9
        if kind in ("chip", "crossed"):
            draw.rectangle((x, top + 1, x + 16, top + 17), fill=colour, outline=_QUIET)
        if kind == "crossed":
            draw.line([(x, top + 17), (x + 16, top + 1)], fill=_INK)
        elif kind == "line":
            draw.line([(x, middle), (x + 18, middle)], fill=colour, width=3)
        elif kind == "dashed":
            for a in (0, 11):
                draw.line([(x + a, middle), (x + a + 7, middle)], fill=colour, width=3)
        elif kind == "arrow":
            draw.line([(x, middle), (x + 18, middle)], fill=colour, width=2)
            draw.line([(x + 12, middle - 5), (x + 18, middle), (x + 12, middle + 5)], fill=colour)
        draw.text((x + 26, top), _fit(draw, text, 14, column - 34), _INK, font=_font(14))


def _draw_table(
    draw: ImageDraw.ImageDraw, lines: Sequence[Sequence[str]], y: float, row: int
) -> None:
    starts = (20, 300, 580, 660, 790, 880, 960, _WIDTH - 16)
    for i, line in enumerate(lines):
        quiet = i == 0
        for text, start, end in zip(line, starts[:-1], starts[1:], strict=True):
            shown = _fit(draw, text, 14, end - start - 10)
            draw.text((start, y), shown, _QUIET if quiet else _INK, font=_font(14))
        y += row
        if quiet or i == len(lines) - 2:
            draw.line([(20, y - 3), (_WIDTH - 20, y - 3)], fill=_LINE)


def _fit(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Text cut to a width; what catalogues write may be long and hold line ends."""
    text = " ".join(text.split())[:400]
    font = _font(size)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[: -max(1, len(text) // 20)]
    return text + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(step for step in (1, 2, 5) if step * power <= value)
