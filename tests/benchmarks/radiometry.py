"""Colours, sameness of ground, clouds without a mask, seams: on made and trial scenes.

R squared is 1 - mse / variance of the satellite's chip against the HR chip as the satellite would
see it, for each band, over chips that were kept and have content (on open water the variance is
noise). Seam: mean step across chip borders over mean step
just inside of them. Unlike chips are made of pairs of other places; clouds
are known from the scenes' own classification, which is hidden from the brightness screen.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.brightness import learn_brightness
from geo.catalog.scene import Mask
from geo.catalog.sources import read_scenes
from geo.chips import Cell, blocks_of
from geo.cut import AlignedPair, Chip, CutRules, colours_of, cut_block
from geo.decisions import PairingRules
from geo.harmonise import METHODS, HarmoniseRules, Method
from geo.match import MatchRules, match_scenes
from geo.pairing import ScenePair, align_pair, cells_of, common_bands, inspect_pair, lattice_of
from geo.quality import RIM_PX, screen_masks
from geo.raster_io import inspect_raster, read_window
from geo.scenes.make import ScenesConfig, make_scenes
from geo.sensor import degrade
from geo.similarity import compare_chips, see_chips

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
REGIONS = ("prairie", "village", "lakeshore")
CUT = CutRules()
Write = Callable[[str], None]
_Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Kept:
    """Chips that were kept of a scene pair."""

    region: str
    pair: AlignedPair
    chips: list[Chip]


def run(write: Write) -> None:
    """Print a table for each question."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "scenes"
        make_scenes(made, ScenesConfig(width_px=1536, height_px=1536))
        places = [("made", made)]
        places += [(r, SHARED / "trial" / r) for r in REGIONS if (SHARED / "trial" / r).is_dir()]
        kept = _harmonisation(write, places)
    _sameness(write, kept)
    _judging_speed(write, kept)
    if SHARED.is_dir():
        _years_apart(write)
        _clouds(write)


def _harmonisation(write: Write, places: Sequence[tuple[str, Path]]) -> list[Kept]:
    """Agreement by scene and method; the chips that straight lines kept."""
    write("| region | scene | method | gain | median R² | worst 5 % | kept | low content | seam |")
    write("|---|---|---|---|---|---|---|---|---|")
    found = []
    trial: dict[str, list[_Pixels]] = {method: [] for method in METHODS}
    for region, folder in places:
        for pair, rules in _scene_pairs(folder, MatchRules(max_cloud=1.0)):
            for method in METHODS:
                start = f"| {region} | {pair.candidate.satellite.id} | {method} |"
                cut = _align(pair, rules, method)
                if isinstance(cut, str):
                    write(f"{start} refused: {cut} | | | | | |")
                    continue
                blocks = blocks_of(cells_of(pair, rules))
                lattice = lattice_of(pair.geobox, rules.lr_size)
                chips = [chip for block in blocks for chip in cut_block(cut, lattice, block, CUT)]
                kept = [chip for chip in chips if chip.reason is None]
                low = sum("low_content" in chip.flags for chip in kept)
                told = [_agreement(chip) for chip in kept if "low_content" not in chip.flags]
                r2 = np.array(told or [[np.nan] * len(rules.bands)])  # [chips, C]
                if region != "made":
                    trial[method].append(r2)
                write(
                    f"{start} {_numbers(cut.alignment.gains, 2)} | {_numbers(np.median(r2, 0))} | "
                    f"{_numbers(np.quantile(r2, 0.05, axis=0))} | {len(kept)} of {len(chips)} | "
                    f"{low} | {_seam(kept):.3f} |"
                )
                if method == "linear":
                    found.append(Kept(region, cut, kept))
    for method, parts in trial.items():
        if parts:
            r2 = np.concatenate(parts)
            worst = _numbers(np.quantile(r2, 0.05, axis=0))
            write(f"| trial | all | {method} | | {_numbers(np.median(r2, 0))} | {worst} | | | |")
    write("")
    return found


def _scene_pairs(folder: Path, rules: MatchRules) -> Iterator[tuple[ScenePair, PairingRules]]:
    satellites, _ = read_scenes(str(folder / "satellite"))
    aerials, _ = read_scenes(str(folder / "aerial"))
    candidates, _ = match_scenes(satellites, aerials, rules)
    pairing = PairingRules(bands=common_bands(candidates))
    for candidate in candidates:
        yield inspect_pair(candidate, pairing), pairing


