"""Errors of the roof: wrong usage and failed runs, in one line each."""

from __future__ import annotations


class UsageError(Exception):
    """The command was called with something that cannot be right; exit status 2."""


class FlowError(Exception):
    """A stage could not do its work; exit status 1."""
