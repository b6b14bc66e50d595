"""``skyscale upscale`` on a disk that is too small: a real one, where it may be mounted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows import upscale_work
from geo import cog, cog_mover
from tests.end_to_end.upscaling import BLOCKS, SCALE, folder_of, marked, upscale, write_source
from tests.geo.cogs import assert_same_picture

pytestmark = pytest.mark.slow

MODEL = ("lanczos", "--scale", SCALE)
Resize = Callable[[int], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A file system of 6 MB, and how to give it another size; needs the right to mount."""
    if shutil.which("mount") is None:
        pytest.skip("no small disk can be made here: there is no mount")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be made here: {made.stderr.strip()}")

    def resize(megabytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", place], check=True)

    yield place, resize
    subprocess.run(["umount", "-l", place], check=True)


def files(folder: Path) -> dict[str, bytes]:
    """What lies below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def moved(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have tiles moved to the output while it is computed, as those of large outputs are."""
    if request.param:
        monkeypatch.setattr(cog, "_WORTH_MOVING", 0)
        monkeypatch.setattr(cog_mover, "_AT_ONCE", 1 << 20)
        monkeypatch.setattr(upscale_work, "_MOVE_EVERY_S", 0.01)
    return bool(request.param)


@pytest.mark.parametrize(
    ("name", "moved"),
    [("sr.tif", False), ("sr.tif", True), ("sr.zarr", False)],
    ids=["cog", "moved", "zarr"],
    indirect=["moved"],
)
def test_a_full_disk_ends_the_run_and_with_room_the_same_command_goes_on(
    services: Path, disk: tuple[Path, Resize], tmp_path: Path, name: str, moved: bool
) -> None:
    place, resize = disk
    source, output = write_source(tmp_path / "lr.tif"), place / name
    undisturbed = tmp_path / name
    assert upscale(source, undisturbed, *MODEL).done_before == 0

    complaint = upscale(source, output, *MODEL).complaint
    assert f"{folder_of(output)}: writing block" in complaint
    assert "No space left on device" in complaint
    assert "finished blocks are kept, so run again when there is room on the disk" in complaint
    finished = len(marked(output))
    assert 0 < finished < BLOCKS
    assert not output.exists()

    if name == "sr.tif" and not moved:
        # Room for all blocks, but not for the file that is made of them.
        resize(26)
        complaint = upscale(source, output, *MODEL).complaint
        assert f"{output}: cannot be written" in complaint
        assert "finished blocks are kept, so run again when there is room" in complaint
        assert len(marked(output)) == BLOCKS
        finished = BLOCKS

    resize(60)
    assert upscale(source, output, *MODEL).done_before == finished
    if name == "sr.tif":
        assert_same_picture(output, undisturbed)
    else:
        assert files(output) == files(undisturbed)
    assert [path.name for path in place.iterdir()] == [name]
