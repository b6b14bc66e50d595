"""Where the scenes of a run come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from flows.ingest_settings import IngestConfig
    from geo.catalog.scene import Refusal, Scene
    from geo.match import MatchRules

SIDES = ("satellite", "aerial")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Scenes of both sides, and what could not be used, by side."""

    scenes: Mapping[str, list[Scene]]
    refusals: Mapping[str, list[Refusal]]

    def keep_tables(self, store: Path) -> None:
        """Keep the tables of known scenes beside the store."""


def find_scenes_of(config: IngestConfig, rules: MatchRules) -> Found:
    """List the scenes of both sources."""
    from geo.catalog.sources import read_scenes

    both = {side: read_scenes(getattr(config, side)) for side in SIDES}
    return Found(
        scenes={side: scenes for side, (scenes, _) in both.items()},
        refusals={side: refusals for side, (_, refusals) in both.items()},
    )
