"""A generator as a plain function of arrays: DN in, DN out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.config import PRECISIONS
from models.distributed import pick_device, pick_dtype
from models.engine import Engine
from models.errors import ConfigError, DataError
from models.export import GeneratorCard, load_card, load_generator
from models.generators.base import Generator


class Predictor:
    """Upsamples DN arrays with a generator.

    Cheap to make and to send to another process: it travels as the path of its folder, and each
    process reads the weights when it first needs them.

    Parameters
    ----------
    folder : Path or str
        As written by `save_generator`.
    device : str
        ``auto`` or a torch device.
    precision : str
        ``float32``, or ``bfloat16``, which may be twice as fast and rounds the added detail (not
        the bicubic base) to 8 bits, or ``auto``.
    threads : int or None
        Of torch within one call; None leaves torch's setting. One is right where calls run side
        by side.
    draw : int or None
        Instead of the generator itself, the thinned network of that number: the planes that its
        dropout leaves out are chosen once, by number and weights, for all that is ever upsampled.

    Raises
    ------
    ExportError
        When there is no generator in the folder.
    ConfigError
        For a precision that is not known, or a draw of a generator without dropout.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        draw: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
            )
        self._options: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "threads": threads,
            "draw": draw,
        }
        self.folder = Path(folder)
        self.card: GeneratorCard = load_card(self.folder)
        if draw is not None:
            _check_draw(self.card, draw)
        self._draw = draw
        self._threads = threads
        self._device = pick_device(device)
        self._dtype = pick_dtype(precision, self._device)
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        draw: int | None = None,
    ) -> Predictor:
        """Make a predictor and read its weights now, so that damage shows at once."""
        predictor = cls(folder, device=device, precision=precision, threads=threads, draw=draw)
        predictor._ready()
        return predictor

    def draws(self, count: int) -> tuple[Predictor, ...]:
        """The first `count` thinned networks of this generator, each a predictor.

        Raises
        ------
        ConfigError
            For fewer than two, which have no spread, or a generator without dropout.
        """
        if count < 2:
            raise ConfigError(f"draws is {count}; wanted 2 or more, for one has no spread")
        return tuple(
            Predictor(self.folder, **{**self._options, "draw": number}) for number in range(count)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (str(self.folder), self._options)

    @property
    def scale(self) -> int:
        """HR pixels along the side of an LR pixel."""
        return self.card.scale

    @property
    def halo(self) -> int:
        """LR pixels around a block that its output depends on."""
        return self.card.halo

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Bands in the order of the planes."""
        return self.card.bands

    @property
    def extras(self) -> tuple[str, ...]:
        """Planes beside the bands: none."""
        return ()

    @property
    def data_range(self) -> float:
        """The DN that means reflectance one."""
        return self.card.data_range

    @property
    def name(self) -> str:
        """Identity for provenance: two predictors of one name draw the same."""
        draw = "" if self._draw is None else f"+draw{self._draw}"
        return self.card.name + draw + ("+bfloat16" if self._dtype == torch.bfloat16 else "")

    def __call__(self, lr: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Upsample DN.

        Parameters
        ----------
        lr : array, [C, h, w]
            Finite DN; fill invalid pixels first.

        Returns
        -------
        array, float32 [C, s*h, s*w]
            DN, neither rounded nor clipped.

        Raises
        ------
        DataError
            For other planes than the generator's bands.
        """
        self._check(lr)
        sr: npt.NDArray[np.float32] = self.predict_batch(lr[None])[0]
        return sr

    def predict_batch(self, lr: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Upsample images of one size, DN [N, C, h, w] to [N, C, s*h, s*w], each as if alone.

        Raises
        ------
        DataError
            For other planes than the generator's bands.
        """
        self._check(lr, images=True)
        engine = self._ready()
        n, bands, height, width = lr.shape
        sr = np.empty((n, bands, self.scale * height, self.scale * width), np.float32)
        together = engine.images_together(height, width)
        for first in range(0, n, together):
            part = slice(first, first + together)
            engine.upsample(lr[part], sr[part])
        return sr

    def strips(
        self, lr: npt.NDArray[Any], margin: int = 0
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Upsample DN strip by strip: in little memory, and the fastest way for a large block.

        Parameters
        ----------
        lr : array, [C, h, w]
            Finite DN.
        margin : int
            LR pixels on each side that are there only to be looked at: `halo` for a block of a
            region.

        Yields
        ------
        rows : slice
            HR rows, counted from below the margin; one strip follows the other.
        strip : array, float32 [C, rows, s*(w - 2*margin)]
            DN, neither rounded nor clipped. The next strip takes its memory.

        Raises
        ------
        DataError
            For other planes than the generator's bands, or a margin that leaves nothing.
        """
        self._check(lr)
        if not 0 <= 2 * margin < min(lr.shape[1:]):
            raise DataError(
                f"a margin of {margin} px leaves nothing of an image of shape {lr.shape}",
                shape=lr.shape,
            )
        strips = self._ready().strips(lr[None], margin)
        return ((rows, strip[0]) for rows, strip in strips)

    def _check(self, lr: npt.NDArray[Any], *, images: bool = False) -> None:
        bands = len(self.card.bands)
        axes = 4 if images else 3
        if lr.ndim != axes or lr.shape[-3] != bands or 0 in lr.shape:
            raise DataError(
                f"the generator upsamples [{'N, ' * images}{bands}, h, w] "
                f"({', '.join(self.card.bands)}), got an array of shape {lr.shape}",
                shape=lr.shape,
            )

    def _ready(self) -> Engine:
        """The engine, made at the first call, with this thread of execution prepared for it."""
        # OpenMP keeps this setting for each thread by itself.
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with self._lock:
            if self._engine is None:
                generator, self.card = load_generator(self.folder)
                if self._draw is not None:
                    generator = generator.thinned(_random(self.card, self._draw))
                self._engine = Engine(
                    generator, data_range=self.data_range, device=self._device, dtype=self._dtype
                )
            return self._engine


def upsample(
    generator: Generator,
    lr: npt.NDArray[Any],
    *,
    data_range: float,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> npt.NDArray[np.float32]:
    """DN [C, h, w] through a generator to DN [C, s*h, s*w], float32."""
    reflectance = np.divide(lr, data_range, dtype=np.float32)
    x = torch.from_numpy(reflectance)[None].to(device, memory_format=torch.channels_last)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32),
    ):
        sr = generator(x)[0] * data_range  # [C, s*h, s*w]
    return np.ascontiguousarray(sr.float().cpu().numpy())


def _check_draw(card: GeneratorCard, draw: int) -> None:
    if draw < 0:
        raise ConfigError(f"draw is {draw}; wanted 0 or more", draw=draw)
    if not card.architecture.dropout:
        raise ConfigError(
            f"{card.name} has no dropout, so all its draws would be alike: leave draws out, or "
            'train a generator of name "unet" with dropout above 0',
            draw=draw,
        )


def _random(card: GeneratorCard, draw: int) -> np.random.Generator:
    """Of the weights, too, lest number 3 leaves out the same planes of every generator."""
    digest = hashlib.sha256(f"{card.weights_sha256} draw {draw}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def _rebuild(folder: str, options: dict[str, Any]) -> Predictor:
    return Predictor(folder, **options)
