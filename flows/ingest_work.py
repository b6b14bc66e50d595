"""What workers of an ingest do: align scene pairs, cut blocks of them into the store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.console import LOGGER
from geo.errors import GeoError, StoreError

if TYPE_CHECKING:
    from geo.alignment import Alignment
    from geo.decisions import PairingRules
    from geo.landcover import LandCover
    from geo.match import Candidate
    from geo.pairblock import BlockJob
    from geo.pairing import ScenePair
    from geo.pairstore.rows import PairData, Row

Block = tuple[int, "BlockJob"]
"""Its number among the blocks of a scene pair, and what to cut."""


def align(
    candidate: Candidate, rules: PairingRules, dtype: str
) -> tuple[ScenePair, Alignment] | GeoError:
    """Register and harmonise, on a worker."""
    from geo.pairing import align_pair, inspect_pair

    try:
        pair = inspect_pair(candidate, rules)
        if pair.dtype != dtype:
            raise GeoError(
                f"{candidate.satellite.id} holds {pair.dtype}; the store holds {dtype}",
                cause="other_dtype",
            )
        return pair, align_pair(pair, rules)
    except GeoError as error:
        return error


def borrow(
    pair: ScenePair,
    refused: Alignment,
    neighbours: Sequence[tuple[Candidate, Alignment]],
    rules: PairingRules,
) -> tuple[ScenePair, Alignment] | GeoError:
    """Align by what the neighbours found, on a worker."""
    from geo.pairing import borrow_alignment

    try:
        return pair, borrow_alignment(pair, refused, neighbours, rules)
    except GeoError as error:
        return error


def cut(
    blocks: Sequence[Block], landcover: LandCover | None
) -> list[tuple[int, list[Row] | GeoError]]:
    """Cut blocks into the store, on a worker; one is written while the next is cut."""
    from distributed import secede

    from geo.pairblock import cut_job

    results: list[tuple[int, Future[list[Row]] | GeoError]] = []
    with ThreadPoolExecutor(1) as writer:
        for number, job in blocks:
            try:
                good, refused = cut_job(replace(job, landcover=landcover))
            except GeoError as error:
                results.append((number, error))
                continue
            wait([future for _, future in results if isinstance(future, Future)])  # memory
            results.append((number, writer.submit(_write, job.store, good, refused)))
        # While the last one is written, this thread of the worker cuts something else. No more
        # than the client hands out at a time can wait like this.
        secede()
    return [(n, r.result() if isinstance(r, Future) else r) for n, r in results]


def _write(store: str, good: Sequence[PairData], refused: Sequence[Row]) -> list[Row]:
    """Write the good chips as one part; returns a row for each chip."""
    from geo.pairstore.store import PairStore

    return [*PairStore.open(store).write_part(good), *refused]


def result_of(future: Any) -> Any:
    """Result of a worker; what nobody foresaw is the failure of one scene pair, not of the run."""
    try:
        return future.result()
    except (StoreError, CancelledError):
        raise  # no scene's fault
    except Exception as error:
        LOGGER.warning("ingest: unexpected %s", type(error).__name__, exc_info=error)
        return GeoError(f"{type(error).__name__}: {error}", cause="failed")
