"""Which bands and which type of numbers a store is made of, when nobody has said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from geo.errors import BandError, GeoError

if TYPE_CHECKING:
    from geo.catalog.scene import Scene
    from geo.match import Candidate

# So many satellite scenes of one form settle it; a folder may hold strange rasters as well.
_ENOUGH = 3
_MOST_LOOKED_AT = 64


@dataclass(frozen=True, kw_only=True)
class Form:
    """What all pairs of a store have in common, given by the satellite.

    Parameters
    ----------
    bands : tuple of str
    dtype : str
    pixel_m : float or None
        Size of a pixel; None where the store has settled already what depends on it.
    """

    bands: tuple[str, ...]
    dtype: str
    pixel_m: float | None


def usual_form(candidates: Sequence[Candidate], bands: Sequence[str] | None, scale: int) -> Form:
    """Form of most satellite scenes that can be joined with an aerial one.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first, at least one.
    bands : sequence of str or None
        Names, when they are given; otherwise those that both scenes share.

    Raises
    ------
    GeoError
        What was wrong with the last candidate, when none can be joined.
    """
    from geo.decisions import PairingRules
    from geo.pairing import inspect_pair
    from geo.raster_shift import grid_metres

    def form_of(candidate: Candidate) -> Form:
        names = tuple(bands) if bands else _shared_names(candidate)
        pair = inspect_pair(candidate, PairingRules(bands=names, scale=scale))
        return Form(bands=names, dtype=pair.dtype, pixel_m=grid_metres(pair.geobox))

    return most_common_form([(c.satellite.id, partial(form_of, c)) for c in candidates])


def usual_form_alone(scenes: Sequence[Scene], bands: Sequence[str] | None) -> Form:
    """Form of most scenes of one side, whatever partners they have.

    Parameters
    ----------
    scenes : sequence of Scene
        At least one.
    bands : sequence of str or None
        Names, when they are given; otherwise all that a scene has.

    Raises
    ------
    GeoError
        What was wrong with the last scene, when none can be used.
    """
    from geo.raster_io import inspect_raster
    from geo.raster_shift import grid_metres

    def form_of(scene: Scene) -> Form:
        names = tuple(bands) if bands else scene.band_names()
        info = inspect_raster(scene.band_refs(names)[0].href)
        return Form(bands=names, dtype=info.dtype, pixel_m=grid_metres(info.geobox))

    return most_common_form([(scene.id, partial(form_of, scene)) for scene in scenes])


def most_common_form(voters: Sequence[tuple[str, Callable[[], Form]]]) -> Form:
    """Form that most scenes have; those asked first settle it.

    Parameters
    ----------
    voters : sequence of (scene id, callable)
        The form of a scene, or a GeoError. A scene that comes again has one voice.

    Raises
    ------
    GeoError
        What was wrong with the last scene, when none can be used.
    """
    votes: dict[Form, set[str]] = {}
    looked_at = 0
    error: GeoError | None = None
    for voter, form_of in voters:
        try:
            form = form_of()
        except GeoError as met:
            error = met
            continue
        looked_at += 1
        voices = votes.setdefault(form, set())
        voices.add(voter)
        if len(voices) >= _ENOUGH or looked_at >= _MOST_LOOKED_AT:
            break
    if not votes:
        raise error or GeoError("no scene to look at")
    return max(votes, key=lambda form: len(votes[form]))  # the first of equals


def _shared_names(candidate: Candidate) -> tuple[str, ...]:
    """Bands that both scenes have, in the satellite's order."""
    satellite, aerial = candidate.satellite.band_names(), candidate.aerial.band_names()
    if shared := tuple(name for name in satellite if name in aerial):
        return shared
    raise BandError(
        f"the satellite bands ({', '.join(satellite)}) and the aerial bands "
        f"({', '.join(aerial)}) share no name; name them alike or use --bands"
    )
