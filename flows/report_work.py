"""Tiles of a report on a Dask cluster; what is scored is kept, so that a second run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import FlowError, UsageError
from flows.memory import keep_freed_memory
from flows.progress import Pace, Progress
from flows.registry import find_segmenter
from flows.runtime import ClusterLostError, dask_client, run_all

if TYPE_CHECKING:
    from geo.reporting.kept import KeptRows
    from geo.reporting.plan import Batch, ReportPlan
    from geo.reporting.segmenter import SegmenterFacts
    from models.segment import Segment

# Fewer scenes than this are aligned before a cluster would have started.
_WORTH_A_CLUSTER = 3


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What scoring came to.

    Parameters
    ----------
    rows : list of dict
        With outlines, in the order of their tiles.
    seams : dict or None
        See `geo.reporting.seams.seam_score`.
    done_before : int
        Tiles that an earlier run had scored.
    kept : KeptRows
        To be removed when the report is written.
    """

    rows: list[dict[str, Any]]
    seams: dict[str, Any] | None
    done_before: int
    kept: KeptRows


def check_lpips(path: str | None) -> None:
    """Read the weights now, before hours of work.

    Raises
    ------
    ConfigError
        When the file is missing or is no such file.
    """
    if path is not None:
        from models.lpips import Lpips

        Lpips(path, 1.0).check()


def find_maps(segmenter: str | None, labels: str | None) -> str | None:
    """Where what makes maps is on this machine; None where none is wanted.

    Raises
    ------
    UsageError
        If there are labels to hold maps against, and nothing that makes them.
    FlowError
        If there is no such segmenter.
    """
    if segmenter is not None:
        return find_segmenter(segmenter)
    if labels is not None:
        raise UsageError(
            f"--labels {labels}: they are what maps of the images are held against; wanted "
            '--segmenter too, which makes them (a training with task = "segment", or ONNX)'
        )
    return None


@lru_cache(maxsize=4)
def load_maps(path: str) -> Segment:
    """What makes maps, read once.

    Raises
    ------
    ExportError
        If it is none, or damaged.
    """
    import torch

    from models.segment import load_segmenter

    torch.set_num_threads(1)  # tiles are scored side by side on all cores
    return load_segmenter(path)


