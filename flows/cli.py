"""The command `skyscale`: parses, calls the flows, prints what they made.

Heavy libraries are imported where a command needs them, so that ``--help`` stays quick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.console import print_json, say, tell_people
from flows.errors import FlowError, UsageError
from flows.settings import prepare_environment

app = typer.Typer(
    name="skyscale",
    help="Turns satellite imagery into aerial-grade imagery: pair, train, upscale, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Workers = Annotated[int | None, typer.Option(help="Threads of the embedded Dask cluster.")]


def _run(
    work: Callable[[], dict[str, Any]],
    *,
    json: bool,
    debug: bool,
    tell: Callable[[dict[str, Any]], list[str]],
    quiet: bool = True,
) -> None:
    """Run a command: story to standard error, result to standard output, exit status."""
    prepare_environment(quiet=quiet and not debug)
    tell_people()
    try:
        result = work()
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, the same command goes on from there")
        raise typer.Exit(1) from None
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(_explain(error)) from None
    if json:
        print_json(result)
        return
    for line in tell(result):
        typer.echo(line)


def _explain(error: Exception) -> int:
    """One line for the user; returns the exit status."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UsageError):
        typer.echo(f"skyscale: {text}", err=True)
        return 2
    known = isinstance(error, FlowError) or type(error).__module__.startswith(("geo.", "models."))
    hint = "" if known else f" ({type(error).__name__}; --debug shows where)"
    typer.echo(f"skyscale: {text}{hint}", err=True)
    logging.getLogger("skyscale").debug("failed", exc_info=error)
    return 1


@app.command(epilog="Example: skyscale scenes my-scenes --seed 3 --size 2048")
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

    _run(
        work,
        json=json,
        debug=debug,
        tell=lambda r: [
            f"{out}: {r['satellite_scenes']} satellite scenes, {r['aerial_scenes']} aerial.",
            f"Next: skyscale ingest --satellite {out}/satellite --aerial {out}/aerial "
            f"--landcover {out}/landcover.geojson --store my-store",
        ],
    )


