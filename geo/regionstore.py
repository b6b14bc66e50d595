"""Which blocks of an upscaling run are done, and that they are of this run.

A working folder beside the output::

    OUT.tif.skyscale/
        plan.json    what is being made, with its fingerprint; written last when the folder is
                     made, removed first when it is taken down: without it, nothing counts
        done/INDEX   one small file a finished block, made after its pixels are written, with what
                     is to be remembered of the block
        ...          the pixels, as the output's format wants them (`geo.region_sink`)

Blocks share nothing on disk, and a marker follows its pixels, so any number of workers may write
different blocks and any of them may die at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geo.durable import sync_folder, write_whole
from geo.errors import UpscaleError
from geo.region_sink import Mover, RegionSink
from geo.tiling import Block

FORMAT = 3
_PLAN = "plan.json"


@dataclass(frozen=True)
class Beginning:
    """What was there when a run began.

    Parameters
    ----------
    state : {"new", "continued", "discarded"}
        Nothing; the same run's work, taken up again; another run's work, thrown away.
    finished : frozenset of int
        Indexes of blocks that need no more work.
    """

    state: Literal["new", "continued", "discarded"]
    finished: frozenset[int]


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Identify a run by everything that its pixels depend on."""
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def begin_region(
    folder: Path, sink: RegionSink, facts: Mapping[str, Any], *, restart: bool = False
) -> Beginning:
    """Take up the work in a folder if it is the same run's, else start anew.

    Parameters
    ----------
    folder : Path
    sink : RegionSink
    facts : mapping
        JSON-able; everything that the output depends on.
    restart : bool
        Start anew in any case.

    Raises
    ------
    UpscaleError
        If the folder cannot be written.
    """
    wanted = fingerprint(facts)
    if not restart and _stored_fingerprint(folder) == wanted:
        return Beginning("continued", RegionStore(folder, sink, wanted).finished())
    try:
        existed = folder.exists()
        remove_region(folder)
        (folder / "done").mkdir(parents=True)
        sink.create(folder)
        text = json.dumps({"fingerprint": wanted, "format": FORMAT, **facts}, indent=1)
        write_whole(folder / _PLAN, text)
    except (OSError, ValueError) as error:
        raise UpscaleError(
            f"{folder}: cannot make the working folder ({error}); is the place writable, "
            "and is there room on the disk?",
            folder=str(folder),
        ) from error
    return Beginning("discarded" if existed else "new", frozenset())


def remove_region(folder: Path) -> None:
    """Take the working folder down; killed half way, it leaves nothing that could be taken up."""
    (folder / _PLAN).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


class RegionStore:
    """The blocks of a region that has begun.

    Parameters
    ----------
    folder : Path
    sink : RegionSink
    fingerprint : str
        Of the run; a folder that belongs to another run is refused.

    Raises
    ------
    UpscaleError
        If the folder is not there or is another run's.
    """

    def __init__(self, folder: Path, sink: RegionSink, fingerprint: str) -> None:
        found = _stored_fingerprint(folder)
        if found != fingerprint:
            is_there = "holds another run's work" if found else "has not begun"
            raise UpscaleError(f"{folder}: {is_there}; begin this run first", folder=str(folder))
        self._folder = folder
        self._sink = sink

    def write(
        self,
        block: Block,
        strips: Iterable[npt.NDArray[Any]] | None,
        valid: npt.NDArray[np.bool_],
        note: Any = None,
    ) -> None:
        """Store a block, then mark it as finished.

        Parameters
        ----------
        block : Block
            On the LR grid.
        strips : iterable of array, [C, rows, W], or None
            See `RegionSink.write`; drawn while they are written.
        valid : array of bool, [h, w]
            On the LR grid.
        note : JSON value, optional
            See `notes`.

        Raises
        ------
        UpscaleError
            If the disk does not take it.
        """
        try:
            self._sink.write(self._folder, block, strips, valid)
            write_whole(self._folder / "done" / str(block.index), json.dumps(note))
        except (OSError, ValueError) as error:
            raise UpscaleError(
                f"{self._folder}: writing {block} failed ({error}); finished blocks are kept, "
                "so run again when there is room on the disk",
                block=block.index,
                cause="disk",
            ) from error

    def mover(self) -> Mover | None:
        """See `RegionSink.mover`."""
        return self._sink.mover(self._folder)

    def finished(self) -> frozenset[int]:
        """Indexes of finished blocks."""
        return frozenset(int(n) for n in os.listdir(self._folder / "done") if n.isdigit())

    def is_finished(self, index: int) -> bool:
        """Whether a block is finished; does not look at the others."""
        return (self._folder / "done" / str(index)).exists()

    def notes(self) -> Iterator[Any]:
        """What was to be remembered of finished blocks, in their order."""
        for index in sorted(self.finished()):
            yield json.loads((self._folder / "done" / str(index)).read_text())

    def forget(self, blocks: Iterable[int]) -> None:
        """Count blocks as not done, because they are damaged."""
        for index in blocks:
            (self._folder / "done" / str(index)).unlink(missing_ok=True)
        sync_folder(self._folder / "done")

    def finish(self, output: Path, tags: Mapping[str, str]) -> Path:
        """Complete the output; the working folder stays, so that what follows may be done again.

        Raises
        ------
        UpscaleError
            If the output cannot be completed; a block that was found damaged is forgotten.
        """
        try:
            return self._sink.finish(self._folder, output, tags)
        except UpscaleError as error:
            if (damaged := error.facts.get("damaged")) is not None:
                self.forget([damaged])
            raise

    def remove(self) -> None:
        """Take the working folder down."""
        remove_region(self._folder)


def stored_plan(folder: Path) -> dict[str, Any]:
    """What a working folder says it is for: the facts, with their ``fingerprint``; else nothing."""
    try:
        plan = json.loads((folder / _PLAN).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return plan if isinstance(plan, dict) else {}


def _stored_fingerprint(folder: Path) -> str | None:
    found = stored_plan(folder).get("fingerprint")
    return None if found is None else str(found)
