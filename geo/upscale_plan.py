"""What an upscaling run will do, decided from the source without reading its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from geo.cog import CogSink
from geo.errors import BandError, UpscaleError
from geo.output_profile import OUTPUT_DTYPES, band_positions, output_profile
from geo.raster_io import inspect_raster
from geo.raster_profile import RasterProfile
from geo.region_sink import RegionSink, json_number
from geo.region_source import RasterSource, RegionSource, raster_source, source_from_dict
from geo.regionstore import fingerprint, stored_plan
from geo.tiff_tiles import COMPRESSIONS, Compression
from geo.tiling import Tiling
from geo.upsampler import StripUpsampler, Upsampler, UpsamplerFacts

TILE_PX = 512

# Bytes of memory for a pixel of one plane of the output: what the network makes, what is rounded
# from it, what waits to be written, and the layers before. Drawn and written in strips, a block
# takes little beside its LR pixels: as read, filled, laid out and as the network wants them.
_BYTES_A_PIXEL, _BYTES_IN_STRIPS, _BYTES_AN_LR_PIXEL = 16, 2, 16
_LEAST_BLOCK_PX, _MOST_BLOCK_PX = 1024, 4096
# Blocks for each worker, at least, so that all end at about the same time.
_FAIR_SHARE = 6


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig:
    """How a region is upscaled.

    Parameters
    ----------
    block_lr_px : int or None
        Edge of a block in LR pixels, rounded up to whole tiles; None fits memory and region.
    dtype : str or None
        Of the output; the source's own by default (float32 for wider floats).
    compression : {"deflate", "zstd", "none"}
        Of a COG.
    workers : int
        Blocks that are worked on side by side in one memory.
    memory_mb : int
        What all of them together may take for their blocks.
    tile_px : int
        Edge of the output's tiles, a multiple of 16.
    """

    block_lr_px: int | None = None
    dtype: str | None = None
    compression: Compression = "deflate"
    workers: int = 1
    memory_mb: int = 1500
    tile_px: int = TILE_PX

    def __post_init__(self) -> None:
        for name in ("block_lr_px", "workers", "memory_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; wanted 1 or more")
        if self.dtype is not None and self.dtype not in OUTPUT_DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; wanted one of {', '.join(OUTPUT_DTYPES)}")
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"compression is {self.compression!r}; wanted one of {', '.join(COMPRESSIONS)}"
            )
        if self.tile_px < 16 or self.tile_px % 16:
            raise ValueError(f"tile_px is {self.tile_px}; wanted a multiple of 16")


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
    source : RegionSource
        With its bands in the order of the upsampler's.
    stamps : tuple of FileStamp
    output : str
        Absolute path.
    upsampler : UpsamplerFacts
    block_lr_px : int
    profile : RasterProfile
        Of the output.
    compression : str
    tile_px : int
    tags : dict of str to str
        Tags of the output that come from the source and the upsampler.
    """

    source: RegionSource
    stamps: tuple[FileStamp, ...]
    output: str
    upsampler: UpsamplerFacts
    block_lr_px: int
    profile: RasterProfile
    compression: Compression = "deflate"
    tile_px: int = TILE_PX
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Of the source."""
        return int(self.source.geobox.shape[0])

    @property
    def width(self) -> int:
        """Of the source."""
        return int(self.source.geobox.shape[1])

    @property
    def format(self) -> Literal["cog", "zarr"]:
        """Told by the output's name."""
        return "zarr" if self.output.endswith(".zarr") else "cog"

    @property
    def fill_margin_lr_px(self) -> int:
        """Pixels beyond block and halo that may fill holes in them.

        What fills a hole must not depend on the block that asks. A hole pixel matters where it lies
        in the halo of a valid pixel, which is then at most halo * sqrt(2) from it; so its nearest
        valid pixel is no farther.
        """
        return math.ceil(self.upsampler.halo * math.sqrt(2))

    @property
    def blocks(self) -> Tiling:
        """All blocks, on the source's grid."""
        return Tiling(self.height, self.width, self.block_lr_px)

    @property
    def folder(self) -> Path:
        """Working folder beside the output."""
        return Path(self.output + ".skyscale")

    @property
    def sink(self) -> RegionSink:
        """Where the blocks go."""
        if self.format == "zarr":
            from geo.region_zarr import ZarrRegion

            return ZarrRegion(
                profile=self.profile,
                bands=(*self.source.bands, *self.upsampler.extras),
                scale=self.upsampler.scale,
                block_lr_px=self.block_lr_px,
                chunk_px=self.tile_px,
            )
        return CogSink(
            profile=self.profile,
            scale=self.upsampler.scale,
            block_lr_px=self.block_lr_px,
            compression=self.compression,
            tile_px=self.tile_px,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the output's pixels and metadata depend on."""
        return {key: value for key, value in self.to_dict().items() if key != "output"} | {
            "sink": self.sink.facts
        }

    @property
    def fingerprint(self) -> str:
        """Identity of the work: another one is never mixed with it."""
        return fingerprint(self.facts)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        return {
            "source": self.source.to_dict(),
            "stamps": [asdict(stamp) for stamp in self.stamps],
            "output": self.output,
            "upsampler": asdict(self.upsampler),
            "block_lr_px": self.block_lr_px,
            "profile": asdict(self.profile) | {"nodata": json_number(self.profile.nodata)},
            "compression": self.compression,
            "tile_px": self.tile_px,
            "tags": dict(self.tags),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> UpscalePlan:
        """Build from what `to_dict` gave, also by way of JSON."""
        profile = _tuples(plain["profile"])
        if profile["nodata"] is not None:
            profile["nodata"] = float(profile["nodata"])
        fields = {
            **plain,
            "source": source_from_dict(plain["source"]),
            "stamps": tuple(FileStamp(**stamp) for stamp in plain["stamps"]),
            "upsampler": UpsamplerFacts(**_tuples(plain["upsampler"])),
            "profile": RasterProfile(**profile),
        }
        return cls(**fields)

    def summary(self) -> dict[str, Any]:
        """Say what a run would do, as JSON values."""
        return {
            "source": list(self.source.hrefs),
            "output": self.output,
            "format": self.format,
            "model": self.upsampler.name,
            "scale": self.upsampler.scale,
            "halo_lr_px": self.upsampler.halo,
            "bands": [*self.source.bands, *self.upsampler.extras],
            "dtype": self.profile.dtype,
            "nodata": json_number(self.profile.nodata),
            "blocks": len(self.blocks),
            "block_lr_px": self.block_lr_px,
            "output_shape": [self.profile.bands, self.profile.height, self.profile.width],
            "estimated_bytes": self.profile.pixel_bytes,
        }


def plan_upscale(
    source: RegionSource | str,
    output: Path,
    upsampler: Upsampler | UpsamplerFacts,
    config: UpscaleConfig | None = None,
    *,
    bands: Sequence[str] | None = None,
) -> UpscalePlan:
    """Look at a source and decide everything; writes nothing.

    Parameters
    ----------
    source : RegionSource or str
        A region, or a raster by its href.
    output : Path
        The COG to make, or the Zarr if its name ends in ``.zarr``.
    upsampler : Upsampler or UpsamplerFacts
    config : UpscaleConfig
    bands : sequence of str, optional
        Names of the bands to take, in the order of the upsampler's bands. By default the
        upsampler's bands are taken by name, or all in their order where there are no names.

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
    region = raster_source(source) if isinstance(source, str) else source
    region = _with_bands(region, facts, bands)
    output = output.absolute()
    if str(output.resolve()) in {str(Path(href).resolve()) for href in region.hrefs}:
        raise UpscaleError(f"{output} is the source itself; wanted another output", output=output)
    profile = output_profile(region, facts, config.dtype)
    in_strips = isinstance(upsampler, StripUpsampler) and output.suffix != ".zarr"
    plan = UpscalePlan(
        source=region,
        stamps=tuple(FileStamp.of(href) for href in region.hrefs),
        output=str(output),
        upsampler=facts,
        block_lr_px=_block_lr_px(region, facts, profile, config, in_strips=in_strips),
        profile=profile,
        compression=config.compression,
        tile_px=config.tile_px,
        tags=_tags(region, facts),
    )
    return plan if config.block_lr_px is not None else _with_blocks_begun(plan)


def _with_blocks_begun(plan: UpscalePlan) -> UpscalePlan:
    """The plan with the blocks of the work that lies there, if nothing else sets them apart.

    Another number of workers would cut the region otherwise, and all that is done would be lost.
    """
    begun = stored_plan(plan.folder)
    block = begun.get("block_lr_px")
    if not isinstance(block, int) or block < 1 or block % plan.sink.block_multiple_lr_px:
        return plan
    alike = replace(plan, block_lr_px=block)
    return alike if alike.fingerprint == begun.get("fingerprint") else plan


def _with_bands(
    source: RegionSource, facts: UpsamplerFacts, bands: Sequence[str] | None
) -> RegionSource:
    """The source with the bands that the upsampler gets, in its order."""
    positions = band_positions(source.bands, facts, bands)
    if positions == tuple(range(len(source.bands))):
        return source
    if isinstance(source, RasterSource):
        return source.take(positions)
    wanted = ", ".join(source.bands[i] for i in positions)
    raise BandError(
        f"the mosaic has bands {', '.join(source.bands)}; {facts.name} wants {wanted}: plan it "
        "with these"
    )


def _tags(source: RegionSource, facts: UpsamplerFacts) -> dict[str, str]:
    tags = {
        "SKYSCALE_SOURCE": ",".join(dict.fromkeys(ref.href for ref in source.reference)),
        "SKYSCALE_MODEL": facts.name,
        "SKYSCALE_SCALE": str(facts.scale),
        "SKYSCALE_VERSION": version("skyscale"),
    }
    for key in ("TIFFTAG_DATETIME", "ACQUISITIONDATETIME"):
        if stamp := inspect_raster(source.reference[0].href).tags.get(key):
            tags[key] = stamp
    return tags


def _block_lr_px(
    source: RegionSource,
    facts: UpsamplerFacts,
    profile: RasterProfile,
    config: UpscaleConfig,
    *,
    in_strips: bool,
) -> int:
    """Edge of a block: as large as memory allows, for halos cost less then; whole tiles."""
    multiple = config.tile_px // math.gcd(config.tile_px, facts.scale)
    if config.block_lr_px is not None:
        return -(-config.block_lr_px // multiple) * multiple
    a_plane: float = _BYTES_A_PIXEL
    if in_strips:
        a_plane = _BYTES_IN_STRIPS + _BYTES_AN_LR_PIXEL / facts.scale**2
    # What is worked on beside the output's planes counts with the planes.
    bytes_a_pixel = a_plane * (profile.bands + 1)
    room = 1e6 * config.memory_mb / config.workers / bytes_a_pixel
    edge_px = min(_MOST_BLOCK_PX, max(_LEAST_BLOCK_PX, math.sqrt(room)))
    shape = source.geobox.shape
    fair_px = facts.scale * math.sqrt(shape[0] * shape[1] / (_FAIR_SHARE * config.workers))
    edge_px = min(edge_px, max(_LEAST_BLOCK_PX, fair_px))
    # A power of two of tiles has overviews to itself.
    tiles = max(1, int(edge_px / facts.scale / multiple))
    power: int = 2 ** int(math.log2(tiles))
    return multiple * power


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists back to tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
