"""What a report says in one sentence, and what its reader should know before relying on it."""

from __future__ import annotations

from typing import Any

_LONG_GAP_DAYS = 30
_GROUND = {"test": "held-out test ground", "all": "this region"}


def headline(summary: dict[str, Any]) -> str:
    """The result in one sentence: the gain over bicubic, how sure it is, who loses."""
    tiles, psnr, gain = summary["tiles"], summary["psnr_db"], summary["gain_db"]
    where = _GROUND.get(summary["scope"], "this region")
    if gain is not None:
        return f"{_gain(gain, summary['gain_db_interval'], where)}; {_losers(summary)}."
    if psnr is not None:
        return (
            f"PSNR is {psnr:.2f} dB over {_count(tiles)} of {where}; without the satellite image "
            "there is no bicubic to compare with."
        )
    if tiles and summary["identical_tiles"] == tiles:
        return f"The upscaled image equals the reference on all {_count(tiles)}."
    ours, theirs = summary["lr_consistency"], summary["bicubic_lr_consistency"]
    counted = _count(summary["tiles_all"])
    if ours is None and not summary.get("tiles_seen", 1):
        return (
            f"Nothing to judge on {counted}: no pixel is valid in all images and neither cloud nor "
            "saturated."
        )
    if ours is None:
        return f"{counted} with neither aerial reference nor satellite image to judge by."
    against = "" if theirs is None else f" against bicubic's {theirs:.4f}"
    return (
        f"No aerial reference: {counted} judged by how well they agree with the satellite image, "
        f"RMSE {ours:.4f}{against}."
    )


def cautions(summary: dict[str, Any]) -> list[str]:
    """What limits the sentence above, the gravest first."""
    told = []
    scored, everything = summary["tiles"], summary["tiles_all"]
    if not scored:
        told.append("Without reference nobody can say which of the details are true.")
    elif summary["scope"] == "test":
        told.append(
            f"The sentence is about {_count(scored)} that no training saw; the map shows all "
            f"{everything:,}."
        )
    else:
        told.append(
            "Nothing says that this ground was kept from training, so the numbers may flatter the "
            "model."
        )
    interval = summary["gain_db_interval"]
    if interval is not None:
        told.append(
            f"The interval rests on {summary['interval_places']} places of this region on one "
            "pair of dates; it says nothing about other regions or seasons."
        )
    elif summary["gain_db"] is not None:
        told.append("There are too few places for an interval: the gain may be chance.")
    ours, theirs = summary["lr_consistency"], summary["bicubic_lr_consistency"]
    if ours is not None and theirs is not None:
        mine, plain = (round(value, 4) for value in (ours, theirs))  # as they are shown
        verdict = "better than" if mine < plain else "worse than" if mine > plain else "like"
        told.append(
            f"Seen by the satellite's sensor, the upscaled image agrees with the satellite image "
            f"{verdict} bicubic (RMSE {ours:.4f}, bicubic {theirs:.4f}; lower is better)."
        )
    if scored:
        told.append("PSNR prefers blur: look at the pictures before you judge by it.")
    gap = summary["gap_days"]
    if gap is not None and gap > _LONG_GAP_DAYS:
        told.append(f"The images lie {gap:.0f} days apart: the ground itself may have changed.")
    missing = summary["tiles_without_reference"]
    if scored and missing:
        told.append(f"{_count(missing)} have no reference and no PSNR; the map shows them as such.")
    unread = summary.get("tiles_unread")
    if unread:
        told.insert(0, f"{_count(unread)} could not be read; tiles.parquet says why.")
    return told


def _gain(gain: float, interval: Any, where: str) -> str:
    if interval is None:
        verb = "gains" if gain >= 0 else "loses"
        return f"SR {verb} {abs(gain):.2f} dB of PSNR against bicubic on {where} (no interval)"
    low, high = interval
    sure = f"95 % interval {_signed(low)} to {_signed(high)} dB"
    if low > 0:
        return f"SR beats bicubic by {gain:.2f} dB of PSNR on {where} ({sure})"
    if high < 0:
        return f"SR loses {-gain:.2f} dB of PSNR against bicubic on {where} ({sure})"
    return f"No gain over bicubic can be shown on {where}: {_signed(gain)} dB of PSNR ({sure})"


def _losers(summary: dict[str, Any]) -> str:
    share, tiles = summary["share_worse"], summary["tiles"]
    if share is None:
        return f"{_count(tiles)} were scored"
    lost = round(share * tiles)
    if not lost:
        return f"none of {_count(tiles)} loses"
    return f"it loses on {lost:,} of {_count(tiles)} ({100 * share:.0f} %)"


def _count(tiles: int) -> str:
    return f"{tiles:,} tile{'' if tiles == 1 else 's'}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # never -0.00
