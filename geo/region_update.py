"""An output brought up to date: only blocks whose source shows something else are drawn again.

Beside an output that is to be kept up to date lies ``OUT.tif.blocks.json``. For each block it has
two digests: of the *inputs*, the scenes that reach the block with their order, files, sizes and
times; and of the *pixels* that the block was drawn from, halo, holes and what fills them included.
A block whose inputs are the same is not even read. One that a new scene reaches is read, and drawn
only where its pixels have changed: under the new scene's clouds they have not. What is kept is
copied from the earlier output, so the new one equals one that is drawn from scratch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geo.durable import write_whole
from geo.errors import UpscaleError
from geo.mosaic import MosaicScene, MosaicSource
from geo.region_sink import json_number
from geo.region_source import area_to_text
from geo.tiling import Block, halo_window
from geo.upscale_plan import FileStamp, UpscalePlan

_FORMAT = 1
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An output that blocks may be kept of; it travels to workers with the plan.

    Parameters
    ----------
    output : str
    record : FileStamp
        Of the record beside it.
    fingerprint : str
        Of the plan that it was made by.
    """

    output: str
    record: FileStamp
    fingerprint: str

    def pixels_of(self, block: Block) -> str:
        """Digest of what a block was drawn from."""
        return str(self._blocks[block.index]["pixels"])

    def scenes_of(self, block: Block) -> dict[str, int]:
        """Pixels of each scene in a block; nothing where it was no mosaic."""
        return dict(self._blocks[block.index]["scenes"])

    def untouched(self, plan: UpscalePlan) -> frozenset[int]:
        """Indexes of blocks that the same files reach in the same order."""
        known = self._blocks
        return frozenset(
            index
            for index, inputs in enumerate(block_inputs(plan))
            if known[index]["inputs"] == inputs
        )

    @property
    def _blocks(self) -> Sequence[Mapping[str, Any]]:
        return _blocks_of(self.record)


def record_path(output: Path) -> Path:
    """Where the blocks of an output are told."""
    return output.with_name(f"{output.name}.blocks.json")


def find_earlier(
    plan: UpscalePlan, *, any_blocks: bool = False
) -> tuple[UpscalePlan, Earlier | None, str]:
    """Look for an output of the same name that blocks may be kept of.

    Parameters
    ----------
    plan : UpscalePlan
    any_blocks : bool
        Nobody has asked for this size of blocks: take the earlier output's.

    Returns
    -------
    plan : UpscalePlan
        With blocks that are those of the earlier output.
    earlier : Earlier or None
    why : str
        Why nothing is kept, in a few words; empty where there is no output yet.
    """
    output = Path(plan.output)
    if not output.exists():
        return plan, None, ""
    path = record_path(output)
    record = _read(path)
    if not record:
        return plan, None, f"{path.name}, which tells its blocks, is not beside it"
    if record["output"] != _size_and_time(output):
        return plan, None, "it was changed or copied since it was written"
    if any_blocks and record["block_lr_px"] % plan.sink.block_multiple_lr_px == 0:
        plan = replace(plan, block_lr_px=record["block_lr_px"])
    ours = _drawing(plan)
    others = [name for name, value in ours.items() if record["drawing"].get(name) != value]
    if others:
        return plan, None, f"it was made with another {' and another '.join(others)}"
    earlier = Earlier(
        output=plan.output, record=FileStamp.of(str(path)), fingerprint=record["fingerprint"]
    )
    return plan, earlier, ""


def write_record(plan: UpscalePlan, notes: Sequence[Mapping[str, Any]]) -> None:
    """Tell the blocks of an output that has just got its name.

    Parameters
    ----------
    plan : UpscalePlan
    notes : sequence of mapping
        ``pixels`` and ``scenes`` of each block, see `note_of`.

    Raises
    ------
    UpscaleError
        If the disk does not take it.
    """
    output = Path(plan.output)
    names = _scene_ids(plan)
    blocks = [
        {"inputs": inputs, "pixels": note["pixels"], "scenes": _by_name(names, note["scenes"])}
        for inputs, note in zip(block_inputs(plan), notes, strict=True)
    ]
    record = {
        "format": _FORMAT,
        "fingerprint": plan.fingerprint,
        "output": _size_and_time(output),
        "block_lr_px": plan.block_lr_px,
        "drawing": _drawing(plan),
        "blocks": blocks,
    }
    path = record_path(output)
    try:
        write_whole(path, json.dumps(record, allow_nan=False) + "\n")
    except OSError as error:
        raise UpscaleError(
            f"{path}: cannot be written ({error}); {output.name} itself is whole, run again to "
            "complete it",
            output=str(path),
        ) from error


def note_of(pixels: str, scenes: Sequence[int] | None, *, kept: bool) -> dict[str, Any]:
    """What is to be remembered of a block.

    Parameters
    ----------
    pixels : str
        See `pixels_digest`.
    scenes : sequence of int, or None
        Pixels of none and of each scene of a mosaic.
    kept : bool
        It was copied from an earlier output.
    """
    return {"pixels": pixels, "scenes": scenes, "kept": kept}


