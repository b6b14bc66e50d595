"""A region at a glance: one small picture of a raster of any size, from its overviews."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from geo.pictures import stretch_limits, to_rgb8
from geo.raster_io import open_raster, source_refs


def draw_region(
    href: str, bands: Sequence[str] | None = None, *, longest_px: int = 900
) -> npt.NDArray[np.uint8]:
    """Stretched picture [h, w, 3]; where there is no pixel it is grey.

    Parameters
    ----------
    bands : sequence of str, optional
        All by default.

    Raises
    ------
    SourceError
        If the raster cannot be opened.
    """
    indexes = [ref.index for ref in source_refs(href, bands)]
    with open_raster(href) as dataset:
        names = bands or [dataset.descriptions[i - 1] or f"band{i}" for i in indexes]
        height, width = dataset.shape
        shrink = max(1.0, max(height, width) / longest_px)
        shape = (max(1, round(height / shrink)), max(1, round(width / shrink)))
        data = dataset.read(indexes, out_shape=(len(indexes), *shape)).astype(np.float32)
        valid = dataset.dataset_mask(out_shape=shape) > 0
    return to_rgb8(data, stretch_limits(data, valid), names, valid)
