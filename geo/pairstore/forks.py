"""What a forked process must not touch: threads of libraries do not live on there.

Delta Lake's and tensorstore's threads are waited for without end in a process that was forked after
they were started. So they say when they start, and a forked process is told before it waits.
"""

from __future__ import annotations

import os

from geo.errors import StoreError

_started: set[str] = set()
_lost: set[str] = set()


def _after_fork() -> None:
    _lost.update(_started)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def start_threads_of(library: str, url: str) -> None:
    """Note that a library is going to have threads in this process.

    Raises
    ------
    StoreError
        If the process was forked from one where it had them.
    """
    if library in _lost:
        raise StoreError(
            f"{url} cannot be opened in a forked process, where the threads of {library} are gone; "
            "start processes by `spawn` or `forkserver` (multiprocessing_context=... of a "
            "DataLoader), or on a local disk ask the reader for its length before forking"
        )
    _started.add(library)
