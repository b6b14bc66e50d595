"""A generator written for other runtimes: no flow needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import UsageError
from flows.registry import find_model


def export_model(model: str, out: Path, kind: str | None = None) -> dict[str, Any]:
    """Write a model as a checked graph: what ``skyscale export`` prints.

    Parameters
    ----------
    model : str
        As for ``skyscale upscale``.
    out : Path
    kind : {"onnx", "pt2"}, optional
        By the ending of `out` where it is not given.

    Raises
    ------
    UsageError
        For a built-in method, or a format that is unknown or contradicts the ending.
    """
    source = find_model(model)
    if source.folder is None:
        raise UsageError(
            f"{model} is a formula built into skyscale and has no network to export; wanted a "
            "trained model: models:/NAME@ALIAS, runs:/ID/generator or a folder"
        )
    from models.export import load_generator
    from models.portable import FORMATS, export_portable

    kind = _pick_format(out, kind, FORMATS)
    generator, card = load_generator(Path(source.folder))
    say(f"export: {card.name} to {kind}, then both on the same images")
    report = asdict(export_portable(generator, card, out, kind))
    return {
        "output": report.pop("path"),
        "model": model,
        "name": card.name,
        "bands": list(card.bands),
        "scale": card.scale,
        "halo": card.halo,
        "data_range": card.data_range,
        **report,
    }


def _pick_format(out: Path, kind: str | None, formats: tuple[str, ...]) -> str:
    ending = out.suffix.lower().removeprefix(".")
    known = ending in formats
    if kind is None and not known:
        raise UsageError(
            f"cannot tell the format of {out}; wanted an ending "
            f"({', '.join('.' + name for name in formats)}) or --format"
        )
    if kind is not None and kind not in formats:
        raise UsageError(f"format is {kind!r}; wanted {' or '.join(formats)}")
    if kind is not None and known and kind != ending:
        raise UsageError(f"--format {kind} contradicts the name {out}")
    return kind or ending
