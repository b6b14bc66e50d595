"""What the commands of `skyscale` share: options, the way a command runs, exit statuses."""

from __future__ import annotations

import logging
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from flows.console import complain, print_json, say, tell_people
from flows.errors import FlowError, UsageError
from flows.settings import prepare_environment

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Workers = Annotated[int | None, typer.Option(help="Threads of the embedded Dask cluster.")]


def run_command(
    work: Callable[[], dict[str, Any]],
    *,
    json: bool,
    debug: bool,
    tell: Callable[[dict[str, Any]], list[str]],
    quiet: bool = True,
) -> None:
    """Run a command: story to standard error, result to standard output, exit status."""
    prepare_environment(quiet=quiet and not debug)
    try:
        tell_people()
        with _stopped_like_by_ctrl_c():
            result = work()
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, the same command goes on from there")
        raise typer.Exit(1) from None
    except Exception as error:
        if debug:
            complain(traceback.format_exc())
            raise typer.Exit(1) from None
        raise typer.Exit(_explain(error)) from None
    if json:
        print_json(result)
        return
    for line in tell(result):
        typer.echo(line)


@contextmanager
def _stopped_like_by_ctrl_c() -> Iterator[None]:
    """Have SIGTERM, the signal of schedulers and init systems, clean up as Ctrl-C does.

    Its default would leave servers and ranks that the command has started behind.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explain(error: Exception) -> int:
    """One line for the user; returns the exit status."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UsageError):
        complain(f"skyscale: {text}")
        return 2
    known = isinstance(error, FlowError) or type(error).__module__.startswith(("geo.", "models."))
    hint = "" if known else f" ({type(error).__name__}; --debug shows where)"
    complain(f"skyscale: {text}{hint}")
    logging.getLogger("skyscale").debug("failed", exc_info=error)
    return 1


def split_names(text: str | None) -> list[str] | None:
    """Names with commas between them."""
    return [n.strip() for n in text.split(",") if n.strip()] if text else None
