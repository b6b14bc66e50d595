"""What an upscaling run will do, decided from the source without reading its pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags

from geo.cog import RasterProfile
from geo.errors import BandError, UpscaleError
from geo.raster_io import BandRef, Source, inspect_raster, open_raster, source_geobox
from geo.regionstore import RegionLayout, fingerprint, json_number
from geo.tiling import Tiling
from geo.upsampler import Upsampler, UpsamplerFacts

# Beyond 24 bits float32 between file and network would not carry the values.
OUTPUT_DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
_OUTPUT_DTYPE_OF = {"float16": "float32", "float64": "float32"}

_NAMELESS = re.compile(r"band\d+|gray")


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig:
    """How a region is upscaled.

    Parameters
    ----------
    block_lr_px : int
        Edge of a block in LR pixels.
    dtype : str or None
        Of the output; the source's own by default (float32 for wider floats).
    """

    block_lr_px: int = 256
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.block_lr_px < 1:
            raise ValueError(f"block_lr_px is {self.block_lr_px}; wanted 1 or more")
        if self.dtype is not None and self.dtype not in OUTPUT_DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; wanted one of {', '.join(OUTPUT_DTYPES)}")


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """A source file as it was when the plan was made; a remote one has no size and time."""

    href: str
    size: int | None
    mtime_ns: int | None

    @classmethod
    def of(cls, href: str) -> FileStamp:
        """Look at a file now."""
        path = Path(href)
        if not path.is_file():
            return cls(href=href, size=None, mtime_ns=None)
        stat = path.stat()
        return cls(href=href, size=stat.st_size, mtime_ns=stat.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class UpscalePlan:
    """Everything that workers need to know; picklable, and JSON by `to_dict`.

    Parameters
    ----------
    source : tuple of BandRef
        In the order of the upsampler's bands.
    bands : tuple of str
        Their names.
    stamps : tuple of FileStamp
    output : str
        Absolute path.
    upsampler : UpsamplerFacts
    block_lr_px : int
    height, width : int
        Of the source.
    profile : RasterProfile
        Of the output.
    tags : dict of str to str
        Tags of the output that come from the source and the upsampler.
    """

    source: tuple[BandRef, ...]
    bands: tuple[str, ...]
    stamps: tuple[FileStamp, ...]
    output: str
    upsampler: UpsamplerFacts
    block_lr_px: int
    height: int
    width: int
    profile: RasterProfile
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def blocks(self) -> Tiling:
        """All blocks, on the source's grid."""
        return Tiling(self.height, self.width, self.block_lr_px)

    @property
    def folder(self) -> Path:
        """Working folder beside the output."""
        return Path(self.output + ".skyscale")

    @property
    def layout(self) -> RegionLayout:
        """Shape of the region store."""
        nodata = self.profile.nodata
        return RegionLayout(
            bands=self.profile.bands,
            height=self.height,
            width=self.width,
            scale=self.upsampler.scale,
            block_lr_px=self.block_lr_px,
            dtype=self.profile.dtype,
            fill=0.0 if nodata is None else nodata,
            masked=self.profile.masked,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the output's pixels and metadata depend on."""
        return {key: value for key, value in self.to_dict().items() if key != "output"}

    @property
    def fingerprint(self) -> str:
        """Identity of the work: another one is never mixed with it."""
        return fingerprint(self.facts)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        plain = asdict(self)
        plain["profile"]["nodata"] = json_number(self.profile.nodata)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> UpscalePlan:
        """Build from what `to_dict` gave, also by way of JSON."""
        profile = _tuples(plain["profile"])
        if profile["nodata"] is not None:
            profile["nodata"] = float(profile["nodata"])
        fields = {
            **plain,
            "source": tuple(BandRef(**ref) for ref in plain["source"]),
            "bands": tuple(plain["bands"]),
            "stamps": tuple(FileStamp(**stamp) for stamp in plain["stamps"]),
            "upsampler": UpsamplerFacts(**_tuples(plain["upsampler"])),
            "profile": RasterProfile(**profile),
        }
        return cls(**fields)

    def summary(self) -> dict[str, Any]:
        """Say what a run would do, as JSON values."""
        return {
            "source": list(dict.fromkeys(ref.href for ref in self.source)),
            "output": self.output,
            "model": self.upsampler.name,
            "scale": self.upsampler.scale,
            "halo_lr_px": self.upsampler.halo,
            "bands": list(self.bands),
            "dtype": self.profile.dtype,
            "nodata": json_number(self.profile.nodata),
            "blocks": len(self.blocks),
            "block_lr_px": self.block_lr_px,
            "output_shape": [self.profile.bands, self.profile.height, self.profile.width],
            "estimated_bytes": self.profile.pixel_bytes,
        }


def plan_upscale(
    source: Source,
    output: Path,
    upsampler: Upsampler | UpsamplerFacts,
    config: UpscaleConfig | None = None,
    *,
    bands: Sequence[str] | None = None,
) -> UpscalePlan:
    """Look at a source and decide everything; writes nothing.

    Parameters
    ----------
    source : str or sequence of BandRef
        A raster, or bands that may lie in several files on one grid.
    output : Path
        The COG to make.
    upsampler : Upsampler or UpsamplerFacts
    config : UpscaleConfig
    bands : sequence of str, optional
        Names. With a raster: which of its bands to take, in the order of the upsampler's bands.
        With a sequence of BandRef: what those bands are called. By default, the upsampler's bands
        are taken by name, or all in their order where the source gives them no names.

    Raises
    ------
    SourceError
        If the source cannot be used.
    BandError
        If it does not have the bands that the upsampler wants.
    UpscaleError
        If the output cannot be made of it.
    """
    config = config or UpscaleConfig()
    facts = UpsamplerFacts.of(upsampler)
    geobox, refs, names = _resolve(source, bands)
    wanted = bands if isinstance(source, str) else None
    chosen = _choose_bands(names, facts, wanted)
    refs, names = tuple(refs[i] for i in chosen), tuple(names[i] for i in chosen)
    output = output.absolute()
    hrefs = tuple(dict.fromkeys(ref.href for ref in refs))
    if str(output.resolve()) in {str(Path(href).resolve()) for href in hrefs}:
        raise UpscaleError(f"{output} is the source itself; wanted another output", output=output)
    tags = {
        "SKYSCALE_SOURCE": ",".join(hrefs),
        "SKYSCALE_MODEL": facts.name,
        "SKYSCALE_SCALE": str(facts.scale),
        "SKYSCALE_VERSION": version("skyscale"),
    }
    for key in ("TIFFTAG_DATETIME", "ACQUISITIONDATETIME"):
        if stamp := inspect_raster(hrefs[0]).tags.get(key):
            tags[key] = stamp
    return UpscalePlan(
        source=refs,
        bands=names,
        stamps=tuple(FileStamp.of(href) for href in hrefs),
        output=str(output),
        upsampler=facts,
        block_lr_px=config.block_lr_px,
        height=geobox.shape[0],
        width=geobox.shape[1],
        profile=_output_profile(refs, geobox, facts.scale, config.dtype),
        tags=tags,
    )


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists back to tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def _resolve(
    source: Source, names: Sequence[str] | None
) -> tuple[GeoBox, tuple[BandRef, ...], tuple[str, ...]]:
    """Grid, bands and their names of a source, by absolute paths."""
    if isinstance(source, str):
        info = inspect_raster(_absolute(source))
        return info.geobox, info.refs(), info.bands
    refs = tuple(BandRef(href=_absolute(ref.href), index=ref.index) for ref in source)
    if not refs:
        raise BandError("the source has no bands; wanted one at least")
    if names is None:
        found = []
        for ref in refs:
            info = inspect_raster(ref.href)
            found.append(dict(zip(info.indexes, info.bands, strict=True)).get(ref.index, ""))
        names = found
    if len(names) != len(refs):
        raise BandError(f"got {len(names)} names ({', '.join(names)}) for {len(refs)} bands")
    return source_geobox(refs), refs, tuple(names)


def _absolute(href: str) -> str:
    is_local = "://" not in href and not href.startswith("/vsi")
    return str(Path(href).absolute()) if is_local else href


def _choose_bands(
    names: tuple[str, ...], upsampler: UpsamplerFacts, chosen: Sequence[str] | None
) -> tuple[int, ...]:
    """Positions of the source's bands that the upsampler gets, in its order."""
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


def _output_profile(
    refs: Sequence[BandRef], geobox: GeoBox, scale: int, dtype: str | None
) -> RasterProfile:
    described = [_describe_band(ref) for ref in refs]
    if dtype is None:
        found = str(np.result_type(*(band["dtype"] for band in described)))
        dtype = _OUTPUT_DTYPE_OF.get(found, found)
        if dtype not in OUTPUT_DTYPES:
            raise UpscaleError(
                f"{refs[0].href} holds {found}, which float32 cannot carry exactly; "
                f"choose the output's dtype: {', '.join(OUTPUT_DTYPES)}",
                dtype=found,
            )
    usable = [band["nodata"] for band in described if _fits(band["nodata"], dtype)]
    nodata = usable[0] if usable else None
    always_valid = all(band["always_valid"] for band in described)
    # A float can say "nothing" by itself; integers without nodata need a mask.
    masked = nodata is None and not always_valid
    if nodata is None and not masked and np.dtype(dtype).kind == "f":
        nodata = math.nan
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    return RasterProfile(
        height=geobox.shape[0] * scale,
        width=geobox.shape[1] * scale,
        dtype=dtype,
        crs=described[0]["crs"],
        transform=(a / scale, b / scale, c, d / scale, e / scale, f),
        nodata=nodata,
        masked=masked,
        descriptions=tuple(band["description"] for band in described),
        colours=tuple(band["colour"] for band in described),
        scales=tuple(band["scale"] for band in described),
        offsets=tuple(band["offset"] for band in described),
    )


def _describe_band(ref: BandRef) -> dict[str, Any]:
    i = ref.index - 1
    with open_raster(ref.href) as dataset:
        colour = dataset.colorinterp[i].name
        return {
            "crs": dataset.crs.to_wkt(),
            "dtype": dataset.dtypes[i],
            "nodata": dataset.nodatavals[i],
            "always_valid": MaskFlags.all_valid in dataset.mask_flag_enums[i],
            "description": dataset.descriptions[i],
            # Upscaled palette indexes are numbers without their colours.
            "colour": "gray" if colour == "palette" else colour,
            "scale": dataset.scales[i],
            "offset": dataset.offsets[i],
        }


def _fits(nodata: float | None, dtype: str) -> bool:
    if nodata is None:
        return False
    if np.dtype(dtype).kind == "f":
        return not math.isfinite(nodata) or abs(nodata) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return float(nodata).is_integer() and bool(limits.min <= nodata <= limits.max)
