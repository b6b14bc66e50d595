"""A scene and its files, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import shapely

from geo.errors import BandError
from geo.raster_io import BandRef, inspect_raster


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file of a scene.

    Parameters
    ----------
    href : str
        Absolute path or URL.
    bands : tuple of str
        Names by position in the file; common names (``red``) where the catalogue gives them.
        Empty where it says nothing: then the file is asked.
    roles : tuple of str
    """

    href: str
    bands: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A raster that tells good pixels of a scene from bad ones, on any grid.

    Parameters
    ----------
    href : str
    kind : {"scl", "cloud", "data"}
        ``scl``: classes of Sentinel-2's scene classification. ``cloud``: not 0 is cloud or its
        shadow. ``data``: 0 is not valid.
    """

    href: str
    kind: Literal["scl", "cloud", "data"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One acquisition.

    Parameters
    ----------
    id : str
        STAC item id.
    time : datetime
        Aware, UTC.
    footprint : shapely geometry
        Lon/lat.
    assets : dict of str to Asset
    cloud_fraction : float or None
        As the catalogue says, 0 to 1.
    properties : dict
        The STAC properties.
    """

    id: str
    time: datetime
    footprint: shapely.Geometry
    assets: dict[str, Asset]
    cloud_fraction: float | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def band_refs(self, bands: Sequence[str] | None = None) -> tuple[BandRef, ...]:
        """Where bands lie; without names, all bands of the data asset in their order.

        Raises
        ------
        BandError
            If a band is in no asset.
        SourceError
            If an asset that must be asked for its bands cannot be opened.
        """
        found: dict[str, BandRef] = {}
        for asset in self._data_assets():
            info = None
            names = asset.bands
            if not names:
                info = inspect_raster(asset.href)
                names = info.bands
            for position, name in enumerate(names):
                index = info.indexes[position] if info else position + 1
                found.setdefault(name, BandRef(href=asset.href, index=index))
        if not found:
            raise BandError(f"scene {self.id} has no data asset; it has {', '.join(self.assets)}")
        missing = [b for b in bands or () if b not in found]
        if missing:
            raise BandError(
                f"scene {self.id} has no band {', '.join(missing)}; it has {', '.join(found)}",
                scene=self.id,
                missing=missing,
            )
        return tuple(found[b] for b in bands) if bands else tuple(found.values())

    def band_names(self) -> tuple[str, ...]:
        """Names of all data bands, in order."""
        names: dict[str, None] = {}
        for asset in self._data_assets():
            names.update(dict.fromkeys(asset.bands or inspect_raster(asset.href).bands))
        return tuple(names)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """What tells good pixels from bad ones."""
        found = []
        for key, asset in self.assets.items():
            if key.lower() == "scl" or tuple(b.lower() for b in asset.bands) == ("scl",):
                found.append(Mask(href=asset.href, kind="scl"))
        return tuple(found)

    def _data_assets(self) -> Iterator[Asset]:
        masks = {mask.href for mask in self.masks}
        declared = [a for a in self.assets.values() if "data" in a.roles]
        for asset in declared or self.assets.values():
            if asset.href not in masks and not {"thumbnail", "overview"} & set(asset.roles):
                yield asset


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something in a source that is no usable scene, and why."""

    id: str
    href: str
    reason: str
    detail: str
