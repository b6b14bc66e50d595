"""What areas cost to upscale: what was measured, and what follows from it for cities to countries.

Measured anew: bytes of COGs of real Sentinel-2 scenes (10 m), drawn by ``bicubic`` and by a default
generator after a short training; bytes and requests of a scene behind HTTP, tiles of 1024 px, each
band apart as Sentinel-2's COGs have them; and a quarter of a Sentinel-2 tile of four bands, to hold
the table's arithmetic against. The table is arithmetic on `MEASURED`: numbers of other benchmarks
that stand in docs/benchmarks.md, which a test holds against each other. ``python -m
tests.benchmarks.sizing`` prints the table alone, as it stands in docs/guides/sizing.md.
"""

from __future__ import annotations

import math
import re
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from geo.tiff_tiles import Compression
from geo.upsampler import BuiltinUpsampler, Upsampler
from geo.upscale import UpscaleConfig, begin, finish, plan_upscale, run_block
from models.predict import Predictor
from tests.benchmarks.region_data import BANDS, make_source, quick_generator, run_upscale
from tests.servers.stac_server import Faults, StacServer

Write = Callable[[str], None]
SCALE, GSD_M, N_BANDS, BLOCK_LR, CHIP_LR = 4, 10, 4, 1024, 32
PAIRS = (500, 2_700, 10_000, 100_000)
# Runs of other benchmarks on two threads: section, megapixels out, bands, seconds.
RUNS = (
    ("region_memory", 64, 3, 10),
    ("peer_region", 151, 3, 18.3),
    ("region_speed", 604, 3, 60),
    ("region_memory", 1024, 3, 108),
)
AREAS_KM2 = {"city": 100, "region": 10_000, "Portugal": 92_000, "Germany": 358_000}
# One band and four, and which bands of the file.
REAL = {
    "pairs/arosics_s2_s2/ref_S2A_20160608T153121_T33UUU_sub.jp2": (1,),
    "pairs/s2_landsat9_unalakleet/sentinel2_10m_20231009.tif": (1, 2, 3, 4),
    "satellite/boadella_series/Boadella_2020-06-21.tif": (2, 3, 4, 8),
}
_SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"


def _of(section: str, value: float) -> float:
    """A number that stands in a section of docs/benchmarks.md."""
    return field(default=value, metadata={"of": section})  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rates of the machine of docs/benchmarks.md: two cores, nothing else running.

    Times of region_speed are seconds of one thread, for its megapixels of three bands.
    """

    megapixels: float = _of("region_speed", 604)
    read_s: float = _of("region_speed", 2.7)
    infer_s: float = _of("region_speed", 89.4)
    write_s: float = _of("region_speed", 22.3)
    infer_bfloat16_s: float = _of("region_speed", 50.0)
    start_s: float = _of("region_speed", 3)
    two_workers: float = _of("scale_out", 1.79)
    scratch_mb: float = _of("region_memory", 5053)
    output_mb: float = _of("region_memory", 4931)
    disk_mb_s: float = _of("sizing", 330)
    bytes_a_sample: float = _of("sizing", 1.55)
    bytes_read_a_sample: float = _of("sizing", 1.54)
    requests_a_tile: float = _of("sizing", 1.05)
    tiles_s: float = _of("report_scale", 46.5)
    report_mb: float = _of("report_scale", 8.6)
    chips_s: float = _of("ingest", 466)
    pair_kb: float = _of("reading", 368)
    content_steps_s: float = _of("training_speed", 79.3)
    adversarial_steps_s: float = _of("training_speed", 25.6)

    def thread_s(
        self,
        megapixels: float,
        *,
        bands: int = N_BANDS,
        bfloat16: bool = False,
        answers: int = 1,
    ) -> float:
        """Seconds of one core for output megapixels: the network once, the rest for each band."""
        infer = answers * (self.infer_bfloat16_s if bfloat16 else self.infer_s)
        rest = (self.read_s + self.write_s) * bands / 3
        return (infer + rest) * megapixels / self.megapixels

    def wall_s(self, megapixels: float, cores: int, gigabytes: float) -> tuple[float, str]:
        """Seconds on so many cores, and what they wait for.

        Beyond two cores each is taken to bring what a second worker did. All bytes are written
        twice: by who drew them, and to the growing file.
        """
        gain = min(2, cores) + (self.two_workers - 1) * max(0, cores - 2)
        busy = self.thread_s(megapixels) / gain
        disk = 2e3 * gigabytes / self.disk_mb_s
        return max(busy, disk) + self.start_s, "disk" if disk > busy else "cores"


MEASURED = Measured()


def run(write: Write) -> None:
    """Measure, then print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {n: quick_generator(folder / f"run{n}", n) for n in (1, N_BANDS)}
        write("| scene, 10 m | px | model | deflate, bytes a band and pixel | zstd |")
        write("|---|---|---|---|---|")
        for place, bands in REAL.items():
            if (_SHARED / place).exists():
                _real_rows(write, folder, _SHARED / place, bands, models[len(bands)])
        _network(write, folder)
        _quarter_tile(write, folder, models[N_BANDS])
    for line in ("", *table(), "", *checks(), "", *pairs_table()):
        write(line)


