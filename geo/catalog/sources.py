"""Scenes of any source, in one form: STAC is the catalogue, a folder is read as if it were one."""

from __future__ import annotations

from pathlib import Path

from geo.catalog.folder import RASTER_SUFFIXES, read_folder, read_rasters
from geo.catalog.scene import Refusal, Scene
from geo.catalog.stac import read_stac
from geo.errors import CatalogError


def read_scenes(source: str) -> tuple[list[Scene], list[Refusal]]:
    """List the scenes of a source.

    Parameters
    ----------
    source : str
        Path or URL of a STAC catalogue, collection or item; or a folder with a
        ``collection.json`` or ``catalog.json``; or a folder of rasters; or one raster.

    Returns
    -------
    scenes : list of Scene
        Ordered by time and id.
    refusals : list of Refusal
        What could not be used, with reasons; one bad scene never stops the others.

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read.
    """
    path = Path(source)
    remote = "://" in source
    if not remote and not path.exists():
        raise CatalogError(
            f"{source}: no such file or folder; wanted a STAC collection or item, "
            "a folder of rasters, or a raster"
        )
    if not remote and path.is_dir():
        for name in ("collection.json", "catalog.json"):
            if (path / name).exists():
                return _sorted(*read_stac(str(path / name)))
        return _sorted(*read_folder(path))
    if not remote and path.suffix.lower() in RASTER_SUFFIXES:
        return _sorted(*read_rasters([path]))
    return _sorted(*read_stac(source))


def _sorted(scenes: list[Scene], refusals: list[Refusal]) -> tuple[list[Scene], list[Refusal]]:
    return sorted(scenes, key=lambda s: (s.time, s.id)), refusals
