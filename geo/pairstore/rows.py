"""Rows of the pair store's index: pairs, chips alone, refusals, and scenes that are done.

Schema (version 3); every row has an `identity`, and a store holds one row for each:

``pair``
    A chip that is in the store. Identity: satellite item, aerial item, CRS, lattice cell, scale.
    With `derived` its LR image was made of its HR image, by what that names, and its split is
    ``train`` for ever. Its identity is that of the aerial item and the cell alone.
``chip``
    An image without a partner, of one `side`: ``lr`` or ``hr``. The pixels of the other side are
    zeros. Identity: side, item, CRS, lattice cell, scale.
``rejection``
    A chip, a scene pair or a scene that was refused, with reason, value and limit. A refused
    chip has the identity that the pair would have had, so a later acceptance replaces it.
``scenes``
    A scene pair all of whose chips are committed; with `side`, a scene that was cut alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo.errors import StoreError

SCHEMA = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # pair, chip, rejection, scenes
        pa.field("settings_digest", pa.string(), nullable=False),
        pa.field("satellite_id", pa.string()),
        pa.field("aerial_id", pa.string()),
        pa.field("satellite_href", pa.string()),
        pa.field("aerial_href", pa.string()),
        pa.field("satellite_time", pa.timestamp("us", tz="UTC")),
        pa.field("aerial_time", pa.timestamp("us", tz="UTC")),
        pa.field("gap_days", pa.float64()),
        pa.field("satellite_sun_elevation", pa.float64()),  # degrees, where the item tells
        pa.field("satellite_sun_azimuth", pa.float64()),
        pa.field("aerial_sun_elevation", pa.float64()),
        pa.field("aerial_sun_azimuth", pa.float64()),
        pa.field("match_score", pa.float64()),  # rank of the scenes for each other, 0 to 1
        pa.field("dn_offset", pa.float64()),  # added to the satellite's DN as read
        pa.field("reason", pa.string()),  # of a rejection
        pa.field("value", pa.float64()),
        pa.field("limit", pa.float64()),
        pa.field("detail", pa.string()),
        pa.field("crs", pa.string()),
        pa.field("resolution_x", pa.float64()),
        pa.field("resolution_y", pa.float64()),
        pa.field("row", pa.int64()),
        pa.field("col", pa.int64()),
        pa.field("left", pa.float64()),  # bounds of the LR chip, in the CRS
        pa.field("bottom", pa.float64()),
        pa.field("right", pa.float64()),
        pa.field("top", pa.float64()),
        pa.field("dy_px", pa.float64()),
        pa.field("dx_px", pa.float64()),
        pa.field("reliability", pa.float64()),
        pa.field("residual_px", pa.float64()),
        pa.field("shift_origin", pa.string()),  # scene, field, neighbours
        pa.field("shift_field", pa.string()),  # JSON, of kind `scenes`; pairs hold their own shift
        pa.field("colours", pa.string()),  # JSON: how harmonisation is done and undone
        pa.field("gains", pa.list_(pa.float64())),
        pa.field("offsets", pa.list_(pa.float64())),
        pa.field("similarity", pa.float64()),
        pa.field("valid_fraction", pa.float64()),
        pa.field("cloud_fraction", pa.float64()),
        pa.field("nodata_fraction", pa.float64()),
        pa.field("saturated_fraction", pa.float64()),
        pa.field("changed_fraction", pa.float64()),  # ground that is different in the two
        pa.field("content", pa.float64()),  # slope of the LR chip, in units of the residual
        pa.field("flags", pa.list_(pa.string())),  # what is worth knowing of a kept pair
        pa.field("category", pa.string()),
        pa.field("split", pa.string()),
        pa.field("part", pa.string()),  # folder under parts/
        pa.field("part_index", pa.int64()),
        pa.field("pixels_sha256", pa.string()),
        pa.field("side", pa.string()),  # lr, hr: of what comes of one scene alone
        pa.field("derived", pa.string()),  # what made the LR image of a pair, if no satellite did
        pa.field("ingested_by", pa.string()),  # name of the flow run
        pa.field("row_sha256", pa.string()),  # of what the row says; the store fills it in
        pa.field("bucket", pa.string(), nullable=False),  # partition; the store fills it in
    ]
)

# What a digest of the store leaves out: it may differ between two ingests of the same input.
BOOKKEEPING = frozenset(
    {
        *("part", "part_index", "ingested_by", "satellite_href", "aerial_href"),
        *("row_sha256", "bucket"),
    }
)
BUCKETED_BY = ("satellite_id", "aerial_id", "side", "derived")
_BUCKETS = 64


class Row(TypedDict, total=False):
    """One row; fields that a kind does not know are left out and stored as null."""

    identity: str
    kind: str
    settings_digest: str
    satellite_id: str
    aerial_id: str
    satellite_href: str
    aerial_href: str
    satellite_time: Any
    aerial_time: Any
    gap_days: float
    satellite_sun_elevation: float | None
    satellite_sun_azimuth: float | None
    aerial_sun_elevation: float | None
    aerial_sun_azimuth: float | None
    match_score: float
    dn_offset: float
    reason: str
    value: float | None
    limit: float | None
    detail: str
    crs: str
    resolution_x: float
    resolution_y: float
    row: int
    col: int
    left: float
    bottom: float
    right: float
    top: float
    dy_px: float
    dx_px: float
    reliability: float
    residual_px: float
    shift_origin: str
    shift_field: str | None
    colours: str
    gains: list[float]
    offsets: list[float]
    similarity: float
    valid_fraction: float
    cloud_fraction: float
    nodata_fraction: float
    saturated_fraction: float
    changed_fraction: float
    content: float
    flags: list[str]
    category: str | None
    split: str
    part: str
    part_index: int
    pixels_sha256: str
    side: str | None
    derived: str | None
    ingested_by: str


@dataclass(frozen=True, kw_only=True)
class PairData:
    """A pair, or a chip alone, on its way into the store: its row and its pixels.

    Parameters
    ----------
    row : Row
        Without part, index and hashes: the store adds them.
    lr : array, [C, h, w]
    hr : array, [C, H, W]
    valid : array of bool, [H, W]
        True where both images are good; of a chip alone, where its own image is.
    """

    row: Row
    lr: npt.NDArray[np.generic]
    hr: npt.NDArray[np.generic]
    valid: npt.NDArray[np.bool_]


KINDS = ("pair", "chip", "rejection", "scenes")
WITH_PIXELS = ("pair", "chip")
SIDES = ("lr", "hr")
_ALWAYS = ("identity", "kind", "settings_digest")
_OF_PIXELS = ("part", "part_index", "pixels_sha256")


def check_row(row: Row) -> None:
    """Refuse a row that would poison the index for all who read it.

    Raises
    ------
    StoreError
        If a field is unknown, a field that the kind needs is missing, or the kind is unknown; if a
        pair is of one side alone, or a derived one is held out.
    """
    told = {key for key, value in row.items() if value is not None}
    kind = row.get("kind")
    needed = {*_ALWAYS, *(_OF_PIXELS if kind in WITH_PIXELS else ())}
    if kind == "chip":
        needed |= {"side", "split"}
    if unknown := sorted(told - set(SCHEMA.names)):
        raise StoreError(f"a row has unknown fields: {', '.join(unknown)}")
    if missing := sorted(needed - told):
        raise StoreError(f"a row of kind {kind!r} lacks {', '.join(missing)}")
    if kind not in KINDS:
        raise StoreError(f"a row is of kind {kind!r}; wanted one of {', '.join(KINDS)}")
    side, derived, split = (row.get(name) for name in ("side", "derived", "split"))
    if side is not None and (side not in SIDES or kind == "pair"):
        raise StoreError(
            f"a row of kind {kind!r} has side {side!r}; wanted {' or '.join(SIDES)}, and none of a "
            "pair"
        )
    if derived is not None and (kind, split) != ("pair", "train"):
        raise StoreError(
            f"a row of kind {kind!r} and split {split!r} is derived by {derived}; wanted a pair to "
            "train on: nothing is measured on what a model has made"
        )


def pair_identity(
    satellite_id: str, aerial_id: str, crs: str, row: int, col: int, scale: int
) -> str:
    """Identity of a pair, the same for ever."""
    return _identity("pair", satellite_id, aerial_id, crs, row, col, scale)


def chip_identity(side: str, scene_id: str, crs: str, row: int, col: int, scale: int) -> str:
    """Identity of a chip without a partner, the same for ever."""
    return _identity("chip", side, scene_id, crs, row, col, scale)


def derived_identity(scene_id: str, crs: str, row: int, col: int, scale: int) -> str:
    """Identity of a pair whose LR image is derived, whatever derives it."""
    return _identity("derived", scene_id, crs, row, col, scale)


def lone_identity(side: str, scene_id: str, *, derived: bool = False) -> str:
    """Identity of what is said about a scene that was cut alone."""
    return _identity("derived scene" if derived else "lone scene", side, scene_id)


def scenes_identity(satellite_id: str, aerial_id: str) -> str:
    """Identity of what is said about two scenes (or about one, when the other is empty)."""
    return _identity("scenes", satellite_id, aerial_id)


def _identity(*parts: object) -> str:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(str(p))}:{p}" for p in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_pixels(
    lr: npt.NDArray[np.generic], hr: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_]
) -> str:
    """Hash of a pair's pixels with their shapes and types."""
    digest = hashlib.sha256()
    for array in (lr, hr, valid):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def scene_ids(side: str, scene_id: str) -> tuple[str, str]:
    """Satellite and aerial id of what is said of a scene alone; one of them is empty."""
    return (scene_id, "") if side == "lr" else ("", scene_id)


