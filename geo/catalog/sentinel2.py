"""Sentinel-2: names of its bands, and the offset of its DN since processing baseline 04.00.

Since 25 January 2022 ESA adds 1000 to all DN, so that reflectance just below zero survives:
reflectance = (DN + BOA_ADD_OFFSET) / 10000 with BOA_ADD_OFFSET = -1000 (Sentinel-2 Products
Specification Document 14.9, section 4). Some publishers take it out again, and some of those say
so wrongly (https://github.com/Element84/earth-search/issues/71), so `check_offset` looks at pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geo.raster_io import BandRef, raster_shape, read_file

BASELINE_OFFSET_DN = -1000.0
_FAR_BELOW_DN = -200.0

BANDS = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
}
NAMES = frozenset(BANDS.values())
_BASELINE_IN_NAME = re.compile(r"_N(\d\d)(\d\d)_")


def is_sentinel2(item: Mapping[str, Any]) -> bool:
    """Whether an item is of Sentinel-2, by what it says or its name."""
    properties = item.get("properties") or {}
    told = f"{properties.get('constellation', '')} {properties.get('platform', '')}".lower()
    if told.strip():
        return "sentinel-2" in told or "sentinel 2" in told
    return bool(re.match(r"S2[ABCD]_", str(item.get("id", ""))))


def band_name(*names: Any) -> str | None:
    """Name of a band from the names it goes by (``B04``, ``Red``), or None."""
    for name in names:
        text = str(name or "").strip()
        if text.upper() in BANDS:
            return BANDS[text.upper()]
        if text.lower() in NAMES:
            return text.lower()
    return None


@dataclass(frozen=True, kw_only=True)
class OffsetEvidence:
    """What an item says of the offset of its DN.

    Parameters
    ----------
    applied : str
        Name of a flag that the offset was taken out; empty where none is true.
    baseline : float or None
        Processing baseline.
    told_by : str
        Where the baseline was read.
    """

    applied: str = ""
    baseline: float | None = None
    told_by: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> OffsetEvidence:
        """Read an item."""
        properties = item.get("properties") or {}
        for key in sorted(k for k in properties if k.endswith("boa_offset_applied")):
            if properties[key] is True:
                return cls(applied=key)
        baseline, told_by = _baseline(item)
        return cls(baseline=baseline, told_by=told_by)

    def offset(self, asset: Mapping[str, Any]) -> tuple[float, str]:
        """What has to be added to the DN of a reflectance asset, and where that is said.

        In this order: a flag that the offset is applied; scale and offset of the asset; the
        processing baseline. A flag that it is not applied leaves the question to the other two.

        Returns
        -------
        offset_dn : float
        evidence : str
            Empty where nothing is said, then the offset is 0.
        """
        if self.applied:
            return 0.0, f"{self.applied} is true"
        stated = _stated_offset(asset)
        if stated is not None:
            if self.baseline is not None and self.baseline < 4 and stated:
                return 0.0, f"baseline {self.baseline:05.2f} by {self.told_by}, before the offset"
            return stated, "scale and offset of the asset"
        if self.baseline is None:
            return 0.0, ""
        offset = BASELINE_OFFSET_DN if self.baseline >= 4 else 0.0
        return offset, f"baseline {self.baseline:05.2f} by {self.told_by}"


def _stated_offset(asset: Mapping[str, Any]) -> float | None:
    """Offset in DN from scale and offset of reflectance, in any of STAC's three places."""
    bands = [*(asset.get("raster:bands") or ()), *(asset.get("bands") or ()), asset]
    for band in bands:
        scale = band.get("scale", band.get("raster:scale"))
        offset = band.get("offset", band.get("raster:offset"))
        if isinstance(scale, int | float) and isinstance(offset, int | float) and scale:
            return round(float(offset) / float(scale), 3) + 0.0
    return None


def _baseline(item: Mapping[str, Any]) -> tuple[float | None, str]:
    properties = item.get("properties") or {}
    for key in sorted(properties):
        if key.endswith(":processing_baseline") or key == "processing:version":
            try:
                return float(properties[key]), key
            except (TypeError, ValueError):
                continue
    for key, name in (("s2:product_uri", properties.get("s2:product_uri")), ("id", item.get("id"))):
        if match := _BASELINE_IN_NAME.search(str(name or "")):
            return float(f"{match.group(1)}.{match.group(2)}"), key
    return None, ""


@dataclass(frozen=True, kw_only=True)
class OffsetCheck:
    """What the pixels say of an offset.

    Parameters
    ----------
    below_zero : float
        Share of valid pixels that the offset brings below 0, the worst band.
    far_below_zero : float
        The same below a reflectance of -0.02, which correction of dark water hardly ever gives.
    darkest_dn : float
        The 0.1 % darkest DN as stored, the darkest band; NaN without valid pixels.
    """

    below_zero: float
    far_below_zero: float
    darkest_dn: float

    @property
    def contradicts(self) -> bool:
        """The offset must have been taken out already, whatever the metadata say."""
        return self.far_below_zero > 0.01


def check_offset(refs: Sequence[BandRef], side_px: int = 512) -> OffsetCheck:
    """Look whether an offset fits the pixels it would be added to.

    Reads each band once, at most about `side_px` pixels on a side, from overviews where there are
    any. Zeros are left out whatever the nodata value: Sentinel-2's DN of 0 is no measurement.

    Parameters
    ----------
    refs : sequence of BandRef
        With the offset in question.
    side_px : int

    Raises
    ------
    SourceError
        If a band cannot be read.
    """
    below, far_below, darkest = 0.0, 0.0, float("nan")
    for ref in refs:
        height, width = raster_shape(ref.href)
        step = max(1, -(-max(height, width) // side_px))
        out = (-(-height // step), -(-width // step))
        data, good = read_file(
            ref.href, [ref.index], slice(0, height), slice(0, width), out_shape=out
        )
        stored = data[0][good[0] & (data[0] > 0)].astype(np.float64)
        if stored.size:
            below = max(below, float((stored + ref.offset_dn < 0).mean()))
            far_below = max(far_below, float((stored + ref.offset_dn < _FAR_BELOW_DN).mean()))
            darkest = float(np.fmin(darkest, np.quantile(stored, 0.001)))
    return OffsetCheck(below_zero=below, far_below_zero=far_below, darkest_dn=darkest)
