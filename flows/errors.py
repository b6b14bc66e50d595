"""Errors of the roof: wrong usage and failed runs, in one line each."""

from __future__ import annotations

from geo.secrets import mask


class _MaskedError(Exception):
    """An error whose message shows no secret of an address."""

    def __init__(self, message: str) -> None:
        super().__init__(mask(message))


class UsageError(_MaskedError):
    """The command was called with something that cannot be right; exit status 2."""


class FlowError(_MaskedError):
    """A stage could not do its work; exit status 1."""
