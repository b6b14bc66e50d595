"""A scene and its files, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import shapely

from geo.catalog.asset import Asset, Mask, data_assets, masks_of
from geo.errors import BandError
from geo.raster_io import BandRef, inspect_raster

__all__ = ["Asset", "Mask", "Refusal", "Scene", "refuse_scene"]


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
        """Where bands lie; without names, all bands of the data assets in their order.

        Of a band in several files the finest is taken, then GeoTIFF before JPEG 2000.

        Raises
        ------
        BandError
            If a band is in no asset.
        SourceError
            If an asset that must be asked for its bands cannot be opened.
        """
        found = self._bands()
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
        return tuple(self._bands())

    @property
    def masks(self) -> tuple[Mask, ...]:
        """What tells good pixels from bad ones."""
        return masks_of(self.assets)

    @property
    def offset_evidence(self) -> str:
        """Where the offset of the DN was read; empty where nothing is said of one."""
        told = {a.offset_evidence: None for _, a in data_assets(self.assets) if a.offset_evidence}
        return "; ".join(told)

    def _bands(self) -> dict[str, BandRef]:
        """Bands by name; in the catalogue's order of assets, each from its best file."""
        best: dict[str, BandRef] = {}
        owner: dict[str, str] = {}
        for key, asset in data_assets(self.assets):
            info = None if asset.bands else inspect_raster(asset.href)
            for position, name in enumerate(asset.bands or (info.bands if info else ())):
                index = info.indexes[position] if info else position + 1
                if name not in best:
                    best[name] = BandRef(href=asset.href, index=index, offset_dn=asset.offset_dn)
                    owner[name] = key
        order = {key: place for place, key in enumerate(self.assets)}
        names = sorted(best, key=lambda n: (order[owner[n]], best[n].index))
        return {name: best[name] for name in names}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something in a source that is no usable scene, and why."""

    id: str
    href: str
    reason: str
    detail: str


def refuse_scene(scene: Scene, reason: str, detail: str) -> Refusal:
    """Refusal of a scene, by the name of its first file."""
    href = next((asset.href for asset in scene.assets.values()), "")
    return Refusal(id=scene.id, href=href, reason=reason, detail=detail.partition("\n")[0])
