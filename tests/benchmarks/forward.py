"""How fast generators upsample, from DN to DN, and what bfloat16 costs.

`bare`: the generator's forward pass on reflectance that lies ready, its halo counted as output.
`call`: `Predictor` on block and halo, cropped. `strips`: `Predictor.strips`. Both count only the
block. Output megapixels a second of wall time, best of interleaved rounds; untrained weights with
something to say.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from flows.cores import usable_cores
from models.config_networks import GENERATORS, GeneratorConfig, exported_form
from models.export import GeneratorCard, load_generator, save_generator
from models.generators.registry import build_generator
from models.predict import Predictor
from tests.benchmarks.aerial_data import aerial_pairs
from tests.benchmarks.training_runs import content_config, minutes, train_on

BLOCKS = (64, 128, 256, 512, 1024)
WAYS = ("bare", "call", "strips")
PRECISIONS = ("float32", "bfloat16")
SCALE, RANGE = 4, 10_000.0
BANDS = ("red", "green", "blue", "nir")
LEAST_S, LEAST_ROUNDS = 6.0, 3  # of measuring a row
SIDE_BY_SIDE_S, READY_S = 6.0, 8.0

Write = Callable[[str], None]
Work = Callable[[], object]


def run(write: Write) -> None:
    """Print tables by block, by cores, by generator, by batch, and of precision."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _by_block(write, folder)
        _side_by_side(write, folder)
        _by_generator(write, folder)
        _by_batch(write, folder)
        _by_precision(write, folder)


def _by_block(write: Write, folder: Path) -> None:
    write("Default generator, one thread:\n")
    write(f"| bands | block, LR px | precision | {' | '.join(WAYS)} |")
    write("|---|---|---|---|---|---|")
    for bands in (3, 4):
        model = _model(folder, "edsr", bands)
        for block in BLOCKS:
            for precision in PRECISIONS:
                rates = _by_way(model, block, precision)
                write(f"| {bands} | {block} | {precision} | {_cells(rates)} |")


def _side_by_side(write: Write, folder: Path) -> None:
    write("\nDefault generator, 3 bands, strips, on all cores in different ways:\n")
    write(
        "| block, LR px | precision | one thread | threads side by side | processes side by side "
        "| all threads within each call |"
    )
    write("|---|---|---|---|---|---|")
    model, cores = _model(folder, "edsr", 3), usable_cores()
    spawn = partial(ProcessPoolExecutor, mp_context=get_context("spawn"))
    for block in (256, 512, 1024):
        for precision in PRECISIONS:
            job = (model, block, precision)
            cells = [
                _together(ThreadPoolExecutor(1), 1, job, threads=1),
                _together(ThreadPoolExecutor(cores), cores, job, threads=1),
                _together(spawn(cores), cores, job, threads=1),
                _together(ThreadPoolExecutor(1), 1, job, threads=cores),
            ]
            write(f"| {block} | {precision} | {_cells(cells)} |")


def _by_generator(write: Write, folder: Path) -> None:
    write("\nAll generators in their default sizes, 3 bands, block of 256, float32, one thread:\n")
    write(f"| generator | halo, LR px | {' | '.join(WAYS)} |")
    write("|---|---|---|---|---|")
    for name in GENERATORS:
        model = _model(folder, name, 3)
        rates = _by_way(model, 256, "float32")
        write(f"| {name} | {Predictor(model).halo} | {_cells(rates)} |")


def _by_batch(write: Write, folder: Path) -> None:
    write("\nImages of 32 LR px, default generator, float32, one thread:\n")
    write("| images | one by one | as a batch |")
    write("|---|---|---|")
    predict = Predictor.load(_model(folder, "edsr", 3), threads=1)
    for count in (4, 16, 64):
        images = np.random.default_rng(0).random((count, 3, 32, 32), np.float32) * 4000
        ways: dict[str, Work] = {
            "one by one": lambda images=images: [predict(image) for image in images],  # type: ignore[misc]
            "batch": lambda images=images: predict.predict_batch(images),  # type: ignore[misc]
        }
        megapixels = count * (32 * SCALE) ** 2 / 1e6
        write(f"| {count} | {_cells(megapixels / s for s in _seconds(ways))} |")


