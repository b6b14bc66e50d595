from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from geo.bigtiff import (
    HEADER_BYTES,
    LONG,
    LONG8,
    SHORT,
    Field,
    directories_bytes,
    lay_out,
    read_first_directory,
)

numbers = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=9)
fields = st.builds(
    lambda kind, n: Field.of(kind, *n), st.sampled_from([SHORT, LONG, LONG8]), numbers
)
directories = st.lists(
    st.dictionaries(st.integers(256, 60_000), fields, min_size=1, max_size=9),
    min_size=1,
    max_size=4,
)


@given(directories)
def test_what_was_laid_out_is_read(wanted: list[dict[int, Field]]) -> None:
    content = lay_out(wanted)
    assert len(content) == directories_bytes(wanted)
    assert read_first_directory(content) == wanted[0]


@given(directories)
def test_the_length_does_not_depend_on_values(wanted: list[dict[int, Field]]) -> None:
    other = [
        {tag: Field(f.kind, f.count, bytes(len(f.data))) for tag, f in directory.items()}
        for directory in wanted
    ]
    assert directories_bytes(other) == len(lay_out(wanted))


def test_what_gdal_wrote_is_read() -> None:
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=48,
            height=32,
            count=3,
            dtype="uint16",
            bigtiff="YES",
            endianness="LITTLE",
            tiled=True,
            blockxsize=16,
            blockysize=16,
        ) as dataset:
            dataset.write(np.ones((3, 32, 48), np.uint16))
        found = read_first_directory(memory.read())
    assert np.frombuffer(found[256].data[:2], "<u2") == 48
    assert np.frombuffer(found[257].data[:2], "<u2") == 32
    assert found[258].data == np.array([16, 16, 16], "<u2").tobytes()
    assert found[324].count == 6


@pytest.mark.parametrize("content", [b"MM\x00\x2b" + bytes(20), b"II*\x00" + bytes(20)])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="wanted little-endian BigTIFF"):
        read_first_directory(content)


def test_a_file_begins_with_its_first_directory() -> None:
    content = lay_out([{256: Field.of(LONG, 1)}])
    assert content[:4] == b"II\x2b\x00"
    assert int.from_bytes(content[8:16], "little") == HEADER_BYTES
