"""Scenes of a mosaic brought into the light of its best one: scene by scene, never by block.

Two dates differ by sun, haze and season. A line for each band, fitted on the ground that two
scenes both show clear, takes most of it away and so softens the seams between them. It changes
what the pixels say of reflectance, hence it is not done unasked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling

from geo.cut import to_dtype
from geo.harmonise import fit_colours
from geo.mosaic_look import Look, Places, read_sparsely
from geo.raster_io import Pixels

_Mask = npt.NDArray[np.bool_]

# Common places that a line is fitted on, at least.
_LEAST_PLACES = 50


@dataclass(frozen=True, kw_only=True)
class Tone:
    """``balanced = gain * DN + offset`` for each band."""

    gains: tuple[float, ...]
    offsets: tuple[float, ...]

    def apply(self, pixels: Pixels) -> Pixels:
        """Balance valid pixels; their type stays."""
        gain, offset = (
            np.asarray(v, np.float32)[:, None, None] for v in (self.gains, self.offsets)
        )
        data = to_dtype(gain * pixels.data.astype(np.float32) + offset, pixels.data.dtype)
        return Pixels(np.where(pixels.valid, data, pixels.data), pixels.valid)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Tone:
        """Build from JSON values."""
        return cls(gains=tuple(plain["gains"]), offsets=tuple(plain["offsets"]))


def fit_tones(looks: Sequence[Look], places: Places) -> dict[str, Tone]:
    """A line for each scene of a mosaic that needs one, by its id.

    Parameters
    ----------
    looks : sequence of Look
        Best first.
    places : Places
        Where they were looked at.

    Raises
    ------
    SourceError
        If bands cannot be read.

    Notes
    -----
    The first scene stays as it is. The others follow in their order as soon as they share enough
    clear ground with those that are done; a scene that shares none, or shares it too unlike
    (`geo.harmonise.fit_colours`), stays as it is as well.
    """
    tones: dict[str, Tone] = {}
    common, known = _sample_bands(looks[0], places)
    waiting = list(looks[1:])
    while (look := _first_beside(waiting, known)) is not None:
        waiting.remove(look)
        values, good = _sample_bands(look, places)
        shared = good & known
        if np.count_nonzero(shared) < _LEAST_PLACES:
            continue
        fit = fit_colours(values[:, shared], common[:, shared])
        if fit.reason is not None:
            continue
        tones[look.scene.id] = Tone(gains=fit.gains, offsets=fit.offsets)
        fresh = good & ~known
        common[:, fresh] = fit.apply(values[:, fresh])
        known |= good
    return tones


def _first_beside(looks: Sequence[Look], known: _Mask) -> Look | None:
    """The first scene that shares enough ground with those that are done."""
    for look in looks:
        if np.count_nonzero(look.clear & known) >= _LEAST_PLACES:
            return look
    return None


def _sample_bands(look: Look, places: Places) -> tuple[npt.NDArray[np.float32], _Mask]:
    """Values of a scene's bands at places, [C, places], and where they are good."""
    planes, good = [], look.clear.copy()
    for ref in look.source.refs:
        values, valid = read_sparsely(
            ref.href, places, index=ref.index, resampling=Resampling.average
        )
        planes.append(values.astype(np.float32) + np.float32(ref.offset_dn))
        good = good & valid
    return np.stack(planes), good
