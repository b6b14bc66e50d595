"""Where bulk work runs: a Dask cluster, embedded or by address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flows.settings import read_surroundings

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        with Client(surroundings.dask_scheduler) as client:
            yield client
        return
    # What fails on a worker is raised by `run_all`, and told once.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        dask.config.set({"distributed.worker.memory.target": False}),
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
        yield client


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
        How often a task is tried again when its worker dies or it raises.
    """
    from distributed import as_completed

    waiting = iter(tasks)
    flight = as_completed()
    count = 0

    def launch() -> int:
        for task in waiting:
            flight.add(client.submit(work, task, pure=False, retries=retries))
            return 1
        return 0

    for _ in range(ahead):
        count += launch()
    while count:
        future = next(flight)
        count -= 1
        yield future.result()
        future.release()
        count += launch()
