"""Does a map made of SR agree as well as one made of the real image? Many tiles together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.labels import check_classes
from geo.reporting.map_scores import AGAINST, JUDGED, confusion_of, has_confusion
from geo.reporting.plan import ReportPlan
from geo.scores.agreement import NAMES, DrawnTallies, Tally
from geo.scores.pooling import group_places

_Rows = Sequence[dict[str, Any]]

# Differences of mean IoU that are told: what is held against what, which map less which.
_DIFFERENCES = (
    ("labels", "real", "sr"),
    ("labels", "sr", "bicubic"),
    ("labels", "sr", "other"),
    ("real", "sr", "bicubic"),
    ("real", "sr", "other"),
)
# A map of the real image is the best that can be hoped for, one of bicubic has no detail at all.
_ORDER = (("real", "sr"), ("sr", "bicubic"))


def summarise_use(rows: _Rows, plan: ReportPlan) -> dict[str, Any] | None:
    """What ``summary.json`` holds under ``use``; None without a segmenter.

    Returns
    -------
    dict or None
        ``segmenter`` (its name), ``segmenter_data_range``, ``classes``, ``labels`` (file, or
        null), ``unknown_labels`` (classes of the labels that the segmenter does not know);
        ``against_labels`` and ``against_real``, each null where there is nothing to hold maps
        against, else with ``tiles``, ``places``, ``place_tiles`` and ``images``: for ``real``,
        ``sr``, ``bicubic`` and ``other`` the ``accuracy``, ``mean_accuracy`` and ``mean_iou`` (each
        ``value`` and ``interval``), ``iou`` and ``class_accuracy`` by class (null where it does not
        occur), and ``confusion`` (rows wanted, columns found); ``differences`` of mean IoU,
        ``order``, and ``by_category``.

    Notes
    -----
    Images are compared on the same tiles: those in which every image that is there at all has a
    map. Intervals are of draws of places, the same ones for all images.
    """
    if plan.segmenter is None:
        return None
    classes = plan.segmenter.classes
    drawn = {against: _Drawn(rows, against, len(classes)) for against in JUDGED}
    differences = [
        {"against": against, "a": a, "b": b, **drawn[against].difference(a, b)}
        for against, a, b in _DIFFERENCES
        if {a, b} <= set(drawn[against].images)
    ]
    return {
        "segmenter": plan.segmenter.name,
        "segmenter_data_range": plan.segmenter.data_range,
        "classes": list(classes),
        "labels": plan.labels and Path(plan.labels.source).name,
        "unknown_labels": list(check_classes(plan.labels, classes)) if plan.labels else [],
        **{f"against_{against}": one.told(classes) for against, one in drawn.items()},
        "differences": differences,
        "order": order_of(differences),
        "by_category": _by_category(rows, len(classes)),
    }


def pooled_maps(use: Mapping[str, Any] | None) -> dict[tuple[str, str], float]:
    """The scores of all tiles together by score and image, such as ("fcn_mean_iou", "sr")."""
    if use is None:
        return {}
    return {
        (f"{word}_{name}", image): told[name]["value"]
        for against, word in AGAINST.items()
        if use[f"against_{against}"]
        for image, told in use[f"against_{against}"]["images"].items()
        for name in NAMES
    }


def order_of(differences: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Whether the real image's map is better than SR's, and SR's than bicubic's.

    Returns
    -------
    dict or None
        ``verdict``: "holds" where both intervals lie above zero, "does not hold" where one lies
        below, else "not shown"; and ``steps``, each with ``better`` and ``worse`` (images),
        ``difference``, ``interval`` and its own ``verdict``. None where an image or labels lack.
    """
    by_pair = {(d["a"], d["b"]): d for d in differences if d["against"] == "labels"}
    if not all(pair in by_pair for pair in _ORDER):
        return None
    steps = [
        {
            "better": a,
            "worse": b,
            "difference": by_pair[a, b]["difference"],
            "interval": by_pair[a, b]["interval"],
            "verdict": _verdict(by_pair[a, b]["interval"]),
        }
        for a, b in _ORDER
    ]
    verdicts = {step["verdict"] for step in steps}
    worst = next(v for v in ("does not hold", "not shown", "holds") if v in verdicts)
    return {"verdict": worst, "steps": steps}


