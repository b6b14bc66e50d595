"""What makes maps of images, once it is trained: DN in, the class of every pixel out.

Travels as ``segmenter.safetensors`` and ``segmenter.json`` (see `models.weights_file`), or as an
ONNX file of anybody's network (`models.segment_onnx`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from models.config_segment import SegmentConfig
from models.distributed import pick_device
from models.errors import DataError, ExportError
from models.segmenter import Segmenter
from models.weights_file import (
    NetworkCard,
    fill_network,
    read_card,
    read_weights,
    write_network,
)

NAME = "segmenter"

Map = npt.NDArray[np.uint8]
"""[H, W]: 1 plus the place of the class of each pixel, 0 for none."""


class Segment(Protocol):
    """Makes maps of images."""

    @property
    def name(self) -> str:
        """Identity for provenance: two of one name make the same map."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What it tells apart, in the order of the numbers in its maps."""

    @property
    def bands(self) -> tuple[str, ...]:
        """In the order of the planes that it takes."""

    @property
    def data_range(self) -> float:
        """The DN that means reflectance one, of the images that it takes."""

    @property
    def halo(self) -> int:
        """How far in pixels a pixel looks around itself."""

    @property
    def stride(self) -> int:
        """Windows of one image must begin at multiples of this, that maps of them agree."""

    def __call__(self, image: npt.NDArray[Any]) -> Map:
        """Finite DN [C, H, W] to the class of every pixel."""


@dataclass(frozen=True, kw_only=True)
class SegmenterCard(NetworkCard):
    """What must be known of a segmenter to use it, and where it comes from.

    Parameters
    ----------
    architecture : SegmentConfig
    classes : tuple of str
    """

    architecture: SegmentConfig
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        if len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            raise ExportError(
                f"a segmenter tells {', '.join(self.classes) or 'nothing'} apart; wanted two "
                "classes or more, each once"
            )

    @property
    def name(self) -> str:
        """Identity for provenance: what it tells apart and the beginning of its digest."""
        return f"{NAME}-{len(self.classes)}@{self.weights_sha256[:12]}"


def save_segmenter(folder: Path, network: Segmenter, card: SegmenterCard) -> SegmenterCard:
    """Write a segmenter into a folder; the card comes back with the digest of the weights."""
    return write_network(folder, NAME, network, card)


def load_segmenter_card(folder: Path) -> SegmenterCard:
    """Read what a segmenter is, without its weights.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    return read_card(folder, NAME, SegmenterCard, architecture=SegmentConfig)


def load_segmenter(path: Path | str, device: str = "auto") -> Segment:
    """Read what makes maps: a folder that a training has written, or an ONNX file.

    Raises
    ------
    ExportError
        When there is none, or a damaged one.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        from models.segment_onnx import OnnxSegmenter

        return OnnxSegmenter(path)
    card = load_segmenter_card(path)
    tensors = read_weights(path, NAME, card.weights_sha256)
    network = Segmenter(bands=len(card.bands), classes=len(card.classes), config=card.architecture)
    fill_network(network, tensors, path, NAME)
    where = pick_device(device)
    return TrainedSegmenter(network.eval().requires_grad_(False).to(where), card, where)


class TrainedSegmenter:
    """A trained network as `Segment`.

    Parameters
    ----------
    network : Segmenter
        In `eval` mode.
    card : SegmenterCard
    device : torch.device
        Where it is.
    """

    def __init__(self, network: Segmenter, card: SegmenterCard, device: torch.device) -> None:
        self._network = network
        self._device = device
        self.card = card
        self.name = card.name
        self.classes = card.classes
        self.bands = card.bands
        self.data_range = card.data_range
        self.halo = network.halo
        self.stride = network.stride

    def __call__(self, image: npt.NDArray[Any]) -> Map:
        """See `Segment`."""
        check_image(image, self.bands)
        return find_classes(self._network, image, data_range=self.data_range, device=self._device)


def check_image(image: npt.NDArray[Any], bands: tuple[str, ...]) -> None:
    """Refuse what is no image of these bands.

    Raises
    ------
    DataError
    """
    if image.ndim != 3 or image.shape[0] != len(bands) or 0 in image.shape:
        raise DataError(
            f"the segmenter takes [{len(bands)}, H, W] ({', '.join(bands)}), got an array of "
            f"shape {image.shape}",
            shape=image.shape,
        )
    if not np.isfinite(image).all():
        raise DataError(
            "the segmenter takes finite DN, and the image has others: fill invalid pixels first"
        )


@torch.inference_mode()
def find_classes(
    network: Segmenter, image: npt.NDArray[Any], *, data_range: float, device: torch.device
) -> Map:
    """DN [C, H, W] to the class of the highest score of every pixel, [H, W], from 1."""
    x = torch.from_numpy(np.divide(image, data_range, dtype=np.float32))[None].to(device)
    found = network(x.contiguous(memory_format=torch.channels_last)).argmax(dim=1)[0] + 1
    return np.asarray(found.to(torch.uint8).cpu().numpy())
