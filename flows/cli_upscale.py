"""``skyscale upscale``: a region through a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_report import score_lines
from flows.command import Debug, Json, Workers, run_command, split_names

_EPILOG = """\
Example: skyscale upscale scene.tif out.tif --model models:/skyscale-generator@champion

Example, with a report: skyscale upscale scene.tif out.tif --model bicubic --reference aerial.tif

Example: skyscale upscale stac-api:https://stac.example/v1#sentinel-2-l2a region.tif --model bicubic
--aoi 2.7,42.3,2.9,42.4 --start 2026-06-01 --end 2026-07-01 --max-cloud 0.3 --dry-run

Example, kept up to date every night: skyscale upscale scenes/collection.json region.tif --model
models:/skyscale-generator@champion --aoi region.geojson --days 90 --newest --update
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=_EPILOG)(upscale)


def upscale(
    source: Annotated[
        str,
        typer.Argument(help="Raster, STAC item, collection, API, GeoParquet of items or folder."),
    ],
    output: Annotated[
        Path, typer.Argument(help="COG to write, or Zarr if its name ends in .zarr.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="models:/NAME@ALIAS, runs:/ID/generator, a folder, nearest, bicubic or lanczos."
        ),
    ],
    scale: Annotated[
        int | None, typer.Option(help="For nearest, bicubic and lanczos; 4 by default.")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Names with commas.")] = None,
    aoi: Annotated[
        str | None, typer.Option(help="GeoJSON file, or west,south,east,north in degrees.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day, for a collection.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last one.")] = None,
    days: Annotated[
        int | None, typer.Option(help="Instead of --start: scenes of the last so many days.")
    ] = None,
    near: Annotated[
        str | None, typer.Option(help="Day: of scenes as clear, those near to it come first.")
    ] = None,
    newest: Annotated[
        bool,
        typer.Option(
            "--newest", help="Later scenes come first: each pixel is the last one seen clear."
        ),
    ] = False,
    max_cloud: Annotated[
        float, typer.Option(help="Most cloud over the area of a scene that is used, 0 to 1.")
    ] = 1.0,
    crs: Annotated[
        str | None, typer.Option(help="Of the output, for several scenes, as EPSG:32631.")
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Bring several scenes to the colours of the best.")
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble", help="Mean of eight turned answers, their spread as one more band."
        ),
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Of a network with dropout: mean of so many thinned networks, 2 or more, their "
            "spread as one more band. As many times the time, with --ensemble times eight; no "
            "more memory, but for the weights.",
        ),
    ] = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency",
            help="Make the mean over each LR pixel equal the LR image; costs PSNR where the sensor "
            "blurs beyond its pixel.",
        ),
    ] = False,
    dtype: Annotated[
        str | None, typer.Option(help="Of the output: uint8, int8, uint16, int16 or float32.")
    ] = None,
    compression: Annotated[
        str, typer.Option(help="Of a COG: deflate, zstd (smaller and faster) or none.")
    ] = "deflate",
    precision: Annotated[
        str, typer.Option(help="Of a network: float32, bfloat16 or auto.")
    ] = "float32",
    block: Annotated[
        int | None, typer.Option(help="Source pixels on a side of a block; fits memory by default.")
    ] = None,
    memory_mb: Annotated[
        int, typer.Option(help="Memory for the blocks that are worked on at a time.")
    ] = 1500,
    reference: Annotated[
        str | None,
        typer.Option(help="Aerial imagery: report on the output in the same run."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder of the report, also without --reference; OUTPUT-report else."),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Where OUTPUT is there: draw only blocks whose source shows something else since.",
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever was finished before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Upscale a region, and report on it if asked; a second run goes on where one broke off."""

    def work() -> dict[str, Any]:
        from flows.upscale import UpscaleFlowConfig
        from flows.upscale import upscale as flow

        return flow(
            UpscaleFlowConfig(
                source=source,
                output=str(output),
                model=model,
                scale=scale,
                bands=split_names(bands),
                aoi=aoi,
                start=start,
                end=end,
                days=days,
                near=near,
                newest=newest,
                max_cloud=max_cloud,
                crs=crs,
                balance=balance,
                ensemble=ensemble,
                draws=draws,
                consistency=consistency,
                dtype=dtype,
                compression=compression,
                precision=precision,
                block=block,
                memory_mb=memory_mb,
                reference=reference,
                report=None if report is None else str(report),
                update=update,
                restart=restart,
                dry_run=dry_run,
                workers=workers,
            )
        )

    run_command(work, json=json, debug=debug, tell=_told)


def _told(r: dict[str, Any]) -> list[str]:
    if r.get("dry_run"):
        shape = " x ".join(map(str, reversed(r["output_shape"])))
        return [
            f"{r['blocks']} blocks, {r['output_megapixels']:.1f} Mpx ({shape} {r['dtype']}), "
            f"{r['megabytes']} MB before compression, halo {r['halo_lr_px']} px.",
            *_update_lines(r),
            *[f"Scene {scene}" for scene in r["scenes"]],
            *[f"Not used: {x['scene']} ({x['reason']}: {x['detail']})" for x in r["refused"]],
        ]
    if r["up_to_date"]:
        return _update_lines(r)
    kept = f", {r['blocks_kept']} kept" if r["blocks_kept"] else ""
    lines = [
        f"Wrote {r['output']}: {r['blocks']} blocks in {r['seconds']:.1f} s "
        f"({r['blocks_done_before']} done before{kept}), "
        f"{r['output_megapixels_per_second']:.1f} output Mpx/s.",
    ]
    if r.get("item"):
        lines.append(f"Described in {r['item']}")
    if "report" in r:
        lines += [*score_lines(r["report"]), f"Look: {r['report']['files']['page']}"]
    elif r["format"] == "cog":
        lines.append(f"Next: skyscale report {r['output']} REFERENCE --out my-report")
    return lines


def _update_lines(r: dict[str, Any]) -> list[str]:
    if r["up_to_date"]:
        return [f"{r['output']} is up to date: no scene has come, gone or changed."]
    if (reached := r.get("blocks_with_other_scenes")) is not None:
        return [f"{reached} of the blocks have other scenes than {r['output']} was made of."]
    return []
