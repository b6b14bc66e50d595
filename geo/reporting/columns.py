"""Rows of tiles as the page carries them: columns, small enough for tens of thousands of tiles."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.reporting.summary import Rows

# Where a tile is, and sums that only pooling needs, are no columns to look at.
_HIDDEN = {"tile", "row", "col", "geometry", "values"}
_SUMS = ("squared_error", "confusion")
# Bytes for all columns together: past it the last ones are left out, and the page says which.
BUDGET = 14_000_000
_NAME_CHARS = 300


def tile_columns(rows: Rows, budget: int = BUDGET) -> dict[str, Any]:
    """What the page needs to know of every tile.

    Returns
    -------
    dict
        ``count``; ``row`` and ``col`` (int32); ``tiles``, the names, or None where they follow from
        row and column; ``columns``, each with ``name`` and either ``constant`` or ``data`` (base64,
        little-endian) of the type ``kind``: ``f4``, where null is NaN, or ``u1``, ``u2``, ``u4``,
        codes into ``names`` plus one, where null is 0; ``left_out``, names of columns that the
        budget did not allow. Columns without any value are absent.
    """
    names = [str(row["tile"]) for row in rows]
    derived = [f"r{row['row']}_c{row['col']}" for row in rows]
    columns, left_out, size = [], [], 0
    for name in _column_names(rows):
        column = _column([row.get(name) for row in rows])
        if column is None:
            continue
        size += len(column.get("data", "")) + sum(map(len, column.get("names", ())))
        if size > budget:
            left_out.append(name)
        else:
            columns.append({"name": name, **column})
    return {
        "count": len(rows),
        "row": _base64(np.array([row["row"] for row in rows], "<i4")),
        "col": _base64(np.array([row["col"] for row in rows], "<i4")),
        "tiles": None if names == derived else names,
        "columns": columns,
        "left_out": left_out,
    }


def _column_names(rows: Rows) -> list[str]:
    """Names in the order of the rows, those of SR before those of bicubic and others."""
    seen = dict.fromkeys(name for row in rows for name in row)
    shown = [n for n in seen if n not in _HIDDEN and not n.endswith(_SUMS)]
    return sorted(shown, key=lambda name: name.startswith(("bicubic_", "other_", "real_")))


def _column(values: list[Any]) -> dict[str, Any] | None:
    """One column in the shortest form that keeps null apart from zero; None without any value."""
    known = [value for value in values if value is not None and value == value]  # NaN is unknown
    if not known:
        return None
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in known):
        numbers = np.array([np.nan if v is None else v for v in values], "<f4")
        if (numbers == numbers[0]).all() and np.isfinite(numbers[0]):
            return {"kind": "f4", "constant": float(f"{known[0]:.7g}")}
        return {"kind": "f4", "data": _base64(numbers)}
    texts = [None if v is None or v != v else str(v)[:_NAME_CHARS] for v in values]
    names = sorted({text for text in texts if text is not None})
    codes = {name: code for code, name in enumerate(names, start=1)}
    if len(names) == 1 and None not in texts:
        return {"kind": "u1", "names": names, "constant": 1}
    kind = "u1" if len(names) < 2**8 else "u2" if len(names) < 2**16 else "u4"
    data = np.array([0 if text is None else codes[text] for text in texts], f"<{kind}")
    return {"kind": kind, "names": names, "data": _base64(data)}


def _base64(data: npt.NDArray[Any]) -> str:
    return base64.b64encode(data.tobytes()).decode()
