"""What all pairs of a store share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from geo.splits import SplitRule

_CHUNK_LR = 64  # crops of larger chips are read without decoding the rest


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """What all pairs of a store share.

    Parameters
    ----------
    bands : tuple of str
    scale : int
        LR pixel over HR pixel: 2, 4 or 8.
    lr_size : int
        LR pixels on a side of a chip.
    dtype : str
        Of both images: integers or reals, for example ``uint16``.
    data_range : float
        The DN that means 1.0.
    split : SplitRule
    chunk_lr : int
        LR pixels on a side of what is read at once. 0 chooses: 64, or the whole chip where that
        does not divide it.
    """

    bands: tuple[str, ...]
    scale: int = 4
    lr_size: int = 32
    dtype: str = "uint16"
    data_range: float = 10000.0
    split: SplitRule = field(default_factory=SplitRule)
    chunk_lr: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        if not self.bands:
            raise ValueError("bands is empty; wanted at least one band name")
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        if self.scale not in (2, 4, 8):
            raise ValueError(f"scale is {self.scale}; wanted 2, 4 or 8")
        if self.lr_size < 8:
            raise ValueError(f"lr_size is {self.lr_size}; wanted 8 or more")
        if not self.chunk_lr:
            whole = self.lr_size % _CHUNK_LR != 0
            object.__setattr__(self, "chunk_lr", self.lr_size if whole else _CHUNK_LR)
        if self.lr_size % self.chunk_lr:
            raise ValueError(f"chunk_lr is {self.chunk_lr}; wanted a divisor of {self.lr_size}")
        if self.data_range <= 0:
            raise ValueError(f"data_range is {self.data_range:g}; wanted more than 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"bands": list(self.bands)}

    def attributes(self) -> dict[str, Any]:
        """What somebody who finds a part without its store has to know."""
        wanted = ("bands", "scale", "data_range")
        return {name: value for name, value in self.to_dict().items() if name in wanted}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StoreConfig:
        """Read what `to_dict` wrote."""
        return cls(**{**values, "split": SplitRule(**values["split"])})


def _dtype_name(text: str) -> str:
    try:
        dtype = np.dtype(text)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise ValueError(f"dtype is {text!r}; wanted integers or reals, for example uint16")
    return dtype.name


def default_data_range(dtype: str) -> float:
    """The DN that usually means 1.0: full scale of bytes, reflectance x 10000 of wider integers."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return 1.0
    return 255.0 if kind.itemsize == 1 else 10000.0