def _real_rows(
    write: Write, folder: Path, place: Path, bands: tuple[int, ...], model: Path
) -> None:
    with rasterio.open(place) as scene:
        # The corner that lies in the swath of the largest scene.
        height, width = min(1024, scene.height), min(1024, scene.width)
        window = Window(scene.width - width, scene.height - height, width, height)
        pixels = scene.read(bands, window=window).clip(0, 65535).astype(np.uint16)
        profile = {"crs": scene.crs, "transform": scene.window_transform(window), "nodata": 0}
    profile |= {"count": len(bands), "height": height, "width": width, "dtype": "uint16"}
    with rasterio.open(folder / "real.tif", "w", driver="GTiff", **profile) as dataset:
        dataset.write(pixels)
        dataset.descriptions = BANDS[: len(bands)]
    samples = np.count_nonzero(pixels) * SCALE**2
    upsamplers = {"bicubic": BuiltinUpsampler("bicubic", SCALE), "edsr": Predictor.load(model)}
    for label, upsampler in upsamplers.items():
        sizes = [
            _draw(str(folder / "real.tif"), folder / "real_sr.tif", upsampler, compression)
            / samples
            for compression in ("deflate", "zstd")
        ]
        write(
            f"| {place.stem} | {width} x {height} x {len(bands)} | {label} "
            f"| {' | '.join(f'{size:.2f}' for size in sizes)} |"
        )


def _draw(source: str, output: Path, upsampler: Upsampler, compression: Compression) -> int:
    """Bytes of a COG, drawn in this process."""
    config = UpscaleConfig(compression=compression)
    plan = plan_upscale(source, output, upsampler, config)
    begin(plan)
    for block in plan.blocks:
        run_block(plan, block, upsampler)
    return finish(plan).stat().st_size


@dataclass(frozen=True, kw_only=True)
class _Ledger(Faults):
    """No fault; what was asked for is written down."""

    asked: list[str] = field(default_factory=list)

    def of(self, key: str, attempt: int) -> str | None:
        self.asked.append(key)
        return None


