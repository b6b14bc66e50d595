"""A brightness screen for scenes that come without any mask: thick clouds, and no more.

Clouds are white and brighter than anything coloured in the scene (whiteness: Gomez-Chova et al.,
IEEE TGRS 45, 2007; Zhu and Woodcock, Remote Sensing of Environment 118, 2012). It is a screen and
no classifier: it sees no shadows and no thin cirrus, and it may take snow for cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_Mask = npt.NDArray[np.bool_]

# Ground with a wider range over its bands than this share of their mean has a colour.
_WHITENESS = 0.15
# Brightness that only the brightest coloured ground exceeds, in percent of its pixels.
_BRIGHTEST = 98.0
# A scene with less coloured ground than this tells nothing of how bright ground may be.
_LEAST_COLOURED = 0.02
# A cloud's core is this much brighter than that ground, whiter than most, and not small: white
# roofs are; from its core on, all that is as bright as ground and nearly white belongs to it.
_CORE_BRIGHTNESS = 1.5
_CORE_PX = 7
_EDGE_BRIGHTNESS = 1.0
_EDGE_WHITENESS = 0.2


@dataclass(frozen=True)
class BrightnessScreen:
    """Cloud by brightness and whiteness, relative to a scene's own ground.

    Parameters
    ----------
    ground_dn : float
        How bright the brightest coloured ground of the scene is, in its darkest band; infinite
        where the scene cannot tell, and then nothing is screened.
    """

    ground_dn: float

    def find_clouds(self, data: npt.NDArray[Any], valid: _Mask) -> _Mask:
        """Clouds in a piece of the scene.

        Parameters
        ----------
        data : array, [C, h, w]
        valid : array of bool, [h, w]

        Returns
        -------
        array of bool, [h, w]
        """
        darkest = data.min(axis=0)
        bright = (darkest > _CORE_BRIGHTNESS * self.ground_dn) & valid
        if np.count_nonzero(bright) < _CORE_PX**2:  # nearly always
            return np.zeros_like(valid)
        white = _range(data, valid)
        core = bright & (white < _WHITENESS)
        core = ndimage.binary_opening(core, np.ones((_CORE_PX, _CORE_PX)))
        edge = (darkest > _EDGE_BRIGHTNESS * self.ground_dn) & valid & (white < _EDGE_WHITENESS)
        return np.asarray(ndimage.binary_propagation(core, mask=edge | core))


def learn_brightness(samples: Sequence[tuple[npt.NDArray[Any], _Mask]]) -> BrightnessScreen:
    """Learn from samples of a scene how bright its ground is.

    Parameters
    ----------
    samples : sequence of (data [C, h, w], valid [h, w])
        Spread over the scene. A single band has no whiteness, and then there is no screen.
    """
    darkest = [np.empty(0)]
    for data, valid in samples:
        darkest.append(data.min(axis=0)[valid & (_range(data, valid) >= _WHITENESS)])
    coloured = np.concatenate(darkest)
    seen = sum(int(np.count_nonzero(valid)) for _, valid in samples)
    if len(coloured) <= _LEAST_COLOURED * seen:
        return BrightnessScreen(float("inf"))
    return BrightnessScreen(float(np.percentile(coloured, _BRIGHTEST)))


def _range(data: npt.NDArray[Any], valid: _Mask) -> npt.NDArray[np.float32]:
    """Range over the bands relative to their mean: 0 for white, grey and black."""
    planes = np.where(valid, data, 0).astype(np.float32)
    mean = np.maximum(planes.mean(axis=0), 1e-6)
    return np.asarray((planes.max(axis=0) - planes.min(axis=0)) / mean)
