"""The command that writes a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, run_command

_EXAMPLE = "Example: skyscale export models:/skyscale-generator@champion generator.onnx"


def add_to(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLE)(export)


def export(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS, runs:/ID/generator, or a folder.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    format: Annotated[  # noqa: A002  # the name of the option
        str | None,
        typer.Option(help="onnx, or pt2 (torch.export); by default what OUT ends with."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model as a graph from DN to DN that runs without skyscale, and check that it does."""

    def work() -> dict[str, Any]:
        from flows.export import export_model

        return export_model(model, out, format)

    run_command(work, json=json, debug=debug, tell=_tell)


def _tell(r: dict[str, Any]) -> list[str]:
    use = (
        f"onnxruntime.InferenceSession('{r['output']}').run(['sr'], {{'lr': lr}})"
        if r["format"] == "onnx"
        else f"torch.export.load('{r['output']}').module()(lr)"
    )
    return [
        f"Wrote {r['output']} ({r['bytes'] / 1e3:.0f} kB): {r['name']}, bands "
        f"{', '.join(r['bands'])}, scale {r['scale']}.",
        f"  same as the generator within {r['difference_dn']:.2g} DN on {len(r['shapes'])} sizes "
        f"(allowed: {r['tolerance_dn']:.2g}).",
        f"Next: {use} with DN float32 [N, {len(r['bands'])}, h, w]; blocks of a region overlap by "
        f"{r['halo']} px on each side",
    ]
