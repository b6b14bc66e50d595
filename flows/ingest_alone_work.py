"""What workers do with scenes that are cut alone: look at them, sample them, cut them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.console import LOGGER
from geo.errors import GeoError, StoreError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import shapely

    from flows.ingest_derive import Deriver
    from geo.catalog.scene import Scene
    from geo.landcover import LandCover
    from geo.lone_cut import LoneJob
    from geo.lone_scene import LoneRules, LoneScene
    from geo.pairstore.rows import Row

Sampled = tuple["npt.NDArray[np.float32]", tuple[float, ...]]
Looked = tuple["LoneScene", tuple[float, ...], float]
"""The scene, its noise, and its share of cloud."""


def sample(
    job: tuple[int, Scene, shapely.Geometry, str, LoneRules, int],
) -> tuple[int, Sampled | GeoError]:
    """Good pixels of windows of a scene, and its noise."""
    from geo.lone_scene import inspect_alone, look_at

    index, scene, ground, side, rules, most = job
    try:
        seen = look_at(inspect_alone(scene, side, ground, rules.pairing, rules.pixel_m))
        return index, (seen.pixels(most), seen.noise_dn)
    except GeoError as error:
        return index, error


def look(
    job: tuple[int, Scene, shapely.Geometry, str, LoneRules, str],
) -> tuple[int, Looked | GeoError]:
    """Open a scene and read windows of it."""
    from geo.lone_scene import inspect_alone, look_at

    index, scene, ground, side, rules, dtype = job
    try:
        lone = inspect_alone(scene, side, ground, rules.pairing, rules.pixel_m)
        if lone.dtype != dtype and not (side == "hr" and rules.coloured):
            raise GeoError(
                f"{scene.id} holds {lone.dtype}; the store holds {dtype}", cause="other_dtype"
            )
        seen = look_at(lone)
        return index, (lone, seen.noise_dn, seen.cloud_fraction)
    except Exception as error:
        return index, _as_geo_error(error)


def cut(
    task: tuple[int, LoneJob, LandCover | None, Deriver | None],
) -> tuple[int, list[Row] | GeoError]:
    """Cut a block and write its good chips as one part; returns a row for each cell."""
    from dataclasses import replace

    from geo.lone_cut import cut_lone_job
    from geo.pairstore.store import PairStore

    index, job, landcover, deriver = task
    try:
        store, derive = PairStore.open(job.store), None
        if deriver is not None:
            quiet = (0.0,) * len(store.config.bands)
            noise = quiet if job.colours is None else job.colours.noise_dn
            derive = deriver.load(store.config, noise)
        good, refused = cut_lone_job(replace(job, landcover=landcover), derive)
        return index, [*store.write_part(good), *refused]
    except Exception as error:
        return index, _as_geo_error(error)


def _as_geo_error(error: Exception) -> Any:
    """What stops one scene; a store that cannot be written to stops the run."""
    if isinstance(error, StoreError):
        raise error
    if isinstance(error, GeoError):
        return error
    LOGGER.warning("ingest: unexpected %s", type(error).__name__, exc_info=error)
    return GeoError(f"{type(error).__name__}: {error}", cause="failed")
