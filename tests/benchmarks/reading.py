"""Random batches of 16 pairs from the store and from what others keep pairs in.

LR 64 x 64, HR 256 x 256, 4 bands, uint16, with validity. Every rival holds the same pairs: one
GeoTIFF per image (deflate), LMDB with a value per pair and image in the same Blosc compression,
one uncompressed npy per image. All give the same batch, one array of each key; rivals as their data
sets do, pair after pair, then stacked. LMDB a second time as well as we can: two threads that
decode into the batch. Cold: files are out of the page cache before each turn. Turns alternate; the
best of each counts. The last row is what the default training step eats on this machine.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import numcodecs
import numpy as np
import numpy.typing as npt
import rasterio

from geo.pairstore.care import compact_store, expire_store
from geo.pairstore.config import StoreConfig
from geo.pairstore.parts import LASTING
from geo.pairstore.rows import PairData
from geo.pairstore.store import PairStore
from tests.benchmarks.pixels import make_pairs, source_image

PAIRS, BATCH, BATCHES, TURNS = 1200, 16, 30, 6
BANDS = ("blue", "green", "red", "nir")
LR = 64
_KEYS = ("lr", "hr", "valid")

Read = Callable[[Sequence[int]], Any]


def run(write: Callable[[str], None]) -> None:
    """Print pairs a second of each way to keep them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways, opened, reopen = _prepare(folder)
        write(f"{PAIRS} pairs cut from a {source_image(1)[1]}.\n")
        write("| kept as | files | bytes of npy | warm, pairs/s | store is | cold, pairs/s |")
        write("|---|---|---|---|---|---|")
        warm = _race(opened, reopen)
        cold = _race(opened, reopen, cold=ways)
        raw = _bytes(folder / "npy")
        for way, place in ways.items():
            files = sum(p.is_file() for p in place.rglob("*"))
            write(
                f"| {way} | {files} | {_bytes(place) / raw:.0%} | {warm[way]:.0f} | "
                f"{warm['store'] / warm[way]:.2f} x | {cold[way]:.0f} "
                f"({cold['store'] / cold[way]:.2f} x) |"
            )
        _crops(write, folder)
        eaten = _training_rate()
        write(
            f"\nThe default training step eats {eaten:.0f} pairs/s (crops of 24 LR px); the store "
            f"gives {warm['store'] / eaten:.1f} times as many whole ones."
        )


def _prepare(folder: Path) -> tuple[dict[str, Path], dict[str, Read], Callable[[], None]]:
    store = PairStore.create_or_open(folder / "store", StoreConfig(bands=BANDS, lr_size=LR))
    for name in ("tif", "npy"):
        (folder / name).mkdir()
    env = lmdb.open(str(folder / "lmdb"), map_size=4 << 30)
    codec = numcodecs.Blosc(LASTING["cname"], LASTING["clevel"], numcodecs.Blosc.SHUFFLE)
    numcodecs.blosc.use_threads = False
    batch: list[PairData] = []
    rows = []
    shapes: dict[str, tuple[Any, Any]] = {}
    pairs = list(make_pairs(PAIRS, bands=len(BANDS), lr_size=LR))
    pairs.sort(key=lambda pair: str(pair.row["identity"]))  # as the store's reader has them
    for number, pair in enumerate(pairs):
        batch.append(pair)
        if len(batch) == 128 or number == PAIRS - 1:
            rows += store.write_part(batch)
            batch = []
        for key in _KEYS:
            array = getattr(pair, key)
            shapes[key] = array.dtype, array.shape
            _write_tif(folder / f"tif/{number}_{key}.tif", np.atleast_3d(array.T).T)
            np.save(folder / f"npy/{number}_{key}.npy", array)
            with env.begin(write=True) as transaction:
                transaction.put(
                    f"{number}/{key}".encode(), codec.encode(np.ascontiguousarray(array))
                )
    store.commit(rows, "bench")
    compact_store(store, "bench")
    expire_store(store, keep_days=0, grace_s=0)
    env.sync()
    env.close()
    os.sync()
    return _ways(folder, store.reader(), codec, shapes)


def _write_tif(path: Path, array: npt.NDArray[Any]) -> None:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype="uint8" if array.dtype == bool else array.dtype,
        compress="deflate",
    ) as dataset:
        dataset.write(array.astype("uint8") if array.dtype == bool else array)


