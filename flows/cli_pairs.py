"""The commands that find pairs: scenes, ingest, coregister."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, Workers, run_command, split_names

_INGEST_EXAMPLES = """Example: skyscale ingest --satellite scenes/satellite --aerial scenes/aerial
--store my-store --max-gap-days 20

What would be paired, on a map, without reading a pixel: add --dry-run --map my-map

Chips without partners, of either side or both: add --unpaired

The best two dates of each place, other years in the same season allowed: add --dates-per-chip 2
--season-days 30"""


def add_to(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example: skyscale scenes my-scenes --seed 3 --size 2048")(scenes)
    app.command(epilog=_INGEST_EXAMPLES)(ingest)
    app.command(epilog="Example: skyscale coregister aerial.tif satellite.tif --json")(coregister)


def scenes(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 7,
    size: Annotated[int, typer.Option(help="Aerial pixels on a side.")] = 3072,
    scale: Annotated[int, typer.Option(help="Satellite pixel over aerial pixel.")] = 4,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make demo scenes: aerial and satellite, with known truth, as STAC collections."""

    def work() -> dict[str, Any]:
        from flows.demo import make_demo_scenes

        return make_demo_scenes(out, seed=seed, size=size, scale=scale)

    run_command(
        work,
        json=json,
        debug=debug,
        tell=lambda r: [
            f"{out}: {r['satellite_scenes']} satellite scenes, {r['aerial_scenes']} aerial.",
            f"Next: skyscale ingest --satellite {out}/satellite --aerial {out}/aerial "
            f"--landcover {out}/landcover.geojson --store my-store",
        ],
    )


