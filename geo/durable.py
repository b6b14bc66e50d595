"""Files and folders that appear whole under their names, or not at all, and stay there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a small file; a reader sees the old one or the new one, also after a power cut."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def put_folder(new: Path, place: Path, aside: Path) -> None:
    """Give a finished folder its name; what stood there goes.

    A folder cannot be renamed onto a full one, so for a moment nothing has the name. Cut off
    then, a second call goes on.

    Parameters
    ----------
    new : Path
    place : Path
        On the same file system.
    aside : Path
        Where the old one is while it is removed; on the same file system.
    """
    _remove(aside)
    if os.path.lexists(place):
        place.rename(aside)
        try:
            new.rename(place)
        except OSError:
            aside.rename(place)
            raise
    else:
        new.rename(place)
    sync_folder(place.parent)
    _remove(aside)


def sync_folder(folder: Path) -> None:
    """Make names that were added to or changed in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
