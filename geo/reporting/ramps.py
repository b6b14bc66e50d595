"""Colours of numbers, ordered in lightness and safe for colour-blind readers; as on the page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ramp = npt.NDArray[np.float64]  # [stops, 3], 0 to 255

VIRIDIS: Ramp = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (109, 205, 89),
        (180, 222, 44),
        (253, 231, 37),
    ],
    np.float64,
)
# Loss to gain.
ORANGE_BLUE: Ramp = np.array(
    [
        (127, 59, 8),
        (179, 88, 6),
        (224, 130, 20),
        (253, 184, 99),
        (240, 236, 226),
        (146, 197, 222),
        (67, 147, 195),
        (33, 102, 172),
        (5, 48, 97),
    ],
    np.float64,
)
UNKNOWN = (128, 128, 128)


def paint(share: npt.ArrayLike, ramp: Ramp) -> npt.NDArray[np.uint8]:
    """Colours [..., 3] of shares from 0 to 1; what is not finite is grey."""
    values = np.asarray(share, np.float64)
    known = np.isfinite(values)
    at = np.clip(np.where(known, values, 0), 0, 1) * (len(ramp) - 1)
    stops = np.arange(len(ramp))
    colours = [np.interp(at, stops, ramp[:, band]) for band in range(3)]
    picture: npt.NDArray[np.uint8] = np.rint(np.stack(colours, axis=-1)).astype(np.uint8)
    picture[~known] = UNKNOWN
    return picture
