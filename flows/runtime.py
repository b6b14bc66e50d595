"""Where bulk work runs: a Dask cluster, embedded or by address."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar

from flows.dashboard import tell_dashboard
from flows.settings import read_surroundings


class ClusterLostError(Exception):
    """The Dask scheduler cannot be reached, or has forgotten what it was given."""


Task = TypeVar("Task")
Result = TypeVar("Result")

# Of a task whose workers die, beside Dask's own (three for each of these).
_MOST_TRIES = 10

# The embedded cluster lives in the process of its threads. Looking at their stacks a hundred times
# a second takes the interpreter lock from them each time.
_EMBEDDED = {
    "distributed.worker.memory.target": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
}


@contextmanager
def dask_client(workers: int | None = None) -> Iterator[Any]:
    """Client of a Dask cluster.

    Parameters
    ----------
    workers : int, optional
        Threads of the embedded cluster; ignored when ``SKYSCALE_DASK_SCHEDULER`` names another.

    Notes
    -----
    Threads, not processes: the work is in GDAL, numpy and torch, which release the interpreter
    lock, and pixels need not be copied between processes.
    """
    import dask
    from distributed import Client, LocalCluster

    surroundings = read_surroundings()
    if surroundings.dask_scheduler:
        try:
            client = Client(surroundings.dask_scheduler, timeout=10)
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(
                f"no Dask scheduler answers at {surroundings.dask_scheduler}"
            ) from error
        with client:
            tell_dashboard(client, embedded=False)
            yield client
        return
    # What fails on a worker is raised by `run_all`, and told once.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        dask.config.set(_EMBEDDED),
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers or surroundings.workers,
            processes=False,
            # Loopback only: nothing of a laptop's run is for the network.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        tell_dashboard(client, embedded=True)
        yield client


def count_workers(workers: int | None = None) -> int:
    """Tasks that run side by side in one memory: threads of the embedded cluster."""
    return workers or read_surroundings().workers


def run_all(
    client: Any,
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    ahead: int = 32,
    retries: int = 2,
) -> Iterator[Result]:
    """Run tasks on the cluster, results as they come, few in flight so that memory stays flat.

    Parameters
    ----------
    work : callable
        Picklable; gets one task, returns something small.
    ahead : int
        Most tasks in flight.
    retries : int
        How often a task is tried again when it raises.

    Raises
    ------
    ClusterLostError
        When the scheduler is lost, and with it what is in flight.
    """
    from distributed import KilledWorker, as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    waiting = iter(tasks)
    flight = as_completed()
    tried: dict[str, tuple[Task, int]] = {}

    def submit(task: Task, times: int) -> None:
        future = client.submit(work, task, pure=False, retries=retries)
        tried[future.key] = task, times
        flight.add(future)

    for task in itertools.islice(waiting, ahead):
        submit(task, 1)
    try:
        while tried:
            future = next(flight)
            task, times = tried.pop(future.key)
            try:
                result = future.result()
            except KilledWorker:
                # Workers that die under a task may die of something else than of it.
                if times >= _MOST_TRIES:
                    raise
                submit(task, times + 1)
                continue
            except (FutureCancelledError, CancelledError, CommClosedError) as error:
                raise ClusterLostError("the Dask scheduler was lost") from error
            yield result
            future.release()
            for task in itertools.islice(waiting, 1):
                submit(task, 1)
    finally:
        # Nobody waits for what is still in flight, as when a flow is cancelled.
        with contextlib.suppress(Exception):
            client.cancel(list(flight.futures), force=True)
