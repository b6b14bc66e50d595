"""The processes of `skyscale up`: started, watched, started again, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from flows.console import say
from flows.errors import FlowError
from flows.launcher import die_with_parent
from flows.settings import MARK

# A process that ends so often within so long has a reason that starting it again does not cure.
_MOST_ENDS, _WITHIN_S = 5, 600.0
# Flow runs save themselves when they are asked to stop; servers only close their files.
_FLOW_RUN_GRACE_S, _SERVER_GRACE_S = 25.0, 8.0
# Processes that wait for a disk cannot be killed, and need not be waited for.
_UNKILLABLE_S = 5.0
_FLOW_RUN = b"PREFECT__FLOW_RUN_ID="


@dataclass(kw_only=True, eq=False)
class Server:
    """A program of this Python environment that is to run as long as we do.

    Parameters
    ----------
    name : str
        Of its log.
    command : tuple of str
    folder : Path
        Of its log.
    environment : mapping of str to str
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ENDS))

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it; the kernel stops it when this process ends."""
        program = [str(Path(sys.executable).with_name(self.command[0])), *self.command[1:]]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                program,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=_as_service,
            )

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return None if self.process is None else self.process.poll()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, which Prefect's worker heeds, unlike SIGINT."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """Stop it and what belongs to its process group."""
        self.ask_to_stop()
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_SERVER_GRACE_S)
        self.kill_children()
        self.process.wait()

    def kill_children(self) -> None:
        """Kill what is left of its process group, which would keep its port."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def has_ended_too_often(self) -> bool:
        """Count an end; whether it is no use to start it again."""
        now = time.monotonic()
        self.ends.append(now)
        return len(self.ends) == _MOST_ENDS and now - self.ends[0] < _WITHIN_S


def _as_service() -> None:
    """End with the parent; heed SIGINT, into which Prefect's worker turns the SIGTERM it gets.

    Who starts us in the background of a script, or by nohup, has us ignore it.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def watch(
    servers: Sequence[Server],
    *,
    before_restart: Callable[[Server], bool],
    look: Callable[[], None],
    look_every_s: float = 10.0,
) -> None:
    """Start servers again that end by themselves, for ever.

    Parameters
    ----------
    before_restart : callable
        Given a server that has ended, cleans up behind it; asked again as long as it says False.
    look : callable
        Called now and then, to look at the servers' health.

    Raises
    ------
    FlowError
        When one ends again and again.
    """
    looked = time.monotonic()
    ended: list[Server] = []
    while True:
        for server in servers:
            if (status := server.status) is not None and server not in ended:
                if server.has_ended_too_often():
                    raise FlowError(
                        f"{server.name} ended {_MOST_ENDS} times (status {status}); see "
                        f"{server.log}"
                    )
                say(f"up: {server.name} ended (status {status}, see {server.log}); starting again")
                server.kill_children()
                ended.append(server)
        for server in [server for server in ended if before_restart(server)]:
            server.start()
            ended.remove(server)
        if time.monotonic() - looked >= look_every_s:
            look()
            looked = time.monotonic()
        time.sleep(0.5)


def stop_all(servers: Sequence[Server], folder: Path) -> None:
    """Stop servers with what they have started."""
    for server in servers:
        server.ask_to_stop()
    for server in servers:
        server.stop()
    sweep(folder)


def sweep(folder: Path, *, only_flow_runs: bool = False, flow_run: str | None = None) -> int:
    """Stop what is left of the processes of a folder's servers, whoever its parent is now.

    Parameters
    ----------
    only_flow_runs : bool
        Leave the servers themselves alone.
    flow_run : str, optional
        Leave all but the processes of this flow run alone.

    Returns
    -------
    int
        How many processes there were.
    """

    def find() -> dict[int, _Process]:
        return {
            pid: process
            for pid, process in _find(folder).items()
            if (flow_run is None or process.flow_run == flow_run)
            and (process.flow_run is not None or not only_flow_runs)
        }

    left = there = find()
    grace = _FLOW_RUN_GRACE_S if any(p.flow_run for p in left.values()) else _SERVER_GRACE_S
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while there:
        # A parent stops its children in good order; those that lost theirs are asked themselves.
        for pid in {pid for pid, p in there.items() if p.parent not in there} - asked:
            _signal(pid, signal.SIGTERM)
            asked.add(pid)
        if (late_s := time.monotonic() - deadline) > 0:
            for pid in there:
                _signal(pid, signal.SIGKILL)
        if late_s > _UNKILLABLE_S:
            break
        time.sleep(0.1)
        there = find()
    return len(left)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class _Process(NamedTuple):
    parent: int
    flow_run: str | None


def _find(folder: Path) -> dict[int, _Process]:
    """Processes by id, as /proc knows them, with the flow run that they belong to."""
    found = {}
    mark = os.fsencode(f"{MARK}={folder}")
    for path in Path("/proc").glob("[0-9]*"):
        if (pid := int(path.name)) == os.getpid():
            continue
        try:  # it may be gone, or somebody else's; of what has ended, nothing is left to read
            variables = (path / "environ").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if mark in variables:
            of = (v.removeprefix(_FLOW_RUN) for v in variables if v.startswith(_FLOW_RUN))
            found[pid] = _Process(parent, next(map(os.fsdecode, of), None))
    return found
