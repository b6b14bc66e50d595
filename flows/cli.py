"""The command `skyscale`: parses, calls the flows, prints what they made.

Heavy libraries are imported where a command needs them, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_export, cli_pairs, cli_store, cli_upscale
from flows.command import Debug, Json, Workers, run_command

app = typer.Typer(
    name="skyscale",
    help="Turns satellite imagery into aerial-grade imagery: pair, train, upscale, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cli_pairs.add_to(app)
cli_store.add_to(app)
cli_upscale.add_to(app)
cli_export.add_to(app)


@app.command(epilog="Example: skyscale train --store my-store --max-minutes 30")
def train(
    store: Annotated[str, typer.Option(help="Folder or s3:// URL of the pair store.")],
    store_version: Annotated[
        str | None, typer.Option(help="Train on this version: a number or a tag.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training settings.")] = None,
    balance: Annotated[
        float | None,
        typer.Option(help="0: pairs as often as they are; 1: all categories equally often."),
    ] = None,
    nproc: Annotated[int, typer.Option(help="Processes on this machine (one per GPU).")] = 1,
    nnodes: Annotated[int, typer.Option(help="Machines that train together.")] = 1,
    rendezvous: Annotated[str | None, typer.Option(help="host:port where they meet.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="MLflow run id to go on with; settings given beside it replace its."),
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only check, open the run and write its job down.")
    ] = False,
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
                store_version=store_version,
                config=None if config is None else str(config),
                balance=balance,
                nproc=nproc,
                nnodes=nnodes,
                rendezvous=rendezvous,
                resume=resume,
                prepare=prepare,
                max_minutes=max_minutes,
                seed=seed,
                out=str(out),
            )
        )

    def tell(r: dict[str, Any]) -> list[str]:
        from flows.tracking import ui_command

        if r.get("prepared"):
            return [
                f"Prepared run {r['run_id']}: {r['job']}.",
                f"Next: skyscale train --store {store} --resume {r['run_id']}, or torchrun "
                f"-m flows.train_worker {r['job']} on every machine",
            ]
        if r.get("led_elsewhere"):
            return [f"Run {r['run_id']}: done on this machine."]
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

    run_command(work, json=json, debug=debug, tell=tell)


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

    run_command(work, json=json, debug=debug, tell=tell)


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

    run_command(work, json=json, debug=debug, tell=_pipeline_lines)


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

    run_command(work, json=json, debug=debug, tell=_pipeline_lines)


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
    run_command(work, json=False, debug=debug, tell=lambda _: ["Stopped."], quiet=False)


def main() -> None:
    """Entry point."""
    app(prog_name="skyscale")


if __name__ == "__main__":
    main()
