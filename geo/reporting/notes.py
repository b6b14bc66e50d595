"""How the numbers of a report came about, in sentences for its readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geo.reporting.plan import ReportPlan
from geo.reporting.use_told import use_notes


def notes(summary: Mapping[str, Any], plan: ReportPlan) -> list[str]:
    """Ground and masks first, then formulas with their parameters, then what to beware of."""
    return [
        *_ground(summary, plan),
        *(_with_truth(summary, plan) if plan.references else _without_truth()),
        *_without_need(summary, plan),
        *(use_notes(summary["use"], plan.data_range) if summary["use"] else ()),
    ]


def _ground(summary: Mapping[str, Any], plan: ReportPlan) -> list[str]:
    told = []
    if summary["scope"] == "test":
        told.append(
            "Headline numbers are of held-out test ground only: no chip of it, nor of "
            "a rim around it, was trained on."
        )
    elif plan.split_rule is not None:
        told.append(
            "None of these tiles is held-out test ground: the generator may have been trained on "
            "them, so the numbers flatter it."
        )
    return told


def _without_truth() -> list[str]:
    return [
        "There is no aerial reference: PSNR and all else that is compared with the truth is blank."
    ]


def _with_truth(summary: Mapping[str, Any], plan: ReportPlan) -> list[str]:
    told = [
        f"PSNR = 20 log10(MAX) - 10 log10(MSE) over all bands, MAX = {plan.data_range:g} DN; "
        "pooled over tiles by their summed squared errors.",
        f"Pixels count where all is valid ({summary['mask']}); nothing is cropped, for SR and "
        "bicubic both saw beyond the tile.",
        *_aligned(plan),
        "Bicubic: Keys kernel, a = -0.5, on the same tiles under the same mask.",
        "cPSNR: best of shifts of -3 to 3 HR px with the mean difference of each band removed, "
        "cropped by 3 px (the rule of PROBA-V); the same search for bicubic.",
        "SSIM: Gaussian windows of 11 x 11 px, sigma 1.5, K1 0.01, K2 0.03; mean over bands.",
        "Spectral angle: mean angle between the spectra of a pixel, degrees. ERGAS: 100 / scale x "
        "root of the mean over bands of MSE / mean squared.",
        "Detail: power beyond the satellite's Nyquist frequency, as a share of the aerial image's; "
        "1 is as much, more is not better.",
        "Improvement, omission, hallucination: opensr-test 1.3.3 (normalised difference, after "
        "histogram matching and a shift of up to 5 px); shares that add up to 1, of pixels that "
        "differ most. They forgive colours and shifts.",
    ]
    if "lpips" in summary["scores"]:
        told.append("LPIPS 0.1 on red, green and blue scaled to -1 to 1; lower is better.")
    if summary["gain_db_interval"] is not None:
        side = summary["interval_place_tiles"]
        told.append(
            f"Interval of the gain: 95 % of bootstrap draws of {summary['interval_places']} places "
            f"of {side} x {side} tiles, because neighbouring tiles resemble each other. It says "
            "nothing about other regions or dates."
        )
    told.append(
        "PSNR prefers blur: look at the pictures and at LR consistency before you judge by it."
    )
    return told


def _aligned(plan: ReportPlan) -> list[str]:
    if len(plan.references) == 1:
        shift = plan.references[0].alignment
        told = [
            f"The reference was moved by ({shift.dy_px:+.2f}, {shift.dx_px:+.2f}) LR px (down, "
            "right) and brought to the satellite's colours by one gain and offset a band, for the "
            f"whole scene (correlation {shift.correlation:.3f})."
        ]
    else:
        told = [
            f"Each of {len(plan.references)} aerial scenes was moved by a shift of its own and "
            "brought to the satellite's colours by one gain and offset a band (summary.json lists "
            "them); a tile is judged by the one nearest in time of those that show it."
        ]
    if plan.refused:
        names = ", ".join(f"{r.id} ({r.reason})" for r in plan.refused[:5])
        more = f" and {len(plan.refused) - 5} more" if len(plan.refused) > 5 else ""
        told.append(f"Not used as reference: {names}{more}.")
    return told


def _without_need(summary: Mapping[str, Any], plan: ReportPlan) -> list[str]:
    told = [
        "LR consistency: RMSE between the satellite image and SR seen by its sensor (Gaussian, "
        "MTF 0.3 at Nyquist, area mean), in units of MAX; lower is better and needs no reference.",
    ]
    if plan.lr is None:
        told = ["No LR raster was given: bicubic and LR consistency are unknown."]
    if plan.has_uncertainty:
        told.append(
            "Uncertainty: mean over the tile of the raster's own band, the spread of the model's "
            "answers (turned and mirrored, or with planes left out), DN."
        )
    seams = summary["seams"]
    if seams is not None:
        told.append(
            "Seams: how much more neighbouring pixels break with the slopes on both sides across "
            f"edges of blocks of {seams['blocks_px']} px than across other boundaries of LR pixels "
            f"beside them, on {seams['edges']} edges; 0 is none."
            + (
                " What bicubic breaks there, for fields and streets, is taken off."
                if seams["against_satellite"]
                else ""
            )
        )
    return told