def _by_precision(write: Write, folder: Path) -> None:
    """Train for a minute, so that there is real detail to round."""
    split = aerial_pairs()
    result = train_on(split, content_config(minutes(1.0)), folder / "trained")
    exact, fast = (Predictor.load(result.exported, precision=p) for p in PRECISIONS)
    pairs = split.held_out.read(range(len(split.held_out)))
    truth = np.stack([pair.hr for pair in pairs]).astype(np.float32)
    lr = np.stack([pair.lr for pair in pairs])
    a, b = exact.predict_batch(lr), fast.predict_batch(lr)
    top = exact.data_range
    write(f"\n{split.describe()}, one minute of training: PSNR in dB over all held-out pixels:\n")
    write("| float32 | bfloat16 | one against the other | largest difference, share of range |")
    write("|---|---|---|---|")
    write(
        f"| {_psnr(a, truth, top):.4f} | {_psnr(b, truth, top):.4f} | {_psnr(a, b, top):.1f} "
        f"| {np.abs(a - b).max() / top:.1e} |"
    )


def _psnr(a: np.ndarray, b: np.ndarray, top: float) -> float:
    return float(-10 * np.log10(np.square((a - b) / top, dtype=np.float64).mean()))


def _model(folder: Path, name: str, bands: int) -> Path:
    path = folder / f"{name}-{bands}"
    if not path.exists():
        torch.manual_seed(0)
        config = exported_form(GeneratorConfig(name=name))
        generator = build_generator(config, bands=bands, scale=SCALE).requires_grad_(False)
        generator.standardise.set(torch.full((bands,), 0.1), 0.05)
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        card = GeneratorCard(
            architecture=config,
            scale=SCALE,
            bands=BANDS[:bands],
            data_range=RANGE,
            halo=generator.halo,
        )
        save_generator(path, generator, card)
    return path


def _work(model: Path, way: str, block: int, precision: str, threads: int = 1) -> Work:
    """One block by one of the ways."""
    predict = Predictor.load(model, precision=precision, threads=threads)
    halo, side = predict.halo, block + 2 * predict.halo
    bands = len(predict.card.bands)
    lr = np.random.default_rng(0).random((bands, side, side), np.float32) * 4000
    if way == "call":
        edge = halo * SCALE
        return lambda: np.ascontiguousarray(predict(lr)[:, edge:-edge, edge:-edge])
    if way == "strips":
        return lambda: sum(len(strip) for _, strip in predict.strips(lr, halo))
    generator = load_generator(model)[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.from_numpy(lr / np.float32(RANGE))[None].to(memory_format=torch.channels_last)

    def bare() -> None:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            generator(x)

    return bare


def _by_way(model: Path, block: int, precision: str) -> list[float]:
    """Output Mpx/s of `WAYS`."""
    seconds = _seconds({way: _work(model, way, block, precision) for way in WAYS})
    with_halo = block + 2 * Predictor(model).halo
    sides = (with_halo, block, block)
    return [(side * SCALE) ** 2 / 1e6 / s for side, s in zip(sides, seconds, strict=True)]


def _seconds(ways: dict[str, Work]) -> list[float]:
    """The best of each, tried in turn."""
    best = dict.fromkeys(ways, float("inf"))
    for work in ways.values():
        work()
    start, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - start < LEAST_S:
        for way, work in ways.items():
            before = time.perf_counter()
            work()
            best[way] = min(best[way], time.perf_counter() - before)
        rounds += 1
    return list(best.values())


def _together(pool: Executor, count: int, job: tuple[Path, int, str], *, threads: int) -> float:
    """Output Mpx/s of so many workers side by side."""
    with pool:
        begin = time.time() + READY_S
        futures = [pool.submit(_keep_busy, job, threads, begin) for _ in range(count)]
        return sum(future.result() for future in futures)


def _keep_busy(job: tuple[Path, int, str], threads: int, begin: float) -> float:
    model, block, precision = job
    work = _work(model, "strips", block, precision, threads)
    work()
    if (late := time.time() - begin) > 0:
        raise RuntimeError(f"was ready {late:.1f} s too late")
    time.sleep(-late)
    done = 0
    while (spent := time.time() - begin) < SIDE_BY_SIDE_S:
        work()
        done += 1
    return done * (block * SCALE) ** 2 / 1e6 / spent


def _cells(rates: Iterable[float]) -> str:
    return " | ".join(f"{rate:.1f}" for rate in rates)
