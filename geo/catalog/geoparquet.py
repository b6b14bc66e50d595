"""Items as GeoParquet, in the layout of stac-geoparquet: one row an item, properties as columns.

DuckDB, geopandas, rustac and stac-geoparquet read these files
(https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md, and
https://geoparquet.org/releases/v1.1.0). Items of one table differ too much for types of columns to
hold every value exactly, so ours carry each item as JSON text as well, with what a refresh needs:
where it stands and its stamp.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import shapely.geometry

from geo.catalog.entry import Entry, refused
from geo.catalog.query import SceneQuery, parse_time, text_of
from geo.catalog.scene import Refusal
from geo.catalog.stac import BAD_ITEM, entry_of_item
from geo.errors import CatalogError, first_line
from geo.hrefs import is_remote

SUFFIXES = (".parquet", ".geoparquet")

_KEY, _STAMP, _JSON = "skyscale:key", "skyscale:stamp", "skyscale:item"
_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")
_TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets")
_ROW_GROUP = 10_000


def write_table(path: Path, entries: Sequence[Entry], facts: Mapping[str, Any]) -> None:
    """Write entries as one table, whole or not at all.

    Parameters
    ----------
    path : Path
    entries : sequence of Entry
        Items become rows; refusals stay beside them in the file's metadata.
    facts : dict
        JSON-able; given back by `read_facts`.
    """
    items = [entry for entry in entries if entry.text is not None]
    refusals = [{"key": e.key, "stamp": e.stamp, **asdict(e.refusal)} for e in entries if e.refusal]
    table = _table(items)
    table = table.replace_schema_metadata(
        {
            "geo": json.dumps(_geo(table["geometry"])),
            "stac-geoparquet": json.dumps({"version": "1.1.0"}),
            "skyscale:facts": json.dumps(dict(facts)),
            "skyscale:refusals": json.dumps(refusals),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def read_facts(path: Path) -> dict[str, Any]:
    """What was written beside the entries; empty for a table of others."""
    with _opened(str(path)) as file:
        found: dict[str, Any] = json.loads(_metadata(file).get("skyscale:facts", "{}"))
    return found


def read_table(
    source: str, query: SceneQuery | None = None, *, body: bytes | None = None
) -> Iterator[Entry]:
    """Entries of a GeoParquet file of items, ours or another's.

    Parameters
    ----------
    source : str
        Path or URL; what hrefs are relative to.
    query : SceneQuery, optional
        Rows outside its time and box are left out where the columns say so.
    body : bytes, optional
        The file's content, when it was fetched.

    Raises
    ------
    CatalogError
        If it is no Parquet file of items, or damaged.
    """
    with _opened(source, body) as file:
        names = set(file.schema_arrow.names)
        if not {"id", "geometry"} <= names:
            raise CatalogError(
                f"{source}: no GeoParquet of items; it has the columns {', '.join(sorted(names))}; "
                "wanted id and geometry at least",
                href=source,
            )
        yield from _refusals(file, source)
        # What comes from the network is looked at as a stranger's, whatever it says it is.
        ours = {_KEY, _STAMP, _JSON} <= names and not is_remote(source)
        for batch in _batches(file, source):
            rows = batch.filter(_wanted(batch, query))
            if ours:
                for key, stamp, text in zip(
                    *(rows.column(name).to_pylist() for name in (_KEY, _STAMP, _JSON)), strict=True
                ):
                    yield Entry(key=key, stamp=stamp, text=text)
            else:
                for row in rows.to_pylist():
                    key = f"{source}#{row.get('collection') or ''}/{row['id']}"
                    try:
                        item = _item_of_row(row)
                    except BAD_ITEM as error:
                        yield refused(key, str(row["id"]), error)
                    else:
                        yield entry_of_item(item, key, base=source)


def _opened(source: str, body: bytes | None = None) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(io.BytesIO(body) if body is not None else source)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(
            f"{source}: not a Parquet file ({first_line(error)}); wanted a GeoParquet of items",
            href=source,
        ) from error


def _batches(file: pq.ParquetFile, source: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=_ROW_GROUP)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(
            f"{source}: its rows cannot be read ({first_line(error)}); fetch or write it anew",
            href=source,
        ) from error


def _refusals(file: pq.ParquetFile, source: str) -> Iterator[Entry]:
    """What was no scene when the table was written."""
    try:
        for refusal in json.loads(_metadata(file).get("skyscale:refusals", "[]")):
            key, stamp = refusal.pop("key"), refusal.pop("stamp")
            yield Entry(key=key, stamp=stamp, refusal=Refusal(**refusal))
    except BAD_ITEM as error:
        raise CatalogError(
            f"{source}: its list of refusals is damaged ({first_line(error)}); write it anew",
            href=source,
        ) from error


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    found = file.schema_arrow.metadata or {}
    return {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items()}


def _wanted(batch: pa.RecordBatch, query: SceneQuery | None) -> pa.Array:
    """Rows that may fit a query, by time and box alone."""
    keep = pa.array([True] * batch.num_rows)
    if query is None:
        return keep
    if "datetime" in batch.schema.names and pa.types.is_timestamp(batch["datetime"].type):
        time = batch["datetime"]
        kind = time.type
        # A row without the one time has a span, which is looked at later.
        if query.start:
            fits = pc.greater_equal(time, pa.scalar(query.start, kind))
            keep = pc.and_(keep, pc.fill_null(fits, True))
        if query.end:
            fits = pc.less_equal(time, pa.scalar(query.end, kind))
            keep = pc.and_(keep, pc.fill_null(fits, True))
    area = query.area
    if area is not None and "bbox" in batch.schema.names:
        box = batch["bbox"]
        if pa.types.is_struct(box.type) and box.type.get_field_index("ymin") >= 0:
            # Latitudes only: longitudes of a box across the antimeridian are turned round.
            _, south, _, north = area.bounds
            fits = pc.and_(
                pc.less_equal(pc.struct_field(box, "ymin"), north),
                pc.greater_equal(pc.struct_field(box, "ymax"), south),
            )
            keep = pc.and_(keep, pc.fill_null(fits, True))
    return keep


# --- writing --------------------------------------------------------------------------------------


def _table(entries: Sequence[Entry]) -> pa.Table:
    items = [entry.item for entry in entries if entry.item is not None]
    shapes = [shapely.geometry.shape(item["geometry"]) for item in items]
    boxes = [dict(zip(("xmin", "ymin", "xmax", "ymax"), g.bounds, strict=True)) for g in shapes]
    box = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
    columns: dict[str, pa.Array] = {
        "type": pa.array(["Feature"] * len(items), pa.string()),
        "stac_version": pa.array(
            [_text(i.get("stac_version", "1.1.0")) for i in items], pa.string()
        ),
        "stac_extensions": pa.array(
            [[_text(e) for e in i.get("stac_extensions") or ()] for i in items],
            pa.list_(pa.string()),
        ),
        "id": pa.array([i["id"] for i in items], pa.string()),
        "geometry": pa.array([shapely.to_wkb(shape) for shape in shapes], pa.binary()),
        "bbox": pa.array(boxes, box),
        "links": pa.array(
            [[{k: _text(v) for k, v in link.items()} for link in i["links"]] for i in items],
            pa.list_(pa.struct([("rel", pa.string()), ("href", pa.string())])),
        ),
        "assets": _assets(items),
        "collection": pa.array([_text(i.get("collection")) for i in items], pa.string()),
    }
    names = dict.fromkeys(name for item in items for name in item["properties"] if _is_text(name))
    for name in dict.fromkeys(("datetime", *names)):
        if name not in columns:
            columns[name] = _column(name, [item["properties"].get(name) for item in items])
    columns[_KEY] = pa.array([e.key for e in entries], pa.string())
    columns[_STAMP] = pa.array([e.stamp for e in entries], pa.string())
    columns[_JSON] = pa.array([e.text for e in entries], pa.large_string())
    return pa.table(columns)


def _assets(items: Sequence[Mapping[str, Any]]) -> pa.Array:
    """Assets by key, each with the fields that all publishers share."""
    fields = [("href", pa.string()), ("type", pa.string()), ("title", pa.string())]
    asset = pa.struct([*fields, ("roles", pa.list_(pa.string()))])
    keys = dict.fromkeys(key for item in items for key in item["assets"] if _is_text(key))
    # A struct without fields cannot be stored.
    kind = pa.struct([(key, asset) for key in keys or ("data",)])
    rows = [
        {
            key: {
                **{name: _text(value.get(name)) for name, _ in fields},
                "roles": [_text(role) for role in value.get("roles") or ()],
            }
            for key, value in item["assets"].items()
            if _is_text(key)
        }
        for item in items
    ]
    return pa.array(rows, kind)


def _column(name: str, values: list[Any]) -> pa.Array:
    """Values in their own type where they share one that Parquet has, else as JSON text."""
    if name in _TIMES:
        return pa.array([parse_time(v) if v else None for v in values], pa.timestamp("us", "UTC"))
    try:
        found = pa.array(values)
        if _storable(found.type):
            return found
    except (pa.ArrowException, OverflowError, UnicodeError):
        pass
    texts = [v if isinstance(v, str) or v is None else json.dumps(v, default=str) for v in values]
    return pa.array([_text(text) for text in texts], pa.string())


def _storable(kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return False
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_storable(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _storable(kind.value_type)
    return True


def _is_text(name: str) -> bool:
    return bool(name) and _text(name) == name


def _text(value: Any) -> str | None:
    """Text that UTF-8 can hold; JSON may smuggle in halves of characters."""
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _geo(geometries: pa.ChunkedArray) -> dict[str, Any]:
    """GeoParquet 1.1 metadata of the geometry column."""
    kinds = {shape.geom_type for shape in shapely.from_wkb(geometries.to_pylist())}
    covering = {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}
    column = {
        "encoding": "WKB",
        "geometry_types": sorted(kinds),
        "covering": {"bbox": covering},
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


# --- reading what others wrote --------------------------------------------------------------------


def _item_of_row(row: dict[str, Any]) -> dict[str, Any]:
    """A STAC item from a row: what is null was absent, what is no item's own is a property."""
    geometry = row["geometry"]
    if isinstance(geometry, bytes):
        geometry = json.loads(shapely.to_geojson(shapely.from_wkb(geometry)))
    plain = {name: _plain(value) for name, value in row.items() if value is not None}
    own = (*_TOP, "collection")
    properties = {n: v for n, v in plain.items() if n not in own and not n.startswith("skyscale:")}
    properties.setdefault("datetime", None)
    assets = plain.get("assets") or {}
    if isinstance(assets, str):
        assets = json.loads(assets)
    item = {name: plain[name] for name in own if name in plain}
    return item | {
        "type": "Feature",
        "geometry": geometry,
        "assets": assets,
        "properties": properties,
    }


def _plain(value: Any) -> Any:
    """Value as JSON has it, without the nulls that stand for absent fields."""
    if isinstance(value, datetime):
        return text_of(parse_time(value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        if value and all(isinstance(inner, tuple) for inner in value):  # a map column
            return _plain(dict(value))
        return [_plain(inner) for inner in value]
    return value
