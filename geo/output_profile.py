"""What the raster is like that is made of a source: bands, type, nodata, georeference."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import MaskFlags

from geo.errors import BandError, UpscaleError
from geo.raster_io import BandRef, open_raster
from geo.raster_profile import RasterProfile
from geo.region_source import RegionSource
from geo.upsampler import UpsamplerFacts

# Beyond 24 bits float32 between file and network would not carry the values.
OUTPUT_DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
_OUTPUT_DTYPE_OF = {"float16": "float32", "float64": "float32"}

_NAMELESS = re.compile(r"band\d+|gray")


def band_positions(
    names: Sequence[str], upsampler: UpsamplerFacts, chosen: Sequence[str] | None = None
) -> tuple[int, ...]:
    """Positions of the source's bands that the upsampler gets, in its order.

    Raises
    ------
    BandError
        If the source does not have them.
    """
    wanted = upsampler.bands
    if chosen is not None:
        missing = [name for name in chosen if name not in names]
        if missing or not chosen:
            raise BandError(
                f"the source has no band {', '.join(missing)}; it has {', '.join(names)}",
                missing=missing,
            )
        if wanted is not None and len(chosen) != len(wanted):
            raise BandError(
                f"got {len(chosen)} bands ({', '.join(chosen)}); "
                f"{upsampler.name} wants {len(wanted)} ({', '.join(wanted)})"
            )
        if wanted is not None and sorted(chosen) == sorted(wanted) and tuple(chosen) != wanted:
            raise BandError(
                f"got bands {', '.join(chosen)}; {upsampler.name} wants them in the order "
                f"{', '.join(wanted)}"
            )
        return tuple(names.index(name) for name in chosen)
    if wanted is None:
        return tuple(range(len(names)))
    if set(wanted) <= set(names):
        return tuple(names.index(name) for name in wanted)
    if len(names) == len(wanted) and (_nameless(names) or _nameless(wanted)):
        return tuple(range(len(names)))
    raise BandError(
        f"the source has bands {', '.join(names)}; {upsampler.name} wants {', '.join(wanted)}: "
        "say which bands to take",
        bands=names,
        wanted=wanted,
    )


def _nameless(names: Sequence[str]) -> bool:
    return all(_NAMELESS.fullmatch(name) for name in names)


def output_profile(
    source: RegionSource, upsampler: UpsamplerFacts, dtype: str | None = None
) -> RasterProfile:
    """What the output is like: as the source, on the finer grid.

    Raises
    ------
    UpscaleError
        If its type cannot carry the source's values.
    """
    described = [_describe_band(ref) for ref in source.reference]
    if dtype is None:
        dtype = _OUTPUT_DTYPE_OF.get(source.dtype, source.dtype)
        if dtype not in OUTPUT_DTYPES:
            raise UpscaleError(
                f"{source.reference[0].href} holds {source.dtype}, which float32 cannot carry "
                f"exactly; choose the output's dtype: {', '.join(OUTPUT_DTYPES)}",
                dtype=source.dtype,
            )
    usable = [band["nodata"] for band in described if _fits(band["nodata"], dtype)]
    nodata = usable[0] if usable else None
    always_valid = all(band["always_valid"] for band in described) and not source.adds_holes
    # A float can say "nothing" by itself; integers without nodata need a mask.
    masked = nodata is None and not always_valid
    if nodata is None and not masked and np.dtype(dtype).kind == "f":
        nodata = math.nan
    geobox, scale = source.geobox, upsampler.scale
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    extras = len(upsampler.extras)
    return RasterProfile(
        height=geobox.shape[0] * scale,
        width=geobox.shape[1] * scale,
        dtype=dtype,
        crs=CRS.from_user_input(str(geobox.crs)).to_wkt(),
        transform=(a / scale, b / scale, c, d / scale, e / scale, f),
        nodata=nodata,
        masked=masked,
        descriptions=(*(band["description"] for band in described), *upsampler.extras),
        colours=(*(band["colour"] for band in described), *["undefined"] * extras),
        # What is added to the bands is in their unit, and a difference has no offset.
        scales=(*(band["scale"] for band in described), *[described[0]["scale"]] * extras),
        offsets=(*(band["offset"] for band in described), *[0.0] * extras),
    )


def _describe_band(ref: BandRef) -> dict[str, Any]:
    i = ref.index - 1
    with open_raster(ref.href) as dataset:
        colour = dataset.colorinterp[i].name
        return {
            "nodata": dataset.nodatavals[i],
            "always_valid": MaskFlags.all_valid in dataset.mask_flag_enums[i],
            "description": dataset.descriptions[i],
            # Upscaled palette indexes are numbers without their colours.
            "colour": "gray" if colour == "palette" else colour,
            "scale": dataset.scales[i],
            # What reading adds to the DN is not to be taken away again.
            "offset": dataset.offsets[i] - dataset.scales[i] * ref.offset_dn,
        }


def _fits(nodata: float | None, dtype: str) -> bool:
    if nodata is None:
        return False
    if np.dtype(dtype).kind == "f":
        return not math.isfinite(nodata) or abs(nodata) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return float(nodata).is_integer() and bool(limits.min <= nodata <= limits.max)