def bucket_of(
    satellite_id: str | None,
    aerial_id: str | None,
    side: str | None = None,
    derived: str | None = None,
) -> str:
    """Partition of all rows about two scenes, or about what was cut of one alone.

    Rows of a commit are compared with those of their buckets alone, so that a commit costs the
    same however large the store has grown. What is said of a single scene, its chips left
    out, is in a bucket of its own.
    """
    alone = side is not None or derived is not None
    if not alone and not (satellite_id and aerial_id):
        return "single"
    scenes = scenes_identity(satellite_id or "", aerial_id or "")
    return f"{int(scenes[:8], 16) % _BUCKETS:02d}"


def seal_rows(rows: Sequence[Row]) -> pa.Table:
    """Rows as the index holds them, with bucket and hash, ordered by identity."""
    placed = [
        {**row, "bucket": bucket_of(*(row.get(name) for name in BUCKETED_BY))}  # type: ignore[arg-type]  # texts or none
        for row in sorted(rows, key=lambda row: row["identity"])
    ]
    table = pa.Table.from_pylist(placed, schema=SCHEMA)
    # Hashed as the index will tell them, not as they were given: a float may have been a whole
    # number before.
    hashes = [hash_row(row) for row in table.to_pylist()]
    place = table.schema.get_field_index("row_sha256")
    return table.set_column(place, SCHEMA.field("row_sha256"), pa.array(hashes, pa.string()))


def hash_row(row: Mapping[str, Any]) -> str:
    """Hash of what a row says, bookkeeping and empty fields left out."""
    told = {k: v for k, v in row.items() if v is not None and k not in BOOKKEEPING}
    text = json.dumps(told, sort_keys=True, default=_as_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} in a row")


def digest_rows(rows: pa.Table) -> str:
    """Hash of what rows ordered by identity say, by their own hashes."""
    return hashlib.sha256("".join(rows["row_sha256"].to_pylist()).encode()).hexdigest()
