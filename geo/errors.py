"""Errors of `geo`: what was got, what was wanted, what to do.

GeoError
├── SourceError     a raster or its georeference cannot be used
├── CatalogError    scenes cannot be found or described
├── BandError       bands asked for are not there
├── GridError       grids do not fit together
├── StoreError      the pair store cannot be read or written
├── UpscaleError    a region cannot be upscaled
└── ReportError     a region cannot be scored
"""

from __future__ import annotations

from typing import Any

from geo.secrets import mask


class GeoError(Exception):
    """Base of all errors that `geo` raises on purpose.

    Parameters
    ----------
    message : str
        One sentence for the user: what was got, what was wanted, what to do. Secrets of addresses
        in it are masked.
    **facts
        The same as data (for example ``href="a.tif"``), readable as attributes of `facts`.

    Notes
    -----
    Dask and Prefect pickle errors, hence the explicit ``__reduce__``: the default one forgets
    keyword arguments.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        message = mask(message)
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[GeoError], message: str, facts: dict[str, Any]) -> GeoError:
    return kind(message, **facts)


class SourceError(GeoError):
    """A raster or its georeference cannot be used."""


class CatalogError(GeoError):
    """Scenes cannot be found or described."""


class BandError(GeoError):
    """Bands asked for are not there."""


class GridError(GeoError):
    """Grids do not fit together."""


class StoreError(GeoError):
    """The pair store cannot be read or written."""


class UpscaleError(GeoError):
    """A region cannot be upscaled."""


class ReportError(GeoError):
    """A region cannot be scored."""


def first_line(error: BaseException) -> str:
    """What a library said, without its stack of causes."""
    if type(error) is KeyError:  # says nothing but the key
        return f"{error} is missing"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
