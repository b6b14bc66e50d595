"""What a report says of the use of an image, in sentences for its readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Below this mean IoU on real images a segmenter says little about others.
POOR_MEAN_IOU = 0.5
_NAMES = {"real": "the real image", "sr": "SR", "bicubic": "bicubic", "other": "the other model"}
_FCN_SCORE = (
    "FCN-score (Isola et al. 2017): a segmentation network trained on real aerial images is run on "
    "each image, all with the same holes filled alike; pixel accuracy, mean accuracy and mean IoU "
    "(Long et al. 2015) are of all pixels of all tiles together, means over the classes that occur "
    "in what the map is held against."
)


def use_sentence(use: Mapping[str, Any]) -> str:
    """Whether maps made of SR serve as well as those of the real image, as far as it is known."""
    order = use["order"]
    if order is None:
        return _without_order(use)
    images = use["against_labels"]["images"]
    scores = ", ".join(
        f"{_iou(images[image])} of {_NAMES[image]}" for image in ("real", "sr", "bicubic")
    )
    told = f"Mean IoU of maps against the labels: {scores}. "
    if order["verdict"] == "holds":
        return told + (
            "As it should be, the map of the real image is better than SR's "
            f"({_sure(order['steps'][0])}), and SR's better than bicubic's "
            f"({_sure(order['steps'][1])})."
        )
    return told + " ".join(_step(step) for step in order["steps"])


def use_cautions(use: Mapping[str, Any]) -> list[str]:
    """What limits the sentence above, the gravest first."""
    told = []
    labelled = use["against_labels"]
    real = labelled and labelled["images"].get("real")
    if real and (value := real["mean_iou"]["value"]) < POOR_MEAN_IOU:
        told.append(
            f"The segmenter is poor on the real image itself (mean IoU {value:.2f} against the "
            f"labels, under {POOR_MEAN_IOU:g}): its scores say little about the others."
        )
    if use["labels"] and labelled is None:
        told.append(
            f"No pixel of these tiles has a label of {use['labels']} that the segmenter knows."
        )
    if use["unknown_labels"]:
        told.append(
            f"Pixels labelled {', '.join(use['unknown_labels'])} are not counted: the segmenter "
            "does not know these classes."
        )
    if labelled and real is None:
        told.append("Without a map of the real image nobody can say how good these maps could be.")
    held = [use[key] for key in ("against_labels", "against_real") if use[key]]
    if held and held[0]["places"] < 2:
        told.append(
            "There is one place only, so there are no intervals: differences may be chance."
        )
    return told


def use_notes(use: Mapping[str, Any], data_range: float) -> list[str]:
    """How the scores of maps came about; `data_range` is that of the images."""
    told = [_FCN_SCORE, f"The segmenter is {use['segmenter']}: {', '.join(use['classes'])}."]
    if (wanted := use["segmenter_data_range"]) != data_range:
        told.append(
            f"It was trained on DN up to {wanted:g}: those of these images, up to {data_range:g}, "
            "were brought to that range by one factor."
        )
    held = [use[key] for key in ("against_labels", "against_real") if use[key]]
    if use["labels"]:
        told.append(
            f"Labels are {use['labels']}, taken to lie on the ground as the reference does and "
            "moved by its shift."
        )
    if held:
        side = held[0]["place_tiles"]
        told.append(
            f"Intervals of the scores of maps: 95 % of bootstrap draws of {held[0]['places']} "
            f"places of {side} x {side} tiles, the same draws for all images. A class that lies in "
            "few places is absent from some draws, which moves means over classes; differences "
            "bear it better. They say nothing about another training of the segmenter."
        )
    return told


def _without_order(use: Mapping[str, Any]) -> str:
    """Without labels, or without an image of the three."""
    for against, what in (("real", "the map of the real image"), ("labels", "the labels")):
        held = use[f"against_{against}"]
        if held is None:
            continue
        images = held["images"]
        scores = ", ".join(
            f"{_iou(told)} of {_NAMES[image]}" for image, told in images.items() if image != "other"
        )
        pair = (against, "sr", "bicubic")
        return f"Mean IoU of maps against {what}: {scores}." + "".join(
            f" {_compared(one['difference'], one['interval'])}"
            for one in use["differences"]
            if (one["against"], one["a"], one["b"]) == pair
        )
    return "No map could be held against anything: no pixel has a class in both."


def _compared(difference: float, interval: Any) -> str:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return f"That SR serves better than bicubic is not shown ({_range(difference, interval)})."
    verb = "serves better" if difference > 0 else "serves worse"
    return f"SR {verb} than bicubic ({_range(difference, interval)})."


def _step(step: Mapping[str, Any]) -> str:
    better, worse = _NAMES[step["better"]], _NAMES[step["worse"]]
    shown = _range(step["difference"], step["interval"])
    if step["verdict"] == "not shown":
        return f"That the map of {better} is better than that of {worse} is not shown ({shown})."
    verb = "better" if step["verdict"] == "holds" else "worse"
    return f"The map of {better} is {verb} than that of {worse} ({shown})."


def _sure(step: Mapping[str, Any]) -> str:
    return _range(step["difference"], step["interval"])


def _range(difference: float, interval: Any) -> str:
    if interval is None:
        return f"{_signed(difference)}, no interval"
    low, high = interval
    return f"{_signed(difference)}, 95 % interval {_signed(low)} to {_signed(high)}"


def _iou(image: Mapping[str, Any]) -> str:
    return f"{image['mean_iou']['value']:.3f}"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # never -0.000