def _network(write: Write, folder: Path) -> None:
    size, edge = 4096, 1024
    plain, source = make_source(folder / "plain.tif", size, N_BANDS), folder / "served" / "lr.tif"
    source.parent.mkdir()
    with rasterio.open(plain) as scene:
        profile = scene.profile | {"interleave": "band", "blockxsize": edge, "blockysize": edge}
        with rasterio.open(source, "w", **profile) as dataset:
            dataset.write(scene.read())
            dataset.descriptions = scene.descriptions
    with StacServer(source.parent, faults=(ledger := _Ledger())) as server:
        nearest = BuiltinUpsampler("nearest", SCALE)
        _draw(f"{server.files}/lr.tif", folder / "sr.tif", nearest, "zstd")
    ranges = [re.search(r"bytes=(\d+)-(\d+)", key) for key in ledger.asked]
    read = sum(int(r[2]) - int(r[1]) + 1 for r in ranges if r)
    tiles = (size // edge) ** 2 * N_BANDS
    write(
        f"\nBehind HTTP, {size} x {size} px of {N_BANDS} bands, {tiles} tiles of {edge} px: "
        f"{len(ledger.asked)} requests, {len(ledger.asked) / tiles:.2f} a tile; "
        f"{read / 1e6:.0f} MB read of a file of {source.stat().st_size / 1e6:.0f} MB "
        f"({source.stat().st_size / size**2 / N_BANDS:.2f} bytes a band and pixel)."
    )


def _quarter_tile(write: Write, folder: Path, model: Path) -> None:
    size = 5490
    source, output = make_source(folder / "quarter.tif", size, N_BANDS), folder / "quarter_sr.tif"
    before = _processor_s()
    told = run_upscale(source, output, model, every_s=0.5)
    megapixels = (size * SCALE) ** 2 / 1e6
    write(
        f"\nA quarter of a Sentinel-2 tile, {size} x {size} px of {N_BANDS} bands, "
        f"{megapixels:.0f} Mpx out: {told['seconds']:.0f} s, {_processor_s() - before:.0f} s of "
        f"processor time ({MEASURED.thread_s(megapixels) + 2 * MEASURED.start_s:.0f} by the "
        f"arithmetic of the table); {output.stat().st_size / 1e6:.0f} MB, memory "
        f"{told['memory_mb']:.0f} MB, scratch {told['scratch_mb']:.0f} MB."
    )


def _processor_s() -> float:
    """Of processes that have ended: what other work takes from this machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(measured: Measured = MEASURED) -> list[str]:
    """Markdown: a column for each area, a row for each cost; what is computed in italics."""
    columns = [_column(area, measured) for area in AREAS_KM2.values()]
    names = [f"{name}, {area:,} km²" for name, area in AREAS_KM2.items()]
    return _markdown("10 m to 2.5 m, four bands, uint16", names, columns)


def pairs_table(measured: Measured = MEASURED) -> list[str]:
    """Markdown: what pairs cost to make and to train on."""
    columns = [_pairs_column(pairs, measured) for pairs in PAIRS]
    return _markdown("pairs", [f"{pairs:,}" for pairs in PAIRS], columns)


def checks() -> list[str]:
    """Markdown: runs that were measured beside what the arithmetic says of them."""
    lines = [
        "| pixels out, millions | measured, s | *by the arithmetic, s* | in |",
        "|---|---|---|---|",
    ]
    for section, megapixels, bands, seconds in RUNS:
        expected = MEASURED.thread_s(megapixels, bands=bands) / 2 + MEASURED.start_s
        link = f"[{section}](../benchmarks.md#{section})"
        lines.append(f"| {megapixels:,} | {seconds:g} | {expected:.0f} | {link} |")
    return lines


def _markdown(corner: str, names: list[str], columns: list[dict[str, str]]) -> list[str]:
    lines = [f"| {corner} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    return lines + [f"| {row} | {' | '.join(c[row] for c in columns)} |" for row in columns[0]]


def _column(area_km2: float, m: Measured) -> dict[str, str]:
    lr_mpx = area_km2 / GSD_M**2
    mpx = lr_mpx * SCALE**2
    output_gb = mpx * N_BANDS * m.bytes_a_sample / 1e3
    tiles = area_km2 * 1e6 / (CHIP_LR * GSD_M) ** 2

    def wall(cores: int) -> str:
        seconds, waits_for = m.wall_s(mpx, cores, output_gb)
        return f"{_time(seconds)} ({waits_for})"

    return {
        "satellite pixels, millions": _number(lr_mpx),
        "pixels out, millions": _number(mpx),
        f"blocks of {BLOCK_LR} satellite pixels": f"{math.ceil(lr_mpx * 1e6 / BLOCK_LR**2):,}",
        "*time of one core, float32*": _time(m.thread_s(mpx)),
        "*with `--precision bfloat16`*": _time(m.thread_s(mpx, bfloat16=True)),
        "*with `--ensemble`*": _time(m.thread_s(mpx, answers=8)),
        "*2 cores, float32, and what they wait for*": wall(2),
        "*16 cores*": wall(16),
        "*64 cores*": wall(64),
        "*the COG, GB*": _number(output_gb),
        "*disk while it grows, GB*": _number(output_gb * m.scratch_mb / m.output_mb),
        "*read from the source, GB*": _number(lr_mpx * N_BANDS * m.bytes_read_a_sample / 1e3),
        "*requests, where it is remote*": _number(
            m.requests_a_tile * N_BANDS * lr_mpx * 1e6 / 1024**2
        ),
        "report: tiles": _number(tiles),
        "*report, 2 cores*": _time(tiles / m.tiles_s),
        "*report.html, MB*": _number(tiles * m.report_mb / 50_000),
    }


def _pairs_column(pairs: int, m: Measured) -> dict[str, str]:
    # As flows.train_job bounds phases, and models.config has them.
    content = min(20_000, 120 * pairs / 16)
    adversarial = min(4_000, 40 * pairs / 16)
    return {
        "*ground, km²*": _number(pairs * (CHIP_LR * GSD_M / 1000) ** 2),
        "*store, GB*": _number(pairs * m.pair_kb / 4 / 1e6),
        "*ingest, 2 cores*": _time(pairs / m.chips_s),
        "*content phase, 2 cores*": _time(content / m.content_steps_s),
        "*adversarial phase*": _time(adversarial / m.adversarial_steps_s),
    }


def _number(value: float) -> str:
    """Two digits are more than is known."""
    if value <= 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(value)))
    rounded = round(value, 1 - math.floor(math.log10(value)))
    return f"{rounded:,.{digits}f}"


def _time(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{_number(seconds / unit)} {name}"
    return f"{_number(seconds)} s"


def quoted() -> dict[str, tuple[str, float]]:
    """What is taken from docs/benchmarks.md: section and number of each."""
    return {
        f.name: (str(f.metadata["of"]), getattr(MEASURED, f.name))
        for f in fields(MEASURED)
        if "of" in f.metadata
    }


if __name__ == "__main__":
    sys.stdout.write("\n".join([*table(), "", *checks(), "", *pairs_table(), ""]))
