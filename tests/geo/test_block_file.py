from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo.block_file import DamagedFileError, read_index, read_run, write_pieces

pieces = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 20),
        st.integers(0, 2**20),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=200),
    ),
    max_size=12,
)


@given(pieces)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read(
    tmp_path: Path, wanted: list[tuple[int, int, int, int, bytes]]
) -> None:
    path = tmp_path / "7"
    write_pieces(path, wanted)
    index = read_index(path).entries
    assert [tuple(int(v) for v in entry)[:4] for entry in index] == [p[:4] for p in wanted]
    if wanted:
        with path.open("rb") as file:
            assert list(read_run(file, index)) == [p[4] for p in wanted]
            assert list(read_run(file, index[-1:])) == [wanted[-1][4]]
    assert [p.name for p in tmp_path.iterdir()] == ["7"]


@given(cut=st.integers(0, 399), flipped=st.integers(0, 399))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_noticed(tmp_path: Path, cut: int, flipped: int) -> None:
    path = tmp_path / "7"
    contents = [bytes(range(100)), bytes(range(100, 200))]
    write_pieces(path, [(0, 0, 0, col, content) for col, content in enumerate(contents)])
    whole = path.read_bytes()

    def read() -> list[bytes]:
        index = read_index(path).entries
        with path.open("rb") as file:
            return list(read_run(file, index))

    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(DamagedFileError):
        read()
    place = flipped % len(whole)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DamagedFileError):
        read()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield 0, 0, 0, 0, b"abc"
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_pieces(tmp_path / "7", broken())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_index(tmp_path / "7")


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "7"
    for content in (b"first", b"second"):
        write_pieces(path, [(0, 0, 0, 0, content)])
    with path.open("rb") as file:
        assert list(read_run(file, read_index(path).entries)) == [b"second"]
    assert np.asarray(read_index(path).entries["size"]).tolist() == [6]