def _ways(
    folder: Path, reader: Any, codec: Any, shapes: dict[str, tuple[Any, Any]]
) -> tuple[dict[str, Path], dict[str, Read], Callable[[], None]]:
    opened: list[Any] = []

    def reopen() -> None:
        while opened:
            opened.pop().close()
        opened.append(lmdb.open(str(folder / "lmdb"), readonly=True, lock=False))

    def from_lmdb(number: int, out: list[Any] | None = None) -> list[Any]:
        with opened[0].begin(buffers=True) as transaction:
            values = [transaction.get(f"{int(number)}/{key}".encode()) for key in _KEYS]
            if out is not None:
                return [codec.decode(v, o) for v, o in zip(values, out, strict=True)]
            return [
                np.frombuffer(codec.decode(value), dtype).reshape(shape)
                for value, (dtype, shape) in zip(values, shapes.values(), strict=True)
            ]

    def from_tif(number: int) -> list[Any]:
        images = []
        for key in _KEYS:
            with rasterio.open(folder / f"tif/{int(number)}_{key}.tif") as dataset:
                images.append(dataset.read())
        return [*images[:2], images[2][0].astype(bool)]

    def from_npy(number: int) -> list[Any]:
        return [np.load(folder / f"npy/{int(number)}_{key}.npy") for key in _KEYS]

    def stacked(read: Callable[[int], list[Any]]) -> Read:
        return lambda order: [np.stack(i) for i in zip(*(read(n) for n in order), strict=True)]

    pool = ThreadPoolExecutor(2)

    def in_place(order: Sequence[int]) -> list[Any]:
        batch = [np.empty((len(order), *shape), dtype) for dtype, shape in shapes.values()]
        list(pool.map(lambda n, i: from_lmdb(n, [b[i] for b in batch]), order, range(len(order))))
        return batch

    def from_store(order: Sequence[int]) -> list[Any]:
        batch = reader.read_batch(order)
        return [getattr(batch, key) for key in _KEYS]

    ways = {
        "store": ("store", from_store),
        "GeoTIFF per image": ("tif", stacked(from_tif)),
        "LMDB": ("lmdb", stacked(from_lmdb)),
        "LMDB, in place, two threads": ("lmdb", in_place),
        "npy per image": ("npy", stacked(from_npy)),
    }
    _check({name: read for name, (_, read) in ways.items()}, reopen)
    return (
        {name: folder / place for name, (place, _) in ways.items()},
        {name: read for name, (_, read) in ways.items()},
        reopen,
    )


def _check(ways: dict[str, Read], reopen: Callable[[], None]) -> None:
    reopen()
    wanted, *others = (read(range(3)) for read in ways.values())
    for got in others:
        for one, other in zip(wanted, got, strict=True):
            np.testing.assert_array_equal(one, other)


def _race(
    ways: dict[str, Read], reopen: Callable[[], None], cold: dict[str, Path] | None = None
) -> dict[str, float]:
    """Best rate of each; with `cold`, after the page cache was emptied of the files there."""
    rng = np.random.default_rng(1)
    best = dict.fromkeys(ways, 0.0)
    for _ in range(TURNS):
        order = rng.permutation(PAIRS)[: BATCH * BATCHES].reshape(BATCHES, BATCH)
        for name, read in ways.items():
            reopen()  # pages that LMDB has mapped would stay
            if cold is None:
                for batch in order:
                    read(batch)
            else:
                _forget(cold[name])
            started = time.perf_counter()
            for batch in order:
                read(batch)
            best[name] = max(best[name], order.size / (time.perf_counter() - started))
    return best


def _forget(folder: Path) -> None:
    """Push files out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _crops(write: Callable[[str], None], folder: Path) -> None:
    """Crops of 24 LR pixels from chips of 64, by the size of the chunks."""
    write("\n| chunk, LR px | whole chips, pairs/s | crops of 24, pairs/s | bytes |")
    write("|---|---|---|---|")
    rng = np.random.default_rng(2)
    count = 512
    orders = rng.integers(0, count, (BATCHES, BATCH))
    corners = rng.integers(0, LR - 24, (BATCHES, BATCH, 2))
    for chunk in (64, 32, 16):
        config = StoreConfig(bands=BANDS, lr_size=LR, chunk_lr=chunk)
        store = PairStore.create_or_open(folder / f"chunk{chunk}", config)
        pairs = list(make_pairs(count, bands=len(BANDS), lr_size=LR))
        store.commit(store.write_part(pairs), "bench")
        reader = store.reader()
        whole = crop = 0.0
        for _ in range(TURNS):
            started = time.perf_counter()
            for order in orders:
                reader.read_batch(order)
            whole = max(whole, orders.size / (time.perf_counter() - started))
            started = time.perf_counter()
            for order, places in zip(orders, corners, strict=True):
                reader.read_batch(order, windows=[(int(y), int(x), 24) for y, x in places])
            crop = max(crop, orders.size / (time.perf_counter() - started))
        size = _bytes(folder / f"chunk{chunk}/parts") / count / 1000
        write(f"| {chunk} | {whole:.0f} | {crop:.0f} | {size:.0f} kB a pair |")


def _training_rate() -> float:
    """Pairs a second that the default content step takes, batches ready in memory."""
    import torch

    from flows.cores import usable_cores
    from models.config import TrainConfig
    from models.config_networks import GeneratorConfig
    from models.generators.registry import build_generator

    config = TrainConfig()
    torch.set_num_threads(usable_cores())
    network = build_generator(GeneratorConfig(), bands=len(BANDS), scale=4)
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters())
    side = config.patch_lr
    lr = torch.rand(config.batch_size, len(BANDS), side, side).to(memory_format=torch.channels_last)
    hr = torch.rand(config.batch_size, len(BANDS), 4 * side, 4 * side)
    steps, seconds = 60, 0.0
    for step in range(steps + 10):
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (network(lr) - hr).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= 10:
            seconds += time.perf_counter() - started
    return steps * config.batch_size / seconds
