"""The command `skyscale`: parses, calls the flows, prints what they made.

Heavy libraries are imported where a command needs them, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import (
    cli_compare,
    cli_export,
    cli_pairs,
    cli_report,
    cli_serve,
    cli_store,
    cli_study,
    cli_upscale,
)
from flows.cli_report import score_lines
from flows.command import Debug, Json, run_command

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
cli_report.add_to(app)
cli_export.add_to(app)
cli_compare.add_to(app)
cli_serve.add_to(app)
cli_study.add_to(app)


@app.command(epilog="Example: skyscale train --store my-store --max-minutes 30")
def train(
    store: Annotated[str, typer.Option(help="Folder or s3:// URL of the pair store.")],
    store_version: Annotated[
        str | None, typer.Option(help="Train on this version: a number or a tag.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training settings.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            help="Go on from this generator: models:/NAME@champion, models:/NAME/VERSION, "
            "runs:/ID/generator, a folder."
        ),
    ] = None,
    min_new_pairs: Annotated[
        int,
        typer.Option(help="Train only if so many pairs are new to the champion; 0: always."),
    ] = 0,
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
                start_from=start_from,
                min_new_pairs=min_new_pairs,
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

        if "reason" in r:
            return [f"{r['reason'][:1].upper()}{r['reason'][1:]}."]
        if r.get("prepared"):
            return [
                f"Prepared run {r['run_id']}: {r['job']}.",
                f"Next: skyscale train --store {store} --resume {r['run_id']}, or torchrun "
                f"-m flows.train_worker {r['job']} on every machine",
            ]
        if r.get("led_elsewhere"):
            return [f"Run {r['run_id']}: done on this machine."]
        lines = [f"Run {r['run_id']}, model {r['model_uri']}."]
        lines += [f"  {split}: {scores}" for split, scores in r["told"].items()]
        lines.append(f"Look: {ui_command()}")
        lines.append(f"Next: {r['next'].format(model=r['model_uri'])}")
        return lines

    run_command(work, json=json, debug=debug, tell=tell)


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
        *score_lines(r["report"]),
        f"Times: {seconds}.",
        "",
        f"Look at the region:  {r['upscale']['output']}",
        f"Look at the report:  {r['report_page']}",
        f"Look at the runs:    {ui_command()}",
    ]


def main() -> None:
    """Entry point."""
    app(prog_name="skyscale")


if __name__ == "__main__":
    main()
