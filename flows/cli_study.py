"""The commands of rating studies: make one, serve it, say what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, run_command, split_names

_MAKE = """Example, of an upscaled region: skyscale study make my-study --sr region.tif --reference
aerial.tif

Of the test pairs of a store, two models beside each other: skyscale study make my-study --store
my-store --model models:/skyscale-generator@champion --other models:/skyscale-generator/3"""

Folder = Annotated[Path, typer.Argument(help="Folder of the study.")]
Database = Annotated[
    str | None,
    typer.Option(
        help="postgresql://USER@HOST/DATABASE of the answers; SQLite in the folder by default."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the app."""
    study = typer.Typer(
        help="Ask people: real or generated? Which is better? How good?",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    study.command(epilog=_MAKE)(make)
    study.command(epilog="Example: skyscale study serve my-study")(serve)
    study.command(epilog="Example: skyscale study results my-study --csv answers.csv")(results)
    app.add_typer(study, name="study")


def make(
    folder: Folder,
    sr: Annotated[str | None, typer.Option(help="Upscaled raster.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="With --sr: aerial raster, STAC item or collection.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="With --sr: what it was made from; by default as it says.")
    ] = None,
    landcover: Annotated[
        str | None, typer.Option(help="With --sr: GeoJSON of polygons with `category`.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Pair store: with --sr its test ground alone, with --model its pairs."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Generator that draws the test pairs of --store.")
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="Another upscaled raster, or another generator, beside it.")
    ] = None,
    real_or_generated: Annotated[
        int, typer.Option(help="Trials of `real or generated?` for each rater.")
    ] = 20,
    preference: Annotated[int, typer.Option(help="Trials of `which is better?`.")] = 10,
    opinion: Annotated[int, typer.Option(help="Trials of `how good?`, 1 to 5.")] = 10,
    places: Annotated[
        int | None, typer.Option(help="Most places; three times the trials by default.")
    ] = None,
    exposure_ms: Annotated[
        int, typer.Option(help="How long an image of `real or generated?` is shown.")
    ] = 1000,
    title: Annotated[
        str, typer.Option(help="What raters read first.")
    ] = "Aerial photographs, real and generated",
    invite: Annotated[
        bool, typer.Option(help="Only who has the link that is printed may take part.")
    ] = False,
    run_id: Annotated[
        str | None, typer.Option(help="MLflow run of the results; by default the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of places and orders.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a study of an upscaled region, or of the test pairs of a store."""

    def work() -> dict[str, Any]:
        from flows.errors import UsageError
        from flows.report import ReportFlowConfig
        from flows.study.make import MakeConfig, study_of_region, study_of_store
        from flows.study.plan import OPINION, PREFERENCE, REAL_OR_GENERATED

        counts = {REAL_OR_GENERATED: real_or_generated, PREFERENCE: preference, OPINION: opinion}
        config = MakeConfig(
            out=folder,
            title=title,
            trials={name: count for name, count in counts.items() if count},
            places=places,
            exposure_ms=exposure_ms,
            seed=seed,
            invite=invite,
            run_id=run_id,
        )
        if sr is not None and model is None:
            region = ReportFlowConfig(
                sr=sr,
                out=str(folder),
                reference=reference,
                lr=lr,
                other=other,
                store=store,
                landcover=landcover,
            )
            return study_of_region(config, region)
        if store is not None and model is not None and sr is None:
            return study_of_store(config, store, model, other)
        raise UsageError(
            "a study is made of --sr and --reference, or of --store and --model; see --help"
        )

    def tell(r: dict[str, Any]) -> list[str]:
        return [
            f"Study of {r['places']} places in {r['folder']}.",
            f"Next: skyscale study serve {r['folder']}",
            f"Raters begin at {r['invitation']}",
        ]

    run_command(work, json=json, debug=debug, tell=tell)


def serve(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; in a network it wants a study of --invite.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8100,
    database: Database = None,
    names: Annotated[
        str | None, typer.Option(help="Names by which raters reach it, with commas between.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option(help="A proxy on this machine says who asks (X-Forwarded-For).")
    ] = False,
    requests: Annotated[str, typer.Option(help="Most requests from one address.")] = "100/second",
    joins: Annotated[str, typer.Option(help="Most new raters from one address.")] = "60/minute",
    debug: Debug = False,
) -> None:
    """Serve a study to raters until Ctrl-C; answers are kept as they come."""

    def work() -> dict[str, Any]:
        from flows.study.serve import ServeConfig, serve_study

        return serve_study(
            ServeConfig(
                folder=folder,
                host=host,
                port=port,
                database=database,
                hosts=tuple(split_names(names) or ()),
                behind_proxy=behind_proxy,
                requests=requests,
                joins=joins,
            )
        )

    run_command(work, json=False, debug=debug, tell=lambda _: ["Stopped."])


def results(
    folder: Folder,
    database: Database = None,
    csv: Annotated[Path | None, typer.Option(help="Write every answer into this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Add a page to this report, beside report.html.")
    ] = None,
    log: Annotated[bool, typer.Option(help="Log to the model's MLflow run.")] = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fooling rates, preferences and opinions, with intervals over raters and places."""

    def work() -> dict[str, Any]:
        from flows.study.results import results_of

        return results_of(folder, database=database, csv=csv, report=report, log=log)

    def tell(r: dict[str, Any]) -> list[str]:
        return list(r["lines"])

    run_command(work, json=json, debug=debug, tell=tell)
