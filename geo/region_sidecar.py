"""What a region was made of, in a file beside it, where the raster's tags have no room for it.

A raster that was upscaled from one whole raster names it in a tag. A scene of many files, one with
masks, an area of one, or a mosaic is told in ``OUT.tif.source.json`` instead, so that a report can
read the same pixels again.
"""

from __future__ import annotations

import json
from pathlib import Path

from geo.durable import write_whole
from geo.errors import UpscaleError
from geo.region_source import RasterSource, RegionSource, source_from_dict


def sidecar_path(output: Path) -> Path:
    """Where the source of an output is told."""
    return output.with_name(f"{output.name}.source.json")


def write_source(source: RegionSource, output: Path) -> Path | None:
    """Tell the source beside an output; None, and no file, where the output's tags say it all.

    Raises
    ------
    UpscaleError
        If the disk does not take it.
    """
    path = sidecar_path(output)
    try:
        if _is_one_raster(source):
            path.unlink(missing_ok=True)  # of an older output of this name
            return None
        write_whole(path, json.dumps(source.to_dict(), allow_nan=False) + "\n")
    except OSError as error:
        raise UpscaleError(
            f"{path}: cannot be written ({error}); {output.name} itself is whole", output=str(path)
        ) from error
    return path


def read_source(output: str) -> RegionSource | None:
    """The source that is told beside an output; None where none is, or it is damaged."""
    try:
        return source_from_dict(json.loads(sidecar_path(Path(output)).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_one_raster(source: RegionSource) -> bool:
    return (
        isinstance(source, RasterSource)
        and len({ref.href for ref in source.refs}) == 1
        and not source.masks
        and source.area is None
        and not source.zeros_are_holes
    )