@contextmanager
def mapper(count: int, workers: int | None) -> Iterator[Callable[..., Iterable[Any]]]:
    """Something like ``map`` for slow work on `count` things: on Dask if that is worth it."""
    if count < _WORTH_A_CLUSTER:
        yield map
        return
    with dask_client(workers) as client:

        def run(work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
            found = dict(run_all(client, _Numbered(work), enumerate(tasks)))
            return [found[place] for place in range(len(tasks))]

        yield run


@dataclass(frozen=True)
class _Numbered:
    """A picklable call that says which task its result is of."""

    work: Callable[[Any], Any]

    def __call__(self, task: tuple[int, Any]) -> tuple[int, Any]:
        place, what = task
        return place, self.work(what)


def tell_plan(plan: ReportPlan) -> None:
    """Say what will be scored against what."""
    for reference in plan.references[:10]:
        shift = reference.alignment
        say(
            f"report: reference {reference.scene.id} registered, shift {shift.dy_px:+.2f}, "
            f"{shift.dx_px:+.2f} LR px, reliability {shift.reliability:.2f}"
        )
    if len(plan.references) > 10:
        say(f"report: {len(plan.references) - 10} more references registered")
    if not plan.references:
        say("report: no reference, so there is no PSNR; consistency, sharpness and seams only")
    if plan.segmenter is not None:
        _tell_maps(plan, plan.segmenter)
    for refusal in plan.refused[:10]:
        say(f"report: {refusal.id} is not used: {refusal.reason}, {refusal.detail}")
    if len(plan.refused) > 10:
        say(f"report: {len(plan.refused) - 10} more references are not used")


def _tell_maps(plan: ReportPlan, segmenter: SegmenterFacts) -> None:
    from geo.labels import check_classes

    held = [
        *(["labels"] if plan.labels else []),
        *(["the real image's"] if plan.references else []),
    ]
    say(f"report: maps by {segmenter.name}, held against {' and '.join(held)}")
    if segmenter.data_range != plan.data_range:
        say(
            f"report: it was trained on DN up to {segmenter.data_range:g}, those of SR go up to "
            f"{plan.data_range:g} and are brought to that range"
        )
    if plan.labels and (unknown := check_classes(plan.labels, segmenter.classes)):
        say(f"report: not counted, for the segmenter does not know them: {', '.join(unknown)}")


def score_tiles(
    plan: ReportPlan,
    out: Path,
    *,
    lpips: str | None = None,
    segmenter: str | None = None,
    restart: bool = False,
    workers: int | None = None,
    tell: Callable[[Pace], None] | None = None,
) -> Scored:
    """Score all tiles, but those that an earlier run has scored, and the edges of blocks.

    Parameters
    ----------
    out : Path
        The report's folder; what is scored is kept there meanwhile.
    lpips : str, optional
        File of weights.
    segmenter : str, optional
        Folder or file of the one that the plan is for.
    tell : callable, optional
        Told how far the work is, see `flows.artifacts.progress_teller`.

    Raises
    ------
    FlowError
        If the cluster is lost; what was scored is kept.
    GeoError
        If pixels cannot be read.
    """
    from geo.reporting.kept import KeptRows
    from geo.reporting.rows import with_outlines
    from geo.reporting.seams import edge_pieces, measure_breaks, seam_score
    from geo.upscale_plan import FileStamp

    lpips = None if lpips is None else str(Path(lpips).resolve())
    weights = lpips and asdict(FileStamp.of(lpips))
    kept = KeptRows(out, plan.facts | {"lpips": weights}, restart=restart)
    if kept.discarded:
        say("report: scores found here are not of these images and settings; anew")
    finished = kept.finished()
    before = sum(map(len, finished.values()))
    if before:
        say(f"report: going on; {before} of {plan.tiles} tiles are scored already")
    todo = [(i, b) for i, b in enumerate(plan.batches()) if i not in finished]
    progress = Progress("report", plan.tiles, "tiles", before=before, tell=tell)
    done, scorer = before, _Scorer(plan.for_workers(), lpips, segmenter)
    try:
        with dask_client(workers) as client:
            for index, rows in run_all(client, scorer, todo):
                if all(row["error"] is None for row in rows):
                    kept.keep(index, rows)  # others are tried again by a second run
                finished[index] = rows
                progress.add(len(rows))
                done += len(rows)
            pieces = edge_pieces(plan)
            measured = run_all(client, _Measurer(plan.for_workers(), measure_breaks), pieces)
            breaks = [found for found in measured if found is not None]
    except ClusterLostError as error:
        raise FlowError(
            f"{error}; {done} of {plan.tiles} tiles are scored and kept: run again when the "
            "cluster is back"
        ) from error
    _tell_unread(finished.values())
    rows = sorted((row for found in finished.values() for row in found), key=_place)
    return Scored(
        rows=with_outlines(plan, rows),
        seams=seam_score(plan, breaks),
        done_before=before,
        kept=kept,
    )


def _tell_unread(batches: Iterable[list[dict[str, Any]]]) -> None:
    """Say which tiles could not be read.

    Raises
    ------
    FlowError
        If none could.
    """
    everything = [row for rows in batches for row in rows]
    unread = [row for row in everything if row["error"] is not None]
    if len(unread) == len(everything):
        raise FlowError(f"none of {len(unread)} tiles could be read: {unread[0]['error']}")
    for row in unread[:5]:
        say(f"report: tile {row['tile']} could not be read: {row['error']}")
    if len(unread) > 5:
        say(f"report: {len(unread) - 5} more tiles could not be read")


def closing(result: Mapping[str, Any]) -> str:
    """What a report ends with, in a line."""
    done = f"{result['tiles_all']} tiles, {result['tiles']} in the figures"
    if result["gain_db"] is not None:
        done += f", gain {result['gain_db']:+.2f} dB"
    for name, what in (("fcn_mean_iou", "labels"), ("fcn_same_mean_iou", "the real image's")):
        told = (result.get("scores") or {}).get(name)
        if told:
            scores = ", ".join(f"{who} {of['pooled']:.3f}" for who, of in told.items())
            done += f", mean IoU of maps against {what}: {scores}"
            break
    refused = len(result["references_refused"])
    return f"{done}; refused: {refused} references, {result['tiles_unread']} unreadable tiles"


def _place(row: dict[str, Any]) -> tuple[int, int]:
    return row["row"], row["col"]


@dataclass(frozen=True)
class _Scorer:
    """A picklable call that scores a batch."""

    plan: ReportPlan
    lpips: str | None
    segmenter: str | None

    def __call__(self, task: tuple[int, Batch]) -> tuple[int, list[dict[str, Any]]]:
        from geo.reporting.rows import score_batch

        keep_freed_memory()  # Dask's nannies have it given back at once
        index, batch = task
        perceptual = _perceptual(self.lpips, self.plan.data_range)
        segmenter = None if self.segmenter is None else load_maps(self.segmenter)
        return index, score_batch(self.plan, batch, perceptual, segmenter)


@dataclass(frozen=True)
class _Measurer:
    """A picklable call that measures a piece of an edge."""

    plan: ReportPlan
    work: Callable[[ReportPlan, Any], Any]

    def __call__(self, piece: Any) -> Any:
        from geo.errors import GeoError

        try:
            return self.work(self.plan, piece)
        except GeoError:
            return None  # told of its tiles


@lru_cache(maxsize=4)
def _perceptual(path: str | None, data_range: float) -> Any:
    if path is None:
        return None
    import torch

    from models.lpips import Lpips

    torch.set_num_threads(1)  # tiles are scored side by side on all cores
    return Lpips(path, data_range)
