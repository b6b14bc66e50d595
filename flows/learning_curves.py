"""Learning curves of a run as one picture, drawn from its own record."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.metric_spool import Entry

Curves = dict[str, list[tuple[int, float]]]

# Title, and for each line its metric, label and colour; a metric that is not there has no line.
_PANELS = (
    (
        "Content loss (contrast of the imagery = 1)",
        (
            ("train/content_loss", "generator", "C0"),
            ("train/bicubic_loss", "bicubic", "0.6"),
            ("train/mean_loss", "mean of the imagery", "0.6"),
            ("train/loss_cycle_hr", "HR to LR and back", "C1"),
            ("train/loss_cycle_lr", "LR to HR and back", "C4"),
        ),
    ),
    (
        "PSNR on validation ground, dB",
        (("val/psnr_db", "generator", "C0"), ("val/bicubic_psnr_db", "bicubic", "0.6")),
    ),
    (
        "What the discriminator believes",
        (
            ("train/d_real", "of real patches", "C2"),
            ("train/d_fake", "of drawn patches", "C3"),
            ("train/d_accuracy", "share it tells apart", "0.3"),
        ),
    ),
    (
        "Power beyond LR Nyquist, reality = 1",
        (
            ("val/hf_power_ratio", "generator", "C0"),
            ("val/bicubic_hf_power_ratio", "bicubic", "0.6"),
        ),
    ),
    (
        "Distance of drawn chips from held-out ones",
        (
            ("val/spectrum_db", "spectrum, dB", "C0"),
            ("val/histogram", "histogram, spreads", "C1"),
        ),
    ),
    (
        "Variety of drawn chips, reality = 1",
        (("val/diversity", "held-out chips", "C0"), ("train/diversity", "mini-batches", "0.6")),
    ),
    ("Likelihood of held-out chips, nats a value", (("val/elbo", "lower bound", "C0"),)),
)
_SHOWN = 4


def read_curves(entries: Iterable[Entry]) -> Curves:
    """Points of each metric, in the order of their steps."""
    curves: Curves = {}
    for entry in entries:
        for name, value in entry.metrics.items():
            curves.setdefault(name, []).append((entry.step, value))
    return {name: sorted(points) for name, points in curves.items()}


def adversarial_start(curves: Curves) -> int | None:
    """First report of the adversarial phase, or None where there was none."""
    points = curves.get("train/d_accuracy")
    return points[0][0] if points else None


def draw_curves(curves: Curves, path: Path, *, title: str) -> None:
    """Write the picture as PNG."""
    # No pyplot: it would look for a display and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    start = adversarial_start(curves)
    panels = _panels(curves)
    for axes, (name, lines) in zip(figure.subplots(2, 2, sharex=True).flat, panels, strict=True):
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("generator updates")
        axes.grid(alpha=0.3)
        if start is not None:
            axes.axvline(start, color="0.7", linestyle=":", label="adversarial phase")
        for metric, label, colour in lines:
            if points := curves.get(metric):
                few = "." if len(points) < 40 else None
                axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=few)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)


def _panels(curves: Curves) -> list[Any]:
    """Those that have something to show, filled up with those of a generator."""
    told = [name for name, lines in _PANELS if any(curves.get(metric) for metric, *_ in lines)]
    if "val/spectrum_db" not in curves:  # `diversity` is told of generators too
        told = []
    chosen = [panel for panel in _PANELS if panel[0] in told][:_SHOWN]
    rest = [panel for panel in _PANELS if panel not in chosen]
    return [*chosen, *rest][:_SHOWN]
