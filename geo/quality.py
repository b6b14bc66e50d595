"""Where satellite pixels can be trusted: clouds, shadows, saturation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.warp import warp_to

# Classes of Sentinel-2's scene classification (Sentinel-2 L2A ATBD, table 3).
NO_DATA, SATURATED, CLOUD_SHADOW = 0, 1, 3
CLOUD_CLASSES = (8, 9, 10)  # medium probability, high probability, thin cirrus
_BAD_CLASSES = (NO_DATA, SATURATED, CLOUD_SHADOW, *CLOUD_CLASSES)

# The classification draws clouds tight; their soft rim reaches further.
_RIM_PX = 2


def screen_clouds(
    classification_href: str, geobox: GeoBox
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Clear and cloudy pixels by a scene classification.

    Parameters
    ----------
    classification_href : str
        Raster of Sentinel-2 SCL classes, on any grid.
    geobox : GeoBox
        The satellite grid, ``h`` by ``w``.

    Returns
    -------
    clear : array of bool, [h, w]
        Neither cloud nor cloud shadow nor saturated, two pixels away from any of them.
    cloudy : array of bool, [h, w]
        Cloud as classified, without the rim.

    Raises
    ------
    SourceError
        If the classification cannot be read.
    """
    scl = warp_to(classification_href, geobox, resampling="nearest")
    classes = scl.data[0].astype(np.uint8)  # [h, w]
    cloudy = np.isin(classes, CLOUD_CLASSES) & scl.valid
    bad = np.isin(classes, _BAD_CLASSES) | ~scl.valid
    grown = ndimage.binary_dilation(bad, iterations=_RIM_PX) if bad.any() else bad
    return ~grown, cloudy
