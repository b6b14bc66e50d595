"""``skyscale report``: an upscaled region scored tile by tile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, Workers, run_command

_EPILOG = """\
Example: skyscale report out.tif aerial.tif --lr scene.tif --out my-report

Example, without a reference: skyscale report out.tif --out my-report

Example, two models: skyscale report out.tif aerial/ --other bicubic.tif --out my-report

Example, by use: skyscale report out.tif aerial.tif --segmenter net.onnx --labels cover.tif \
--out my-report
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=_EPILOG)(report)


def report(
    sr: Annotated[str, typer.Argument(help="The upscaled raster.")],
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Aerial raster, STAC item, collection, API or folder; without it only what needs "
            "no truth is scored: consistency, sharpness, seams."
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    lr: Annotated[
        str | None,
        typer.Option(
            help="Satellite raster or STAC item that SR was made from; SR itself names it if "
            "skyscale made it."
        ),
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="The same region upscaled by another model.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Pair store: headline numbers on its test ground only.")
    ] = None,
    landcover: Annotated[str | None, typer.Option(help="GeoJSON with `category`.")] = None,
    lpips: Annotated[str | None, typer.Option(help="File of LPIPS weights.")] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="Makes maps of SR, bicubic and the reference, which are compared: a trained "
            "segmenter (models:/..., runs:/..., folder) or an ONNX file."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="What those maps should show: GeoJSON with `category`, or a raster."),
    ] = None,
    tile: Annotated[int, typer.Option(help="LR pixels on a side of a tile.")] = 32,
    block_px: Annotated[
        int | None,
        typer.Option(help="Edge of the blocks that SR was made in, for the seam score."),
    ] = None,
    run_id: Annotated[str | None, typer.Option(help="MLflow run to log to.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever was scored before.")
    ] = False,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score every tile, on a map to look at; a second run goes on where one broke off."""

    def work() -> dict[str, Any]:
        from flows.report import ReportFlowConfig
        from flows.report import report as flow

        return flow(
            ReportFlowConfig(
                sr=sr,
                reference=reference,
                out=str(out),
                lr=lr,
                other=other,
                store=store,
                landcover=landcover,
                lpips=lpips,
                segmenter=segmenter,
                labels=labels,
                tile=tile,
                block_px=block_px,
                run_id=run_id,
                restart=restart,
                workers=workers,
            )
        )

    def tell(r: dict[str, Any]) -> list[str]:
        return [*score_lines(r), f"Look: {out}/report.html"]

    run_command(work, json=json, debug=debug, tell=tell)


def score_lines(r: dict[str, Any]) -> list[str]:
    """The result in words, and what it does not know."""
    from geo.reporting.headline import cautions, headline
    from geo.reporting.use_told import use_cautions, use_sentence

    lines = [headline(r), *(f"  {caution}" for caution in cautions(r))]
    if r.get("use"):
        lines += [use_sentence(r["use"]), *(f"  {caution}" for caution in use_cautions(r["use"]))]
    if r.get("seams"):
        score = r["seams"]["score"]
        lines.append(f"  Seams along edges of blocks: {score:+.3f} (0: none).")
    return lines