def ingest(
    store: Annotated[str, typer.Option(help="Folder or s3:// URL of the pair store.")],
    satellite: Annotated[
        str | None,
        typer.Option(
            help="STAC collection or item (path or URL), stac-api:URL#COLLECTION, GeoParquet of "
            "items, folder of rasters, raster."
        ),
    ] = None,
    aerial: Annotated[str | None, typer.Option(help="The same, for the aerial side.")] = None,
    unpaired: Annotated[
        bool,
        typer.Option(
            "--unpaired", help="Cut each side on its own, without partners; either may be left out."
        ),
    ] = False,
    degrade: Annotated[
        str | None,
        typer.Option(
            help="Make pairs of the aerial side alone, LR images derived by this: `sensor`, a "
            "fixed sensor model, or a degrader, models:/NAME@ALIAS, runs:/ID/degrader or a folder."
        ),
    ] = None,
    aoi: Annotated[
        str | None, typer.Option(help="GeoJSON file, or west,south,east,north in degrees.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day of satellite scenes.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last one.")] = None,
    max_gap_days: Annotated[float, typer.Option(help="Most days between the two.")] = 30.0,
    season_days: Annotated[
        float | None,
        typer.Option(help="Other years match as well, within so many days of the year."),
    ] = None,
    max_solar_gap: Annotated[
        float | None,
        typer.Option(help="Most hours between the two local solar times: shadows alike."),
    ] = None,
    min_overlap: Annotated[
        float, typer.Option(help="Least share of the smaller footprint in common, 0-1.")
    ] = 0.01,
    max_cloud: Annotated[float, typer.Option(help="Most cloud over common ground, 0-1.")] = 0.6,
    dates_per_chip: Annotated[
        int | None, typer.Option(help="Of each aerial chip keep only the best N satellite dates.")
    ] = None,
    min_valid: Annotated[float, typer.Option(help="Least good share of a chip, 0-1.")] = 0.9,
    max_shift: Annotated[float, typer.Option(help="Largest shift, satellite pixels.")] = 4.0,
    borrow_shift: Annotated[
        bool,
        typer.Option(help="Where there is nothing to register on, use the neighbours' shift."),
    ] = False,
    harmonise: Annotated[
        str, typer.Option(help="Colours by `linear` gain and offset, or by `histogram`.")
    ] = "linear",
    bands: Annotated[
        str | None, typer.Option(help="Names with commas; default: those both sides share.")
    ] = None,
    scale: Annotated[int, typer.Option(help="2, 4 or 8.")] = 4,
    lr_size: Annotated[int, typer.Option(help="Satellite pixels on a side of a chip.")] = 32,
    landcover: Annotated[
        str | None, typer.Option(help="GeoJSON of polygons with the property `category`.")
    ] = None,
    split_block: Annotated[
        int | None, typer.Option(help="Chips on a side of held-out ground; 4 for a new store.")
    ] = None,
    split_buffer: Annotated[
        int | None, typer.Option(help="Chips set aside around it; 1 for a new store.")
    ] = None,
    data_range: Annotated[float | None, typer.Option(help="The DN that means 1.0.")] = None,
    time_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression that finds the time in names of rasters."),
    ] = None,
    catalog_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the tables of known scenes; default: STORE/catalog."),
    ] = None,
    map_dir: Annotated[
        str | None, typer.Option("--map", help="Folder of the map; default: STORE/maps.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find, align and store pairs of satellite and aerial chips."""
    options = {k: v for k, v in locals().items() if k not in ("json", "debug")}
    options["bands"] = split_names(bands)

    def work() -> dict[str, Any]:
        from flows.ingest import ingest as flow
        from flows.ingest_settings import IngestConfig

        return flow(IngestConfig(**options))

    run_command(work, json=json, debug=debug, tell=_tell_ingest)


def _tell_ingest(r: dict[str, Any]) -> list[str]:
    refused = ", ".join(f"{n} {why}" for why, n in r["rejected"].items()) or "none"
    lines = list(r["table"])
    if r.get("alone"):
        lines += _alone_lines(r, refused)
    elif r.get("dry_run"):
        lines += [
            f"At most {r['chips_at_most']} pairs ({r['megabytes_at_most']} MB before compression) "
            f"from {r['scene_pairs']} scene pairs, reading {r['megabytes_to_read']} MB; refused "
            f"so far: {refused}."
        ]
    else:
        from flows.ingest_report import sentence_of

        lines += [sentence_of(r)]
    if r.get("map"):
        lines.append(f"Look: {r['map']['html']} or {r['map']['png']}")
    if not r.get("dry_run"):
        task = " --config without-partners.toml" if r.get("alone") and not r["pairs_total"] else ""
        lines.append(f"Next: skyscale train --store {r['store']}{task}")
    return lines


def _alone_lines(r: dict[str, Any], refused: str) -> list[str]:
    if not r.get("dry_run"):
        from flows.ingest_alone_report import sentence_alone

        return [sentence_alone(r)]
    chips = r["chips_at_most"]
    what = f"{chips['lr']} LR and {chips['hr']} HR chips"
    if r["derived"] is not None:
        what = f"{chips['hr']} pairs derived by {r['derived']}, less those on held-out ground,"
    return [
        f"At most {what} ({r['megabytes_at_most']} MB before "
        f"compression) from {r['scenes']} scenes, LR pixels of {r['lr_pixel_m']:g} m beneath HR "
        f"ones, reading {r['megabytes_to_read']} MB; refused so far: {refused}."
    ]


def coregister(
    reference: Annotated[str, typer.Argument(help="The raster that is right.")],
    target: Annotated[str, typer.Argument(help="The raster whose shift is wanted.")],
    max_shift: Annotated[float, typer.Option(help="Largest shift, pixels of TARGET.")] = 4.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure the shift between two rasters, in pixels of TARGET, down and right."""

    def work() -> dict[str, Any]:
        from flows.pairs import measure_shift

        return measure_shift(reference, target, max_shift=max_shift)

    def tell(r: dict[str, Any]) -> list[str]:
        verdict = "accepted" if r["accepted"] else f"refused: {r['reason']}"
        return [
            f"dy {r['dy_px']:+.3f} px ({r['dy_m']:+.2f} m), dx {r['dx_px']:+.3f} px "
            f"({r['dx_m']:+.2f} m), reliability {r['reliability']:.2f}: {verdict}"
        ]

    run_command(work, json=json, debug=debug, tell=tell)
