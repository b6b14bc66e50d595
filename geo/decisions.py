"""What was decided about scenes and chips: by which rules, and as rows of the store."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from geo.alignment import Alignment, AlignRules
from geo.catalog.asset import Asset, data_assets
from geo.catalog.scene import Refusal, Scene
from geo.colour_fit import ColourFit
from geo.cut import CutRules
from geo.errors import GeoError
from geo.match import Candidate, Rejection
from geo.pairstore.rows import Row, scenes_identity

# Raised whenever pixels of the same scenes by the same rules would come out differently.
PAIRING_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class PairingRules:
    """How pairs are made.

    Parameters
    ----------
    bands : tuple of str
    scale : int
        LR pixel over HR pixel: 2, 4 or 8.
    lr_size : int
        LR pixels on a side of a chip.
    align : AlignRules
    cut : CutRules
    """

    bands: tuple[str, ...]
    scale: int = 4
    lr_size: int = 32
    align: AlignRules = field(default_factory=AlignRules)
    cut: CutRules = field(default_factory=CutRules)

    @property
    def digest(self) -> str:
        """Short hash of all that decides how pairs come out."""
        text = json.dumps([PAIRING_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        if self.scale not in (2, 4, 8):
            raise ValueError(f"scale is {self.scale}; wanted 2, 4 or 8")


def scene_facts(candidate: Candidate, rules: PairingRules) -> Row:
    """What every row about two scenes says of them."""
    return {
        **satellite_facts(candidate.satellite),
        **aerial_facts(candidate.aerial),
        "settings_digest": rules.digest,
        "gap_days": candidate.gap_days,
        "match_score": candidate.score,
    }


def satellite_facts(scene: Scene) -> Row:
    """What a row says of its satellite scene."""
    return {
        "satellite_id": scene.id,
        "satellite_href": _first_href(scene.assets),
        "satellite_time": scene.time,
        "satellite_sun_elevation": _angle(scene.properties, "sun_elevation"),
        "satellite_sun_azimuth": _angle(scene.properties, "sun_azimuth"),
        "dn_offset": next((a.offset_dn for _, a in data_assets(scene.assets)), 0.0),
    }


def aerial_facts(scene: Scene) -> Row:
    """What a row says of its aerial scene."""
    return {
        "aerial_id": scene.id,
        "aerial_href": _first_href(scene.assets),
        "aerial_time": scene.time,
        "aerial_sun_elevation": _angle(scene.properties, "sun_elevation"),
        "aerial_sun_azimuth": _angle(scene.properties, "sun_azimuth"),
    }


def _angle(properties: Mapping[str, Any], name: str) -> float | None:
    """Angle in degrees as STAC's view extension tells it."""
    value = properties.get(f"view:{name}")
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _first_href(assets: dict[str, Asset]) -> str:
    return next(iter(assets.values())).href


def alignment_facts(alignment: Alignment) -> Row:
    """What a row says of how its scenes were aligned."""
    facts: Row = {
        "dy_px": alignment.dy_px,
        "dx_px": alignment.dx_px,
        "reliability": alignment.reliability,
        "residual_px": alignment.residual_px,
        "shift_origin": alignment.origin,
    }
    return facts | colour_facts(alignment.colours)


def colour_facts(fit: ColourFit | None) -> Row:
    """What a row says of how the colours of its aerial image were brought over, if they were."""
    if fit is None:
        return {}
    return {
        "gains": list(fit.gains),
        "offsets": list(fit.offsets),
        "colours": json.dumps(fit.to_dict()),
    }


def scenes_digest(candidate: Candidate, rules: PairingRules) -> str:
    """Digest of settings and of the ground asked for: a wider area of interest is new work."""
    text = f"{rules.digest} {candidate.ground.wkt}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenes_row(
    candidate: Candidate, alignment: Alignment, rules: PairingRules, run_name: str
) -> Row:
    """Row that says: all chips of these scenes are committed; or why there are none."""
    row: Row = {
        **scene_facts(candidate, rules),
        **alignment_facts(alignment),
        "identity": scenes_identity(candidate.satellite.id, candidate.aerial.id),
        "settings_digest": scenes_digest(candidate, rules),
        "kind": "scenes" if alignment.accepted else "rejection",
        "cloud_fraction": alignment.cloud_fraction,
        "ingested_by": run_name,
    }
    if alignment.field is not None:
        row["shift_field"] = json.dumps(alignment.field.to_dict())
    if not alignment.accepted:
        reason = alignment.reason or "unreliable_registration"
        row |= {"reason": reason, "value": alignment.value, "limit": alignment.limit}
    return row


def failed_row(candidate: Candidate, error: GeoError, rules: PairingRules, run_name: str) -> Row:
    """Row for scenes that could not be used at all, for example for a damaged file."""
    return {
        **scene_facts(candidate, rules),
        **error_facts(error),
        "identity": scenes_identity(candidate.satellite.id, candidate.aerial.id),
        "kind": "rejection",
        "ingested_by": run_name,
    }


def error_facts(error: GeoError) -> Row:
    """What a row says of an error that stopped its scenes."""
    cause = str(error.facts.get("cause") or _CAUSES.get(type(error).__name__, "unreadable"))
    return {
        "reason": cause,
        "value": error.facts.get("value"),
        "limit": error.facts.get("limit"),
        "detail": error.message,
    }


_CAUSES = {"BandError": "missing_band", "GridError": "unsupported_grid"}


def match_row(rejection: Rejection, rules: PairingRules, run_name: str) -> Row:
    """Row for scenes that did not match."""
    return {
        "identity": scenes_identity(rejection.satellite_id, rejection.aerial_id),
        "kind": "rejection",
        "settings_digest": rules.digest,
        "satellite_id": rejection.satellite_id,
        "aerial_id": rejection.aerial_id,
        "reason": rejection.reason,
        "value": rejection.value,
        "limit": rejection.limit,
        "detail": rejection.detail,
        "ingested_by": run_name,
    }


def refusal_row(refusal: Refusal, side: str, rules: PairingRules, run_name: str) -> Row:
    """Row for something in a source that is no scene; `side` is ``satellite`` or ``aerial``."""
    satellite, aerial = (refusal.id, "") if side == "satellite" else ("", refusal.id)
    return {
        "identity": scenes_identity(satellite or f"{refusal.href}", aerial or f"{refusal.href}"),
        "kind": "rejection",
        "settings_digest": rules.digest,
        "satellite_id": satellite,
        "aerial_id": aerial,
        "reason": refusal.reason,
        "detail": refusal.detail,
        "ingested_by": run_name,
    }
