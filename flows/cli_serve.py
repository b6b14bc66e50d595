"""The commands about servers: start them here, see how they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, run_command

Folder = Annotated[Path, typer.Option(help="Where the servers keep their data.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example: skyscale up")(up)
    app.command(epilog="Example: skyscale status")(status)


def up(
    folder: Folder = Path("servers"),
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's want a password.")
    ] = "127.0.0.1",
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server.")] = 5000,
    prefect_db: Annotated[
        str | None,
        typer.Option(help="postgresql://USER@HOST/DATABASE; SQLite in the folder by default."),
    ] = None,
    mlflow_db: Annotated[str | None, typer.Option(help="The same for MLflow.")] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(help="s3://BUCKET/PREFIX of MLflow's files; the folder by default."),
    ] = None,
    gpu_slots: Annotated[
        int | None, typer.Option(help="Trainings and upscalings side by side; one for each GPU.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Start servers: Prefect with a worker and our deployments, MLflow; Ctrl-C stops all.

    SKYSCALE_AUTH=USER:PASSWORD in the environment asks for it in both servers, and gives it.
    """

    def work() -> dict[str, Any]:
        from flows.serve import serve
        from flows.serve_options import ServeOptions

        return serve(
            ServeOptions(
                folder=folder,
                host=host,
                prefect_port=prefect_port,
                mlflow_port=mlflow_port,
                prefect_db=prefect_db,
                mlflow_db=mlflow_db,
                artifacts=artifacts,
                gpu_slots=gpu_slots,
            )
        )

    # Not quiet: what runs under the worker tells its story in the Prefect UI.
    run_command(work, json=False, debug=debug, tell=lambda _: ["Stopped."], quiet=False)


def status(folder: Folder = Path("servers"), json: Json = False, debug: Debug = False) -> None:
    """Tell how servers, workers, runs and disk stand; exit status 1 where something is not well."""
    well = True

    def work() -> dict[str, Any]:
        nonlocal well
        from flows.status import read_status

        found = read_status(folder)
        well = bool(found["well"])
        return found

    def tell(found: dict[str, Any]) -> list[str]:
        from flows.status import status_lines

        return status_lines(found)

    run_command(work, json=json, debug=debug, tell=tell)
    if not well:
        raise typer.Exit(1)
