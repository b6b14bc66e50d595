"""What a store knows of scenes without partners: rows of whole scenes, pixel size, colours."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geo.colour_fit import ColourFit
from geo.decisions import aerial_facts, error_facts, satellite_facts
from geo.pairstore.index import among, only
from geo.pairstore.parts import read_pairs
from geo.pairstore.rows import Row, lone_identity, scene_ids
from geo.raster_shift import grid_metres
from geo.sensor import usual_noise

if TYPE_CHECKING:
    import shapely

    from geo.catalog.scene import Scene
    from geo.errors import GeoError
    from geo.lone_scene import LoneRules
    from geo.pairstore.store import PairStore

_MOST_CHIPS = 256  # so many tell the colours of a store
_WITH_LR = "(kind = 'pair' AND derived IS NULL OR kind = 'chip' AND side = 'lr')"
_WITH_LONE_HR = "(kind = 'pair' AND derived IS NOT NULL OR kind = 'chip' AND side = 'hr')"


def lone_row(
    scene: Scene, side: str, ground: shapely.Geometry, rules: LoneRules, run_name: str
) -> Row:
    """Row that says: all chips of this scene are committed."""
    satellite, aerial = scene_ids(side, scene.id)
    facts = satellite_facts(scene) if side == "lr" else aerial_facts(scene)
    return {
        **facts,
        "satellite_id": satellite,
        "aerial_id": aerial,
        "side": side,
        "identity": lone_identity(side, scene.id, derived=rules.derived is not None),
        "settings_digest": rules.scene_digest(side, ground),
        "kind": "scenes",
        "ingested_by": run_name,
    }


def lone_refusal(
    row: Row, reason: str, value: float | None = None, limit: float | None = None
) -> Row:
    """The row of a scene that was refused whole."""
    return {**row, "kind": "rejection", "reason": reason, "value": value, "limit": limit}


def lone_failure(row: Row, error: GeoError, rules: LoneRules) -> Row:
    """The row of a scene that could not be used; its digest has it tried again next time."""
    digest = rules.digest(str(row["side"]))
    return {**row, **error_facts(error), "kind": "rejection", "settings_digest": digest}


def decided_alone(store: PairStore) -> dict[str, str]:
    """Rows of whole scenes that were cut alone: identity to digest."""
    table = store.rows(columns=["settings_digest"], where='side IS NOT NULL AND "row" IS NULL')
    digests = table["settings_digest"].to_pylist()
    return dict(zip(table["identity"].to_pylist(), digests, strict=True))


def pixel_of_store(store: PairStore) -> float | None:
    """Metres of an LR pixel beneath HR chips: of those that are there, else of LR images.

    What was decided first stands, or the next ingest would cut all anew beside the old ones.
    """
    fine = store.rows(columns=["resolution_x"], where=_WITH_LONE_HR)["resolution_x"].to_pylist()
    if fine:
        return float(Counter(fine).most_common(1)[0][0])
    columns = ("crs", "resolution_x", "resolution_y", "left", "top")
    known = f"{_WITH_LR} AND crs IS NOT NULL AND resolution_x > 0 AND resolution_y > 0"
    rows = store.rows(columns=columns, where=known).to_pylist()
    if not rows:
        return None
    grids = [(row["crs"], row["resolution_x"], row["resolution_y"]) for row in rows]
    grid = Counter(grids).most_common(1)[0][0]
    row = rows[grids.index(grid)]
    affine = Affine(grid[1], 0, row["left"], 0, -grid[2], row["top"])
    return grid_metres(GeoBox((1, 1), affine, grid[0]))


def colours_of_store(store: PairStore, rules: LoneRules) -> ColourFit | None:
    """What HR chips of the same rules were brought over by, if there are any."""
    for same in (rules, replace(rules, derived=None)):
        digest = only({"settings_digest": same.digest("hr")})
        found = store.rows(columns=["colours"], where=f"colours IS NOT NULL AND {digest}")
        if found.num_rows:
            return ColourFit.from_dict(json.loads(found["colours"][0].as_py()))
    return None


def lr_of_store(
    store: PairStore, most: int
) -> tuple[npt.NDArray[np.float32], tuple[float, ...]] | None:
    """Good LR pixels of a store's pairs and chips, and their noise; None where it has none.

    Held-out ground is left out, and what is derived: nothing is to be learned of either.

    Parameters
    ----------
    most : int
        At most about so many pixels.

    Returns
    -------
    (array [C, n], tuple of float)
    """
    columns = ("part", "part_index")
    table = store.rows(columns=columns, where=f"{_WITH_LR} AND {among('split', ('train',))}")
    if not table.num_rows:
        return None
    chosen = np.unique(np.linspace(0, table.num_rows - 1, _MOST_CHIPS).round().astype(int))
    rows = table.take(chosen.tolist()).to_pylist()
    places = [(row["part"], row["part_index"]) for row in rows]
    images = [
        (lr, _whole_cells(valid, store.config.scale))
        for lr, _, valid in read_pairs(store.place, store.config, places)
    ]
    pixels = np.concatenate([lr[:, good] for lr, good in images], axis=1).astype(np.float32)
    return pixels[:, :: max(1, -(-pixels.shape[1] // most))], usual_noise(images)


def _whole_cells(valid: npt.NDArray[np.bool_], scale: int) -> npt.NDArray[np.bool_]:
    """LR pixels [h, w] all of whose HR pixels are valid."""
    height, width = (n // scale for n in valid.shape)
    cells = valid.reshape(height, scale, width, scale)
    return np.asarray(cells.all(axis=(1, 3)), np.bool_)