@app.command(
    epilog="Example: skyscale ingest --satellite scenes/satellite --aerial scenes/aerial "
    "--store my-store --max-gap-days 20"
)
def ingest(
    satellite: Annotated[
        str, typer.Option(help="STAC collection or item (path or URL), folder of rasters, raster.")
    ],
    aerial: Annotated[str, typer.Option(help="The same, for the aerial side.")],
    store: Annotated[str, typer.Option(help="Folder of the pair store.")],
    aoi: Annotated[
        str | None, typer.Option(help="GeoJSON file, or west,south,east,north in degrees.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day of satellite scenes.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last one.")] = None,
    max_gap_days: Annotated[float, typer.Option(help="Most days between the two.")] = 30.0,
    max_cloud: Annotated[float, typer.Option(help="Most cloud over common ground, 0-1.")] = 0.6,
    min_valid: Annotated[float, typer.Option(help="Least good share of a chip, 0-1.")] = 0.9,
    max_shift: Annotated[float, typer.Option(help="Largest shift, satellite pixels.")] = 4.0,
    bands: Annotated[
        str | None, typer.Option(help="Names with commas; default: those both sides share.")
    ] = None,
    scale: Annotated[int, typer.Option(help="2, 4 or 8.")] = 4,
    lr_size: Annotated[int, typer.Option(help="Satellite pixels on a side of a chip.")] = 32,
    landcover: Annotated[
        str | None, typer.Option(help="GeoJSON of polygons with the property `category`.")
    ] = None,
    split_block: Annotated[int, typer.Option(help="Chips on a side of held-out ground.")] = 4,
    split_buffer: Annotated[int, typer.Option(help="Chips set aside around it.")] = 1,
    data_range: Annotated[float | None, typer.Option(help="The DN that means 1.0.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find, align and store pairs of satellite and aerial chips."""
    options = {k: v for k, v in locals().items() if k not in ("json", "debug")}
    options["bands"] = _names(bands)

    def work() -> dict[str, Any]:
        from flows.ingest import ingest as flow
        from flows.ingest_settings import IngestConfig

        return flow(IngestConfig(**options))

    def tell(r: dict[str, Any]) -> list[str]:
        refused = ", ".join(f"{n} {why}" for why, n in r["rejected"].items()) or "none"
        if r.get("dry_run"):
            return [
                f"At most {r['chips_at_most']} pairs ({r['megabytes_at_most']} MB) from "
                f"{r['scene_pairs']} scene pairs; refused so far: {refused}.",
            ]
        return [
            f"Added {r['pairs_added']} pairs; {store} holds {r['pairs_total']} (version "
            f"{r['version']}). Refused: {refused}.",
            f"Next: skyscale train --store {store}",
        ]

    _run(work, json=json, debug=debug, tell=tell)


@app.command(epilog="Example: skyscale pairs my-store --rejected")
def pairs(
    store: Annotated[Path, typer.Argument(help="Folder of the pair store.")],
    rejected: Annotated[bool, typer.Option(help="List what was refused, and why.")] = False,
    export_png: Annotated[
        Path | None, typer.Option(help="Write pictures of pairs into this folder.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="As of this version.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a store holds."""

    def work() -> dict[str, Any]:
        from flows.pairs import describe_store

        return describe_store(store, version=version, rejected=rejected, export_png=export_png)

    def tell(r: dict[str, Any]) -> list[str]:
        lines = [
            f"{store}: {r['pairs']} pairs, version {r['version']}, bands {', '.join(r['bands'])}"
        ]
        for name in ("splits", "categories", "rejected"):
            counts = ", ".join(f"{n} {what}" for what, n in r[name].items()) or "none"
            lines.append(f"  {name}: {counts}")
        lines.append(f"  digest: {r['digest']}")
        for row in r.get("rejections", []):
            lines.append("  " + _refusal_line(row))
        if export_png:
            lines.append(f"Pictures: {export_png}")
        return lines

    _run(work, json=json, debug=debug, tell=tell)


def _refusal_line(row: dict[str, Any]) -> str:
    who = " + ".join(v for v in (row["satellite_id"], row["aerial_id"]) if v)
    cell = "" if row["row"] is None else f" cell {row['row']},{row['col']}"
    limit = "" if row["limit"] is None else f" against {row['limit']:g}"
    value = "" if row["value"] is None else f" {row['value']:.3g}{limit}"
    detail = f": {row['detail']}" if row["detail"] else ""
    return f"{who}{cell}: {row['reason']}{value}{detail}"


@app.command(epilog="Example: skyscale coregister aerial.tif satellite.tif --json")
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

    _run(work, json=json, debug=debug, tell=tell)


@app.command(epilog="Example: skyscale train --store my-store --max-minutes 30")
def train(
    store: Annotated[str, typer.Option(help="Folder of the pair store.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of training settings.")] = None,
    nproc: Annotated[int, typer.Option(help="Processes on this machine (one per GPU).")] = 1,
    nnodes: Annotated[int, typer.Option(help="Machines that train together.")] = 1,
    rendezvous: Annotated[str | None, typer.Option(help="host:port where they meet.")] = None,
    resume: Annotated[str | None, typer.Option(help="MLflow run id to go on with.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop in time.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the configuration.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a generator on a store, tracked in MLflow, and register it."""

    def work() -> dict[str, Any]:
        from flows.train import TrainFlowConfig
        from flows.train import train as flow

        return flow(
            TrainFlowConfig(
                store=store,
                config=None if config is None else str(config),
                nproc=nproc,
                nnodes=nnodes,
                rendezvous=rendezvous,
                resume=resume,
                max_minutes=max_minutes,
                seed=seed,
                out=str(out),
            )
        )

    def tell(r: dict[str, Any]) -> list[str]:
        from flows.tracking import ui_command

        lines = [f"Run {r['run_id']}, model {r['model_uri']}."]
        for split in ("val", "test"):
            if s := r.get(split):
                lines.append(
                    f"  {split}: PSNR {s['psnr_db']:.2f} dB, bicubic {s['bicubic_psnr_db']:.2f} "
                    f"dB, gain {s['gain_db']:+.2f} dB over {s['pairs']} pairs"
                )
        lines.append(f"Look: {ui_command()}")
        lines.append(f"Next: skyscale upscale SCENE OUT.tif --model {r['model_uri']}")
        return lines

    _run(work, json=json, debug=debug, tell=tell)


@app.command(
    epilog="Example: skyscale upscale scene.tif out.tif --model models:/skyscale-generator@champion"
)
def upscale(
    source: Annotated[str, typer.Argument(help="Raster, STAC item or collection.")],
    output: Annotated[Path, typer.Argument(help="COG to write.")],
    model: Annotated[
        str,
        typer.Option(
            help="models:/NAME@ALIAS, runs:/ID/generator, a folder, nearest, bicubic or lanczos."
        ),
    ],
    scale: Annotated[int, typer.Option(help="For nearest, bicubic and lanczos.")] = 4,
    bands: Annotated[str | None, typer.Option(help="Names with commas.")] = None,
    start: Annotated[str | None, typer.Option(help="First day, for a collection.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last one.")] = None,
    block: Annotated[int, typer.Option(help="Source pixels on a side of a block.")] = 256,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Upscale a region to a Cloud-Optimized GeoTIFF; a second run goes on where one broke off."""

    def work() -> dict[str, Any]:
        from flows.upscale import UpscaleFlowConfig
        from flows.upscale import upscale as flow

        return flow(
            UpscaleFlowConfig(
                source=source,
                output=str(output),
                model=model,
                scale=scale,
                bands=_names(bands),
                start=start,
                end=end,
                block=block,
                dry_run=dry_run,
                workers=workers,
            )
        )

    def tell(r: dict[str, Any]) -> list[str]:
        if r.get("dry_run"):
            return [f"{r['blocks']} blocks, {r['output_megapixels']:.1f} Mpx, {r['megabytes']} MB"]
        return [
            f"Wrote {r['output']}: {r['blocks']} blocks in {r['seconds']:.1f} s "
            f"({r['blocks_done_before']} done before), "
            f"{r['output_megapixels_per_second']:.1f} output Mpx/s.",
            f"Next: skyscale report {output} REFERENCE --lr {source} --out my-report",
        ]

    _run(work, json=json, debug=debug, tell=tell)


@app.command(epilog="Example: skyscale report out.tif aerial.tif --lr scene.tif --out my-report")
def report(
    sr: Annotated[str, typer.Argument(help="The upscaled raster.")],
    reference: Annotated[str, typer.Argument(help="Aerial raster, STAC item or collection.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    lr: Annotated[
        str | None, typer.Option(help="Satellite raster or STAC item that SR was made from.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Pair store: headline numbers on its test ground only.")
    ] = None,
    landcover: Annotated[str | None, typer.Option(help="GeoJSON with `category`.")] = None,
    tile: Annotated[int, typer.Option(help="LR pixels on a side of a tile.")] = 32,
    run_id: Annotated[str | None, typer.Option(help="MLflow run to log to.")] = None,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score every tile against aerial reference and bicubic, on a map to look at."""

    def work() -> dict[str, Any]:
        from flows.report import ReportFlowConfig
        from flows.report import report as flow

        return flow(
            ReportFlowConfig(
                sr=sr,
                reference=reference,
                out=str(out),
                lr=lr,
                store=store,
                landcover=landcover,
                tile=tile,
                run_id=run_id,
                workers=workers,
            )
        )

    def tell(r: dict[str, Any]) -> list[str]:
        return [*_score_lines(r), f"Look: {out}/report.html"]

    _run(work, json=json, debug=debug, tell=tell)


def _score_lines(r: dict[str, Any]) -> list[str]:
    def number(name: str, form: str = ".2f") -> str:
        return "unknown" if r.get(name) is None else format(r[name], form)

    return [
        f"{r['tiles']} tiles ({r['scope']}): PSNR {number('psnr_db')} dB, bicubic "
        f"{number('bicubic_psnr_db')} dB, gain {number('gain_db', '+.2f')} dB pooled, "
        f"{number('mean_gain_db', '+.2f')} dB mean of tiles, worse than bicubic on "
        f"{number('share_worse', '.0%')} of tiles"
    ]


@app.command("run", epilog="Example: skyscale run pipeline.toml")
def run_pipeline(
    config: Annotated[Path, typer.Argument(help="TOML file: ingest, train, upscale, report.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole path from one file."""

    def work() -> dict[str, Any]:
        from flows.pipeline import pipeline, read_pipeline

        return pipeline(read_pipeline(config))

    _run(work, json=json, debug=debug, tell=_pipeline_lines)


@app.command(epilog="Example: skyscale demo --out demo --minutes 4")
def demo(
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Minutes of training.")] = 3.5,
    seed: Annotated[int, typer.Option(help="Of the ground and of the training.")] = 7,
    size: Annotated[int, typer.Option(help="Aerial pixels on a side.")] = 3072,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make scenes, then run the whole path: pair, train, upscale, report."""

    def work() -> dict[str, Any]:
        from flows.demo import run_demo

        return run_demo(out, minutes=minutes, seed=seed, size=size)

    _run(work, json=json, debug=debug, tell=_pipeline_lines)


def _pipeline_lines(r: dict[str, Any]) -> list[str]:
    from flows.tracking import ui_command

    seconds = ", ".join(f"{stage} {s:.0f} s" for stage, s in r["seconds"].items())
    return [
        f"Pairs: {r['ingest']['pairs_total']} in {r['ingest']['store']}.",
        f"Model: {r['train']['model_uri']}.",
        *_score_lines(r["report"]),
        f"Times: {seconds}.",
        "",
        f"Look at the region:  {r['upscale']['output']}",
        f"Look at the report:  {r['report_page']}",
        f"Look at the runs:    {ui_command()}",
    ]


@app.command(epilog="Example: skyscale up")
def up(
    folder: Annotated[Path, typer.Option(help="Where the servers keep their data.")] = Path(
        "servers"
    ),
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server.")] = 5000,
    debug: Debug = False,
) -> None:
    """Start local servers: Prefect with a worker and our deployments, MLflow; Ctrl-C stops all."""

    def work() -> dict[str, Any]:
        from flows.serve import serve

        return serve(folder, prefect_port=prefect_port, mlflow_port=mlflow_port)

    # Not quiet: what runs under the worker tells its story in the Prefect UI.
    _run(work, json=False, debug=debug, tell=lambda _: ["Stopped."], quiet=False)


def _names(text: str | None) -> list[str] | None:
    return [n.strip() for n in text.split(",") if n.strip()] if text else None


def main() -> None:
    """Entry point."""
    app(prog_name="skyscale")


if __name__ == "__main__":
    main()
