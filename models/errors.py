"""Errors of `models`: what was got, what was wanted, what to do.

ModelError
├── ConfigError       a configuration contradicts itself or the data
├── DataError         pairs or images cannot be used
├── CheckpointError   a training state cannot be read or continued
├── ExportError       a generator on disk cannot be written or read
└── TrainingError     training cannot go on
"""

from __future__ import annotations

from typing import Any


class ModelError(Exception):
    """Base of all errors that `models` raises on purpose.

    Parameters
    ----------
    message : str
        One sentence for the user: what was got, what was wanted, what to do.
    **facts
        The same as data (for example ``step=1200``), readable as items of `facts`.

    Notes
    -----
    Errors travel between processes as pickles, hence the explicit ``__reduce__``: the default one
    forgets keyword arguments.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[ModelError], message: str, facts: dict[str, Any]) -> ModelError:
    return kind(message, **facts)


class ConfigError(ModelError, ValueError):
    """A configuration contradicts itself or the data."""


class DataError(ModelError):
    """Pairs or images cannot be used."""


class CheckpointError(ModelError):
    """A training state cannot be read or continued."""


class ExportError(ModelError):
    """A generator on disk cannot be written or read."""


class TrainingError(ModelError):
    """Training cannot go on."""
