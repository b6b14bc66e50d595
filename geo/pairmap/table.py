"""The table under a pair map: a line for each scene pair, and the totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from geo.pairmap.content import ACCEPTED, PLANNED, PairEntry, PairMap

HEAD = ("satellite", "aerial", "gap, days", "shift, px", "reliability", "pairs", "refused")


def head_of(content: PairMap) -> tuple[str, ...]:
    """Names of the columns."""
    return tuple("chips" if name == "pairs" and content.alone else name for name in HEAD)


def table_of(content: PairMap, *, most: int = 60) -> list[tuple[str, ...]]:
    """Lines of the table without its head; the last one holds the totals."""
    lines = [line_of(entry) for entry in content.pairs[:most]]
    if (left_out := len(content.pairs) - len(lines)) > 0:
        lines.append((f"and {left_out} more", "", "", "", "", "", ""))
    total: Counter[str] = Counter()
    for entry in content.pairs:
        total.update(entry.chips)
    refused = Counter(e.reason for e in content.pairs if e.state == "refused" and e.reason)
    paired = sum(e.state == "paired" for e in content.pairs)
    planned = sum(e.state == PLANNED for e in content.pairs)
    unit = "scenes" if content.alone else "scene pairs"
    told = f"{paired} {unit}" if paired or not planned else f"{planned} planned"
    more = f"{sum(refused.values())} {unit} ({_say(refused)})" if refused else ""
    chips = _say_refused(total)
    lines.append(
        (
            "total",
            told,
            "",
            "",
            "",
            str(total[ACCEPTED] or total[PLANNED]),
            "; ".join(part for part in (chips, more) if part),
        )
    )
    return lines


def line_of(entry: PairEntry) -> tuple[str, ...]:
    """What the table says of one scene pair."""
    shift = "" if entry.dy_px is None else f"{entry.dy_px:+.2f} {entry.dx_px:+.2f}"
    reliability = "" if entry.reliability is None else f"{entry.reliability:.2f}"
    return (
        entry.satellite,
        entry.aerial,
        "" if entry.gap_days is None else f"{entry.gap_days:.1f}",
        shift,
        reliability,
        str(entry.chips[ACCEPTED] or entry.chips[PLANNED]),
        f"all: {reason_of(entry)}" if entry.state == "refused" else _say_refused(entry.chips),
    )


def reason_of(entry: PairEntry) -> str:
    """Why a scene pair was refused, with value and limit."""
    text = entry.reason or ""
    if entry.value is not None:
        text += f" {entry.value:.3g}"
    if entry.limit is not None:
        text += f" against {entry.limit:.3g}"
    return text


def _say_refused(chips: Counter[str]) -> str:
    return _say(Counter({k: n for k, n in chips.items() if k not in (ACCEPTED, PLANNED)}))


def _say(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if n)


def as_text(lines: Sequence[Sequence[str]], head: Sequence[str] = HEAD) -> list[str]:
    """Lines of a table with columns under each other, for a terminal."""
    every = [head, *lines]
    widths = [min(36, max(len(line[i]) for line in every)) for i in range(len(head) - 1)]
    return [
        "  ".join(
            [_cut(cell, width).ljust(width) for cell, width in zip(line, widths, strict=False)]
            + [line[-1]]
        ).rstrip()
        for line in every
    ]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def as_markdown(lines: Sequence[Sequence[str]], head: Sequence[str] = HEAD) -> str:
    """The same as markdown; what catalogues say is text and stays text."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows)


_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*[]!|~<>&#"})


def _plain(text: str) -> str:
    """Text that is neither markdown nor HTML: signs that could be either are escaped."""
    return " ".join(text.split()).translate(_SIGNS)