def kept_note(plan: UpscalePlan, earlier: Earlier, block: Block) -> dict[str, Any]:
    """The note of a block that is kept without being read."""
    if not isinstance(plan.source, MosaicSource):
        return note_of(earlier.pixels_of(block), None, kept=True)
    there = earlier.scenes_of(block)
    shown = [there.get(name, 0) for name in _scene_ids(plan)]
    height, width = block.shape
    scenes = [height * width - sum(shown), *shown]
    return note_of(earlier.pixels_of(block), scenes, kept=True)


def pixels_digest(lr: npt.NDArray[np.float32] | None, valid: _Mask) -> str:
    """Identify all that a block is drawn from.

    Parameters
    ----------
    lr : array, [C, h + 2 halo, w + 2 halo], or None
        As the upsampler gets it; None where all is hole.
    valid : array of bool, [h, w]
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.packbits(valid).tobytes())
    if lr is not None:
        digest.update(np.ascontiguousarray(lr).data)
    return digest.hexdigest()


def block_inputs(plan: UpscalePlan) -> list[str]:
    """For each block, a digest of the files that reach it and of how they are laid together."""
    source, stamps = plan.source, {stamp.href: stamp for stamp in plan.stamps}

    def files(hrefs: Sequence[str]) -> list[Any]:
        return [asdict(stamps[href]) for href in hrefs]

    if not isinstance(source, MosaicSource):
        return [_digest([source.to_dict(), files(source.hrefs)])] * len(plan.blocks)
    frame = [source.bands, area_to_text(source.area)]
    scenes = [_digest([_gives(s), files(s.source.hrefs)]) for s in source.scenes]
    return [
        _digest([frame, [scenes[number] for number in numbers]])
        for numbers in _reaching(plan, source)
    ]


def _reaching(plan: UpscalePlan, source: MosaicSource) -> Iterator[npt.NDArray[np.intp]]:
    """Numbers of the scenes that reach each block, with all that its pixels may be taken from."""
    spans = np.array(
        [(s.rows.start, s.rows.stop, s.cols.start, s.cols.stop) for s in source.scenes]
    )
    outlines = np.array([scene.outline for scene in source.scenes])
    for block in plan.blocks:
        window = halo_window(
            block, plan.upsampler.halo, plan.height, plan.width, plan.fill_margin_lr_px
        )
        rows, cols = window.rows, window.cols
        near = np.flatnonzero(
            (spans[:, 0] < rows.stop)
            & (spans[:, 1] > rows.start)
            & (spans[:, 2] < cols.stop)
            & (spans[:, 3] > cols.start)
        )
        ground = source.geobox[rows, cols].extent.geom
        yield near[shapely.intersects(outlines[near], ground)]


def _gives(scene: MosaicScene) -> list[Any]:
    """What a scene gives to pixels; not what it is called and how cloudy it is elsewhere."""
    told = scene.to_dict()
    return [told[name] for name in ("source", "outline", "corner_yx", "tone")]


def _digest(told: Any) -> str:
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _drawing(plan: UpscalePlan) -> dict[str, Any]:
    """What all pixels depend on beside those of the source, by what it is called."""
    profile = asdict(plan.profile) | {"nodata": json_number(plan.profile.nodata)}
    place = {name: profile.pop(name) for name in ("height", "width", "crs", "transform")}
    # Scenes on one lattice tell its place with other last digits.
    place["transform"] = [float(f"{value:.12g}") for value in place["transform"]]
    facts = {
        "version of skyscale": plan.tags.get("SKYSCALE_VERSION"),
        "model": asdict(plan.upsampler),
        "grid": place,
        "kind of pixels": profile,
        "size of blocks": plan.block_lr_px,
    }
    return dict(json.loads(json.dumps(facts)))  # with lists for tuples, as it is read again


def _scene_ids(plan: UpscalePlan) -> list[str]:
    return [s.id for s in plan.source.scenes] if isinstance(plan.source, MosaicSource) else []


def _by_name(names: Sequence[str], counts: Sequence[int] | None) -> dict[str, int]:
    shown = zip(names, (counts or [0])[1:], strict=True)
    return {name: count for name, count in shown if count}


def _size_and_time(path: Path) -> list[int]:
    """Of an output; of a Zarr, of the file that is written last."""
    stat = (path / "zarr.json" if path.is_dir() else path).stat()
    return [stat.st_size, stat.st_mtime_ns]


def _read(path: Path) -> dict[str, Any]:
    """A record; empty where there is none, or it is damaged."""
    try:
        record = json.loads(path.read_text())
        return dict(record) if record["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@lru_cache(maxsize=4)
def _blocks_of(stamp: FileStamp) -> Sequence[Mapping[str, Any]]:
    if FileStamp.of(stamp.href) != stamp or not (record := _read(Path(stamp.href))):
        raise UpscaleError(
            f"{stamp.href} has changed while its output was brought up to date; run again",
            href=stamp.href,
        )
    return list(record["blocks"])