def _align(pair: ScenePair, rules: PairingRules, method: Method) -> AlignedPair | str:
    """The pair ready to be cut, or why it was refused."""
    align = replace(rules.align, harmonise=HarmoniseRules(method=method))
    alignment = align_pair(pair, replace(rules, align=align))
    if not alignment.accepted:
        return f"{alignment.reason} ({alignment.value:.2f} against {alignment.limit:.2f})"
    return AlignedPair(
        satellite=pair.satellite,
        aerial=pair.aerial,
        geobox=pair.geobox,
        masks=pair.masks,
        alignment=alignment,
        scale=rules.scale,
    )


def _numbers(values: Sequence[float] | _Pixels, digits: int = 3) -> str:
    return " ".join(f"{v:.{digits}f}" for v in values)


def _agreement(chip: Chip) -> list[float]:
    """R squared of each band."""
    scale, (h, w) = _scale(chip), chip.lr.shape[-2:]
    good = chip.valid.reshape(h, scale, w, scale).all(axis=(1, 3))
    seen = degrade(chip.hr.astype(np.float32), scale)
    bands = zip(chip.lr[:, good].astype(np.float64), seen[:, good], strict=True)
    return [1 - float(np.mean((a - b) ** 2) / a.var()) for a, b in bands]


def _scale(chip: Chip) -> int:
    return int(chip.hr.shape[-1] // chip.lr.shape[-1])


def _seam(chips: Sequence[Chip]) -> float:
    """Steps across borders over the steps just inside of them, on either side."""
    by_cell = {chip.cell: chip for chip in chips}
    across, inside = [], []
    for cell, chip in by_cell.items():
        for south, east in ((0, 1), (1, 0)):
            other = by_cell.get(Cell(cell.row + south, cell.col + east))
            if other is None or not (chip.valid.all() and other.valid.all()):
                continue
            both = [c.hr.astype(np.float64) for c in (chip, other)]
            first, second = (x.swapaxes(1, 2) if south else x for x in both)
            across.append(np.abs(second[..., 0] - first[..., -1]).mean())
            inside.append(np.abs(np.diff(first[..., -2:])).mean())
            inside.append(np.abs(np.diff(second[..., :2])).mean())
    return float(np.mean(across) / np.mean(inside)) if across else float("nan")


def _sameness(write: Write, kept: Sequence[Kept]) -> None:
    """How many chips of each kind are refused."""
    write("| region | ground | chips | similarity: 5 %, median, 95 % | refused |")
    write("|---|---|---|---|---|")
    for region in dict.fromkeys(k.region for k in kept):
        kinds: dict[str, list[tuple[float, float]]] = {}
        for scene in (k for k in kept if k.region == region and len(k.chips) > 3):
            for kind, seen in _unlike(scene).items():
                lr = np.stack([chip.lr for chip in scene.chips])
                good = np.stack([_good(chip) for chip in scene.chips])
                same = compare_chips(lr, seen, good, colours_of(scene.pair).tolerance_dn)
                kinds.setdefault(kind, []).extend(
                    zip(same.similarity.tolist(), same.changed_fraction.tolist(), strict=True)
                )
        for kind, values in kinds.items():
            similarity, changed = np.array(values).T
            refused = (similarity < CUT.min_similarity) | (changed > CUT.max_changed)
            write(
                f"| {region} | {kind} | {len(similarity)} | "
                f"{_numbers(np.quantile(similarity, [0.05, 0.5, 0.95]), 2)} | "
                f"{refused.mean():.1%} |"
            )
    write("")


def _good(chip: Chip) -> npt.NDArray[np.bool_]:
    scale, (h, w) = _scale(chip), chip.lr.shape[-2:]
    return np.asarray(chip.valid.reshape(h, scale, w, scale).all(axis=(1, 3)))


def _unlike(scene: Kept) -> dict[str, _Pixels]:
    """What the satellite would see of the chips' own ground, and of ground put in its place."""
    hr = np.stack([chip.hr for chip in scene.chips])
    own, _ = see_chips(hr, np.ones((len(hr), *hr.shape[2:]), bool), scene.pair.scale)
    other = np.roll(own, 1 + len(own) // 2, axis=0)  # from far away in the scene
    half, quarter = own.copy(), own.copy()
    middle = own.shape[-1] // 2
    half[..., :middle] = other[..., :middle]
    quarter[..., :middle, :middle] = other[..., :middle, :middle]
    # A field in the chip's middle, brighter by the standard deviation of the scene.
    field = own.copy()
    rows = slice(middle // 2, middle + middle // 2)
    spread = own.std(axis=(0, 2, 3))[:, None, None]
    field[..., rows, rows] += spread
    return {
        "the same": own,
        "another place": other,
        "half another place": half,
        "a quarter another place": quarter,
        "a quarter in another colour": field,
    }


def _judging_speed(write: Write, kept: Sequence[Kept]) -> None:
    """Chips that are compared in a second, alone, in blocks of 128."""
    scene = max(kept, key=lambda k: len(k.chips))
    chips = (scene.chips * 128)[:128]
    hr = np.stack([chip.hr for chip in chips]).astype(np.float32)
    lr, valid = (np.stack([getattr(chip, name) for chip in chips]) for name in ("lr", "valid"))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        seen, good = see_chips(hr, valid, scene.pair.scale)
        compare_chips(lr, seen, good, colours_of(scene.pair).tolerance_dn)
        best = min(best, time.perf_counter() - started)
    write(f"Judging alone: {len(chips) / best:.0f} chips/s ({lr.shape[1]} bands).\n")


def _years_apart(write: Write) -> None:
    """Ground of other years, asked for on purpose."""
    write("| satellite | aerial | gap, days | verdict |")
    write("|---|---|---|---|")
    rules = MatchRules(max_gap_days=5000)
    for pair, pairing in _scene_pairs(SHARED / "trial/prairie", rules):
        satellite, aerial = pair.candidate.satellite.id, pair.candidate.aerial.id
        found = align_pair(pair, pairing)
        verdict = "accepted" if found.accepted else f"refused: {found.reason} ({found.value:.2f})"
        if found.colours:
            verdict += f", agreement {found.colours.agreement:.2f}"
        write(f"| {satellite} | {aerial} | {pair.candidate.gap_days:.0f} | {verdict} |")
    write("")


_CLEAR = (
    "satellite/boadella_series/*.tif",
    "satellite/s2_ports_ocean/*.tif",
    "satellite/jaca_citadel_1.tif",
    "satellite/eurosat_*.tif",
    "pairs/satellogic_s2_uae/lr_*.tif",
)
_CLOUDY = (
    "trial/*/satellite/*/B04B03B02.tif",
    "satellite/barbellino/S2A2A_*_BOA_10.tif",
)


def _clouds(write: Write) -> None:
    """The brightness screen against the scenes' own classification."""
    write("| scene | cloud | found | with rim | clear pixels lost |")
    write("|---|---|---|---|---|")
    for pattern in (*_CLOUDY, *_CLEAR):
        for path in sorted(SHARED.glob(pattern)):
            write(_clouds_of(path))
    write("")


def _clouds_of(path: Path) -> str:
    info = inspect_raster(str(path))
    bands = [info.bands[i] for i in (3, 2, 1)] if len(info.bands) > 4 else None
    height, width = info.geobox.shape.yx
    pixels = read_window(str(path), slice(0, height), slice(0, width), bands)
    classes = [
        file
        for file in (path.with_name("SCL.tif"), path.with_name(path.name.replace("BOA", "SCL")))
        if file.is_file() and file != path
    ]
    masks = [Mask(href=str(file), kind="scl") for file in classes]
    told = screen_masks(masks, info.geobox)
    cloud, clear = told.cloudy & pixels.valid, told.clear & told.known & pixels.valid
    found = learn_brightness([(pixels.data, pixels.valid)]).find_clouds(pixels.data, pixels.valid)
    grown = ndimage.binary_dilation(found, iterations=RIM_PX)
    hits = f"{found[cloud].mean():.1%} | {grown[cloud].mean():.1%}" if cloud.any() else " | "
    name = f"{path.parent.name}/{path.name}" if path.stem == "B04B03B02" else path.stem
    return f"| {name} | {cloud.mean():.1%} | {hits} | {grown[clear].mean():.2%} |"
