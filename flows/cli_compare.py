"""The command that holds two reports against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import Debug, Json, run_command

_EXAMPLE = "Example: skyscale compare report-new models:/skyscale-generator@champion"


def add_to(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLE)(compare)


def compare(
    run_a: Annotated[
        str, typer.Argument(help="Run id, models:/NAME@ALIAS or /VERSION, or folder of a report.")
    ],
    run_b: Annotated[str, typer.Argument(help="What to compare it with; likewise.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json and a table of tiles.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Log it to a new MLflow run.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two reports on the tiles that both have scored: A less B, with intervals."""

    def work() -> dict[str, Any]:
        from flows.compare import compare_runs

        return compare_runs(run_a, run_b, out=out, log=log)

    run_command(work, json=json, debug=debug, tell=_tell)


def _tell(r: dict[str, Any]) -> list[str]:
    left = [
        f"{r[key]} {words}"
        for key, words in (
            ("only_in_a", "only in A"),
            ("only_in_b", "only in B"),
            ("other_pixels", "scored on other pixels"),
        )
        if r[key]
    ]
    lines = [
        f"A: {r['a']}",
        f"B: {r['b']}",
        f"{r['tiles']} tiles in both ({r['scope']}), of {r['places']} places of {r['place_tiles']} "
        f"x {r['place_tiles']} tiles" + (f"; left out: {', '.join(left)}" if left else ""),
        f"{'':18}{'A':>10}{'B':>10}{'A less B':>12}  95 % interval",
        *_row("PSNR, pooled, dB", r["psnr_db"], ".2f", "higher"),
        *_row("bicubic, dB", r["bicubic_psnr_db"], ".2f", None),
        *_row("hf_power_ratio", r["hf_power_ratio"], ".3f", "nearer 1"),
        *_row("correctness", r["correctness"], ".3f", "higher"),
    ]
    for name, of in r["scores"].items():
        lines += _row(name, of, ".3g", of["better"])
    if r["share_a_worse"] is not None:
        lines.append(f"A loses on {r['share_a_worse']:.0%} of the tiles.")
    for name, of in r["by_category"].items():
        lines += _row(f"  {name[:15]}", of["psnr_db"], ".2f", None)
    lines.append(f"By PSNR A is {r['verdict']}. {_by_rule(r)}")
    lines += [f"Look: {path}" for path in r["files"].values()]
    if "run_id" in r:
        lines.append(f"Logged to run {r['run_id']}.")
    return lines


def _by_rule(r: dict[str, Any]) -> str:
    verb = "would" if r["a_replaces_b"] else "would not"
    return f"By the rule for champions A {verb} take B's place: {r['reason']}."


def _row(label: str, of: dict[str, Any] | None, form: str, better: str | None) -> list[str]:
    if of is None:
        return []
    sign = f"+{form}"
    interval = of["interval"]
    told = "" if interval is None else f"  {interval[0]:{sign}} to {interval[1]:{sign}}"
    direction = "" if better is None else f"  ({better} is better)"
    numbers = f"{of['a']:>10{form}}{of['b']:>10{form}}{of['difference']:>+12{form}}"
    return [f"{label:18}{numbers}{told}{direction}"]
