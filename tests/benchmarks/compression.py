"""Blosc's compressions on chips: bytes kept, and pixels a second in and out.

LR 4 x 64 x 64 and HR 4 x 256 x 256, uint16, each array on its own as the store keeps them, one
thread. Bytes are shares of the raw ones. The best of three turns counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numcodecs

from tests.benchmarks.pixels import make_pairs, source_image

PAIRS, TURNS = 64, 3
_SHUFFLES = {"bit": numcodecs.Blosc.BITSHUFFLE, "byte": numcodecs.Blosc.SHUFFLE}
_CODECS = (("zstd", 3), ("zstd", 5), ("lz4", 5), ("lz4hc", 1), ("lz4hc", 5))


def run(write: Callable[[str], None]) -> None:
    """Print size and speed of each compression."""
    numcodecs.blosc.use_threads = False
    pairs = list(make_pairs(PAIRS, bands=4, lr_size=64))
    write(f"{PAIRS} pairs cut from a {source_image(1)[1]}.\n")
    write("| codec | level | shuffle | LR | HR | pack, MB/s | unpack, MB/s |")
    write("|---|---|---|---|---|---|---|")
    raw = sum(pair.lr.nbytes + pair.hr.nbytes for pair in pairs)
    for name, level in _CODECS:
        for shuffle, number in _SHUFFLES.items():
            codec = numcodecs.Blosc(name, level, number)
            pack = unpack = float("inf")
            for _ in range(TURNS):
                started = time.perf_counter()
                coarse = [codec.encode(pair.lr) for pair in pairs]
                fine = [codec.encode(pair.hr) for pair in pairs]
                packed = time.perf_counter()
                for content in (*coarse, *fine):
                    codec.decode(content)
                pack = min(pack, packed - started)
                unpack = min(unpack, time.perf_counter() - packed)
            write(
                f"| {name} | {level} | {shuffle} "
                f"| {sum(map(len, coarse)) / sum(p.lr.nbytes for p in pairs):.3f} "
                f"| {sum(map(len, fine)) / sum(p.hr.nbytes for p in pairs):.3f} "
                f"| {raw / pack / 1e6:.0f} | {raw / unpack / 1e6:.0f} |"
            )
