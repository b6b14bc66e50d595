"""Mini-batches made ahead of their use."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from models.batches import Batch, BatchMaker

_LEAST, _MOST, _MEMORY = 4, 32, 64 << 20  # mini-batches, and bytes of them


class Prefetcher(Iterator[Batch]):
    """Mini-batches from `first` on, made by a background thread some way ahead of their use.

    numpy and the store's decoder leave the interpreter free most of the time, so a thread is
    enough and nothing has to be sent between processes. It sleeps until half of what it made is
    used up, then makes many at a time: on a CPU that trains, one now and then cost the training
    step three times as much as it took.

    Attributes
    ----------
    waited_s : float
        Seconds that the consumer stood waiting.
    """

    def __init__(self, make: BatchMaker, first: int) -> None:
        self.waited_s = 0.0
        self._make = make
        self._first = first
        self._ready: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
        self._ahead = _LEAST
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __next__(self) -> Batch:
        """Next mini-batch; an error of the thread is raised here."""
        start = time.perf_counter()
        item = self._ready.get()
        self.waited_s += time.perf_counter() - start
        if self._ready.qsize() <= self._ahead // 2:
            self._wanted.set()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join()

    def _work(self) -> None:
        number = self._first
        while not self._stopped.is_set():
            if self._ready.qsize() >= self._ahead:
                self._wanted.clear()
                # Whoever set it before that line is asked for the reason, not for the sign.
                if self._ready.qsize() > self._ahead // 2 and not self._stopped.is_set():
                    self._wanted.wait()
                continue
            try:
                batch = self._make(number)
            except BaseException as error:
                self._ready.put(error)
                return
            self._ready.put(batch)
            self._ahead = max(_LEAST, min(_MOST, _MEMORY // batch.nbytes))
            number += 1
