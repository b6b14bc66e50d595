"""Colours of a pair map: told apart by colour-blind readers, and in grey by their lightness."""

from __future__ import annotations

from collections.abc import Sequence

from geo.pairmap.content import ACCEPTED, PLANNED

# Okabe and Ito, Color Universal Design (2008): blue for what is kept, others for refusals.
_FIXED = {
    ACCEPTED: "#0072b2",
    PLANNED: "#56b4e9",
    "cloud": "#bdbdbd",
    "nodata": "#7f7f7f",
    "dissimilar_content": "#d55e00",
    "changed_ground": "#e69f00",
    "saturated": "#f0e442",
}
_OTHERS = ("#cc79a7", "#009e73", "#a6761d", "#e7298a", "#666666")
SATELLITE, AERIAL = "#4b3b9b", "#00735c"


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each verdict; reasons nobody foresaw get what is left."""
    others = [name for name in names if name not in _FIXED]
    found = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}
    return {name: _FIXED.get(name) or found[name] for name in names}


def is_kept(name: str) -> bool:
    """Whether chips of this verdict are drawn plain; refused ones are crossed as well."""
    return name in (ACCEPTED, PLANNED)
