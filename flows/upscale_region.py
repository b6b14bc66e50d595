"""What a region is made of: its source opened, its model fitted, its plan and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import FlowError, UsageError
from flows.registry import ModelSource, find_model
from flows.runtime import count_workers
from flows.upscale_work import UpsamplerRequest, load_upsampler

if TYPE_CHECKING:
    from flows.upscale import UpscaleFlowConfig
    from geo.catalog.scene import Scene
    from geo.region_query import Region, RegionQuery
    from geo.upscale import Earlier, UpscalePlan


@dataclass(frozen=True, kw_only=True)
class PlannedRegion:
    """All that is decided before the first block.

    Parameters
    ----------
    plan : UpscalePlan
    region : Region
        The source, its scenes, and what was refused.
    request : UpsamplerRequest
    tags : dict of str to str
        Provenance beside the plan's own.
    earlier : Earlier, optional
        An output that blocks are kept of.
    """

    plan: UpscalePlan
    region: Region
    request: UpsamplerRequest
    tags: dict[str, str]
    earlier: Earlier | None = None

    @property
    def is_up_to_date(self) -> bool:
        """The output is there, and made of the same by the same."""
        return self.earlier is not None and self.earlier.fingerprint == self.plan.fingerprint

    @property
    def times(self) -> tuple[datetime, ...]:
        """When the scenes were taken, in order."""
        return tuple(sorted(scene.time for scene in self.region.scenes))


def plan_region(config: UpscaleFlowConfig) -> PlannedRegion:
    """Open source and model and decide everything; writes nothing.

    Raises
    ------
    UsageError, GeoError, ModelError
        When they cannot be used or do not fit.
    """
    from geo.upscale import UpscaleConfig, plan_upscale

    model = find_model(config.model)
    request = UpsamplerRequest(
        model=model,
        scale=config.scale or 4,
        precision=config.precision,
        ensemble=config.ensemble,
        consistency=config.consistency,
        draws=config.draws,
    )
    try:
        settings = UpscaleConfig(
            block_lr_px=config.block,
            dtype=config.dtype,
            compression=config.compression,  # type: ignore[arg-type]  # checks itself
            workers=count_workers(config.workers),
            memory_mb=config.memory_mb,
        )
        upsampler = load_upsampler(request)
        query = _query(config)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if config.scale is not None and config.scale != upsampler.scale:
        raise UsageError(
            f"--scale is {config.scale}, but {config.model} upscales by {upsampler.scale}: leave "
            "--scale out or take a model of that scale"
        )
    region = _open(config, query, config.bands or upsampler.bands)
    plan = plan_upscale(
        region.source, Path(config.output), upsampler, settings, bands=config.bands or None
    )
    if plan.format == "zarr":
        from geo.region_zarr import check_zarr_output

        check_zarr_output(Path(plan.output))
    if model.folder is not None:
        _check_values(region, model, plan)
    earlier = None
    if config.update and not config.restart:
        plan, earlier = _look_for_earlier(plan, config)
    return PlannedRegion(
        plan=plan,
        region=region,
        request=request,
        tags=_tags(config, model, region),
        earlier=earlier,
    )


def _look_for_earlier(
    plan: UpscalePlan, config: UpscaleFlowConfig
) -> tuple[UpscalePlan, Earlier | None]:
    """The output that is to be brought up to date, if it can be."""
    from geo.upscale import find_earlier

    plan, earlier, why = find_earlier(plan, any_blocks=config.block is None)
    if why:
        say(f"upscale: all of {config.output} is drawn anew: {why}")
    return plan, earlier


def _query(config: UpscaleFlowConfig) -> RegionQuery:
    from geo.catalog.aoi import read_aoi
    from geo.match import parse_day
    from geo.region_query import RegionQuery

    start = parse_day(config.start, "start") if config.start else None
    if config.days is not None:
        if config.days < 1 or start is not None:
            given = f"days {config.days}" + (f" and start {config.start}" if start else "")
            raise ValueError(f"got {given}; wanted days of 1 or more, or a start")
        start = datetime.now(UTC) - timedelta(days=config.days)
    return RegionQuery(
        aoi=read_aoi(config.aoi) if config.aoi else None,
        start=start,
        end=parse_day(config.end, "end") if config.end else None,
    )


def _open(config: UpscaleFlowConfig, query: RegionQuery, bands: Any) -> Region:
    """The source, with what was refused told."""
    from geo.catalog.sources import read_scenes
    from geo.match import parse_day
    from geo.mosaic_plan import MosaicRules
    from geo.region_query import Region, is_raster, open_region

    try:
        rules = MosaicRules(
            crs=config.crs,
            near=parse_day(config.near, "near") if config.near else None,
            newest=config.newest,
            max_cloud=config.max_cloud,
            balance=config.balance,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if is_raster(config.source):
        region = open_region(config.source, query=query)
        # The date in its name or tags, if there is one, lets a report find the aerial scene of it.
        dated, _ = read_scenes(config.source)
        return Region(source=region.source, scenes=tuple(dated))
    region = open_region(config.source, bands, query=query, rules=rules)
    for refusal in region.refusals[:10]:
        say(f"upscale: {refusal.id} is not used: {refusal.reason}, {refusal.detail}")
    if len(region.refusals) > 10:
        say(f"upscale: {len(region.refusals) - 10} more scenes are not used")
    return region


def _tags(config: UpscaleFlowConfig, model: ModelSource, region: Region) -> dict[str, str]:
    tags = {"SKYSCALE_MODEL_URI": config.model}
    if model.version is not None:
        tags["SKYSCALE_MODEL_VERSION"] = model.version
    if model.run_id is not None:
        tags["SKYSCALE_RUN_ID"] = model.run_id
    if region.scenes:
        tags["SKYSCALE_ITEM"] = ",".join(scene.id for scene in region.scenes)
        # Of several scenes, the best one's: it shows the most.
        tags["SKYSCALE_TIME"] = region.scenes[0].time.isoformat()
    return tags


def _check_values(region: Region, model: ModelSource, plan: UpscalePlan) -> None:
    """Refuse a source whose values cannot be what the network was trained on.

    Raises
    ------
    FlowError
    """
    from geo.value_range import sample_values
    from models.export import load_generator

    assert model.folder is not None
    generator, card = load_generator(Path(model.folder))
    mean = float(generator.standardise.mean.mean()) * card.data_range
    spread = float(generator.standardise.spread) * card.data_range
    values = sample_values(plan.source)
    if values is None:
        return
    too_dark = values.largest_possible is not None and values.largest_possible < mean
    too_bright = values.median > mean + 30 * spread
    if too_dark or too_bright:
        raise FlowError(
            f"{region.source.reference[0].href} has values around {values.median:g} "
            f"({plan.source.dtype}), but {model.uri} was trained on values around {mean:.4g} "
            f"(spread {spread:.3g}, reflectance 1 at {card.data_range:g}): bring the source to "
            "that range first, or take a model that was trained on such imagery"
        )


def scenes_used(scenes: Sequence[Scene], shares: Sequence[Mapping[str, Any]]) -> list[Scene]:
    """Those that have pixels in the output: a mosaic may hold scenes that others hide wholly.

    Parameters
    ----------
    shares : sequence of mapping
        Of a mosaic, see `geo.upscale.provenance`; empty for anything else.
    """
    hidden = {share["id"] for share in shares if not share["pixels"]}
    return [scene for scene in scenes if scene.id not in hidden]


def write_item(
    planned: PlannedRegion, config: UpscaleFlowConfig, shares: Sequence[Mapping[str, Any]]
) -> Path | None:
    """Put a STAC item beside the output; None, and said, where no source has a time."""
    from geo.region_item import ItemSource, RegionModel, describe_region, write_region_item

    plan, model = planned.plan, planned.request.model
    if not scenes_used(planned.region.scenes, shares):
        say("upscale: no STAC item, for the source tells no date")
        return None
    sources = [
        ItemSource(
            href=next(iter(scene.assets.values())).href,
            time=scene.time,
            title=scene.id,
            properties=scene.properties,
        )
        for scene in scenes_used(planned.region.scenes, shares)
    ]
    output = Path(plan.output)
    item = describe_region(
        output,
        plan.profile,
        (*plan.source.bands, *plan.upsampler.extras),
        scale=plan.upsampler.scale,
        sources=sources,
        model=RegionModel(
            name=plan.upsampler.name,
            uri=config.model,
            version=model.version or "",
            run_id=model.run_id or "",
        ),
        created=datetime.now(UTC),
        extra={"skyscale:provenance": list(shares)} if shares else None,
    )
    return write_region_item(item, output)