def _verdict(interval: tuple[float, float] | None) -> str:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "not shown"
    return "holds" if interval[0] > 0 else "does not hold"


class _Drawn:
    """Maps of the same tiles, held against one thing."""

    def __init__(self, rows: _Rows, against: str, classes: int) -> None:
        self.images = [
            i for i in JUDGED[against] if any(has_confusion(r, i, against) for r in rows)
        ]
        self._rows = _compared(rows, self.images, against)
        if not self._rows:
            self.images = []
            return
        each = {image: _tallied(self._rows, image, against, classes) for image in self.images}
        self._matrices = {image: matrix for image, (matrix, _) in each.items()}
        cells = [("", row["row"], row["col"]) for row in self._rows]
        self._side, self._places = group_places(cells)
        self._drawn = DrawnTallies({i: tallies for i, (_, tallies) in each.items()}, self._places)

    def difference(self, a: str, b: str) -> dict[str, Any]:
        return self._drawn.difference(a, b, "mean_iou")

    def told(self, classes: Sequence[str]) -> dict[str, Any] | None:
        if not self.images:
            return None
        return {
            "tiles": len(self._rows),
            "places": len(set(self._places)),
            "place_tiles": self._side,
            "images": {image: self._image(image, classes) for image in self.images},
        }

    def _image(self, image: str, classes: Sequence[str]) -> dict[str, Any]:
        whole = Tally.of(self._matrices[image])
        return {
            **{name: self._drawn.value(image, name) for name in NAMES},
            "iou": _by_class(classes, whole.class_iou),
            "class_accuracy": _by_class(classes, whole.class_accuracy),
            "confusion": self._matrices[image].tolist(),
        }


def _images(rows: _Rows, against: str) -> list[str]:
    """Those that have a map in any tile."""
    return [
        image
        for image in JUDGED[against]
        if any(has_confusion(row, image, against) for row in rows)
    ]


def _compared(rows: _Rows, images: Sequence[str], against: str) -> _Rows:
    """Tiles in which all of these images have a map that is held against something."""
    if not images:
        return []
    return [row for row in rows if all(has_confusion(row, image, against) for image in images)]


def _by_class(classes: Sequence[str], values: Any) -> dict[str, float | None]:
    return {
        name: float(value) if math.isfinite(value) else None
        for name, value in zip(classes, values, strict=True)
    }


def _by_category(rows: _Rows, classes: int) -> dict[str, dict[str, Any]]:
    """Accuracy and mean IoU of each image, pooled over the tiles of each land cover."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("category") is not None:
            groups.setdefault(str(row["category"]), []).append(row)
    found = {name: _pooled(chosen, classes) for name, chosen in sorted(groups.items())}
    return {name: told for name, told in found.items() if told}


def _pooled(rows: _Rows, classes: int) -> dict[str, Any]:
    found = {}
    for against in JUDGED:
        images = _images(rows, against)
        if chosen := _compared(rows, images, against):
            scores = {
                image: Tally.of(_tallied(chosen, image, against, classes)[0]).scores()
                for image in images
            }
            found[f"against_{against}"] = {"tiles": len(chosen)} | {
                image: {name: of[name] for name in ("accuracy", "mean_iou")}
                for image, of in scores.items()
            }
    return found


def _tallied(
    rows: _Rows, image: str, against: str, classes: int
) -> tuple[npt.NDArray[np.int64], Tally]:
    """The sum of the confusions of tiles, [K, K], and what each comes to, [tiles, K].

    One after the other: confusions of all tiles at once would be gigabytes of large regions.
    """
    whole = np.zeros((classes, classes), np.int64)
    parts = np.empty((3, len(rows), classes))
    for place, row in enumerate(rows):
        matrix = confusion_of(row, image, against, classes)
        whole += matrix
        one = Tally.of(matrix)
        parts[:, place] = one.right, one.wanted, one.found
    return whole, Tally(*parts)
