"""What all flows and tasks have in common: a time, a last line, errors that show no secret."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flows.console import say, tell_worker
from flows.errors import FlowError
from flows.progress import duration
from flows.time_limit import time_limit
from geo.secrets import mask

_P = ParamSpec("_P")
_R = TypeVar("_R")

Closing = Callable[[Mapping[str, Any]], str]


def stage(
    name: str, closing: Closing
) -> Callable[[Callable[_P, dict[str, Any]]], Callable[_P, dict[str, Any]]]:
    """Frame the function of a flow: it stands under Prefect's decorator.

    Parameters
    ----------
    name : str
        Begins the last line.
    closing : callable
        What was done and what was refused, in words, given the flow's result.
    """

    def frame(work: Callable[_P, dict[str, Any]]) -> Callable[_P, dict[str, Any]]:
        @wraps(work)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> dict[str, Any]:
            tell_worker()
            started = time.monotonic()
            with without_secrets(), time_limit():
                result = work(*args, **kwargs)
            seconds = time.monotonic() - started
            say(
                f"{name}: done in {duration(seconds)}: {closing(result)}",
                seconds=round(seconds, 1),
            )
            return result

        # Prefect looks for the names of types where this function stands, not where `work` does.
        run.__signature__ = inspect.signature(work, eval_str=True)  # type: ignore[attr-defined]
        return run

    return frame


def masked(work: Callable[_P, _R]) -> Callable[_P, _R]:
    """Frame the function of a task: what it raises goes to Prefect's pages without secrets."""

    @wraps(work)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with without_secrets():
            return work(*args, **kwargs)

    return run


@contextmanager
def without_secrets() -> Iterator[None]:
    """Mask what an error says, and all that led to it, before Prefect makes a state of it.

    The log has a filter of its own, see `flows.console`; states have none.

    Raises
    ------
    FlowError
        Instead of an error whose words cannot be changed.
    """
    try:
        yield
    except Exception as error:
        _hide(error, set())
        text = str(error)
        if mask(text) != text:
            raise FlowError(f"{type(error).__name__}: {text}") from error
        raise


def _hide(error: BaseException, seen: set[int]) -> None:
    """Mask the words of an error in place: its type says whether trying again is worth while."""
    if id(error) in seen:
        return
    seen.add(id(error))
    words: dict[str, Any] = {"args": error.args, **vars(error)}
    if isinstance(error, OSError):  # its file may be an address
        words |= {name: getattr(error, name) for name in ("filename", "filename2", "strerror")}
    for name, value in words.items():
        if (hidden := _masked(value)) != value:
            with suppress(Exception):  # some cannot be changed, as rasterio's
                setattr(error, name, hidden)
    for other in (*error.args, error.__cause__, error.__context__):
        if isinstance(other, BaseException):
            _hide(other, seen)


def _masked(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_masked, value))
    return mask(value) if isinstance(value, str) else value
