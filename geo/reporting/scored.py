"""Scores of tiles with what they rest on, on their way to and from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geo.errors import ReportError

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ScoredTiles:
    """Scores of tiles, by column.

    Parameters
    ----------
    name : str
        What people call them.
    columns : dict of str to array, [tiles]
        Numbers as float64, NaN where nothing is known; texts as objects, None where nothing is.
        ``tile``, ``row`` and ``col`` at least, and the scores as `score_pair` names them.
    facts : mapping
        What ``summary.json`` holds: at least ``data_range``.
    """

    name: str
    columns: Columns
    facts: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["tile"])

    @property
    def data_range(self) -> float:
        """The DN that means 1.0."""
        return float(self.facts["data_range"])

    def text(self, name: str) -> npt.NDArray[np.object_]:
        """A column of texts; None everywhere where there is no such column."""
        return self.columns.get(name, np.full(len(self), None, object))

    def picked(self, places: npt.NDArray[np.intp]) -> Columns:
        """Rows in an order of their own."""
        return {name: column[places] for name, column in self.columns.items()}


def read_scored(folder: Path, name: str | None = None) -> ScoredTiles:
    """Read ``tiles.parquet`` and ``summary.json`` of a report.

    Raises
    ------
    ReportError
        If one of them is missing or is not what a report writes.
    """
    try:
        facts = json.loads((folder / "summary.json").read_text())
        table = pq.read_table(folder / "tiles.parquet")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ReportError(
            f"{folder}: no report can be read there ({error}); wanted a folder that `skyscale "
            "report` wrote, with tiles.parquet and summary.json"
        ) from error
    missing = [c for c in ("tile", "row", "col") if c not in table.column_names]
    missing += [key for key in ("data_range",) if not facts.get(key)]
    if missing:
        raise ReportError(
            f"{folder}: the report lacks {', '.join(missing)}; write it anew with `skyscale report`"
        )
    # Lists are sums of a tile's map, which only pooling within its own report needs.
    flat = [field for field in table.schema if not pa.types.is_list(field.type)]
    columns = {field.name: _column(table[field.name], field.type) for field in flat}
    return ScoredTiles(name=name or str(folder), columns=columns, facts=facts)


def write_scored(scored: ScoredTiles, folder: Path) -> dict[str, Path]:
    """Write what `read_scored` reads; returns the files by name."""
    files = {"tiles": folder / "tiles.parquet", "summary": folder / "summary.json"}
    folder.mkdir(parents=True, exist_ok=True)
    write_table(scored.columns, files["tiles"])
    files["summary"].write_text(json.dumps(dict(scored.facts), indent=2) + "\n")
    return files


def write_table(columns: Columns, path: Path) -> None:
    """Write columns as Parquet, NaN as null."""
    table = {
        name: pa.array(column, from_pandas=column.dtype.kind == "f")
        for name, column in columns.items()
    }
    pq.write_table(pa.table(table), path)


def _column(column: pa.ChunkedArray, kind: pa.DataType) -> npt.NDArray[Any]:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.array([np.nan if v is None else v for v in column.to_pylist()], np.float64)
    found = np.empty(len(column), object)
    found[:] = column.to_pylist()
    return found
