"""What a run exports: a point between its most faithful state and its sharpest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import write_whole
from models.quality import faithfulness, is_consistent, is_correct, psnr_of

Weights = dict[str, Tensor]
Scores = Mapping[str, float]

# Shares that are tried in any case, for the curve; then the best one is searched between them.
_GRID = (0.25, 0.5, 0.75)
_HALVINGS = 3


@dataclass(frozen=True, kw_only=True)
class State:
    """A validated state.

    Parameters
    ----------
    step : int
    scores : mapping
        On the validation pairs.
    weights : dict of str to Tensor
    """

    step: int
    scores: Scores
    weights: Weights


class Selection:
    """Keeps two states of a run on disk: where the content phase was best, where the game is now.

    Parameters
    ----------
    folder : Path
        Gets ``faithful.pt`` and ``sharp.pt``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.faithful: State | None = None
        self.sharp: State | None = None

    def offer(self, step: int, scores: Scores, network: nn.Module, *, playing: bool) -> None:
        """Take a validated state.

        Parameters
        ----------
        step : int
        scores : mapping
        network : Module
        playing : bool
            Of the adversarial phase. There the last state is kept, for the game goes on getting
            better at what it draws, unless it is less consistent with its input than bicubic
            upsampling; of the content phase the most faithful one; see `faithfulness`.
        """
        weights = {name: t.detach().cpu().clone() for name, t in network.state_dict().items()}
        state = State(step=step, scores=dict(scores), weights=weights)
        if playing:
            if self.sharp is None or is_consistent(scores):
                self.sharp = state
                self._write("sharp", state)
        elif self.faithful is None or not (
            faithfulness(scores) <= faithfulness(self.faithful.scores)
        ):
            self.faithful = state
            self._write("faithful", state)

    def load(self) -> None:
        """Go on from what is on disk, if anything is."""
        self.faithful, self.sharp = self._read("faithful"), self._read("sharp")

    def blend(self, share: float) -> Weights:
        """Weights so far on the way from the faithful state to the sharp one.

        Wang et al., "ESRGAN: Enhanced super-resolution generative adversarial networks", 2018,
        section 3.4: networks of which one was made from the other can be interpolated, and what
        they draw changes smoothly with the share.
        """
        ends = self.faithful, self.sharp
        if ends[0] is None or ends[1] is None:
            only = ends[0] or ends[1]
            if only is None:
                raise ValueError("no state has been validated")
            return only.weights
        return {
            name: torch.lerp(start, end, share) if start.is_floating_point() else end
            for (name, start), end in zip(
                ends[0].weights.items(), ends[1].weights.values(), strict=True
            )
        }

    def _write(self, name: str, state: State) -> None:
        content = {"step": state.step, "scores": dict(state.scores), "weights": state.weights}
        write_whole(self._folder / f"{name}.pt", content)

    def _read(self, name: str) -> State | None:
        path = self._folder / f"{name}.pt"
        if not path.is_file():
            return None
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return State(**content)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is exported.

    Parameters
    ----------
    share : float
        Of the way from the faithful state to the sharp one.
    step : int
        Last update that it has seen.
    scores : mapping
    curve : tuple of (float, mapping)
        All shares that were scored, from faithful to sharp.
    """

    share: float
    step: int
    scores: Scores
    curve: tuple[tuple[float, Scores], ...] = ()


def choose(
    selection: Selection, psnr_cost_db: float, score: Callable[[Weights], Scores]
) -> Choice | None:
    """Choose the sharpest point that costs no more PSNR than allowed.

    Parameters
    ----------
    selection : Selection
    psnr_cost_db : float
        Most PSNR, over all pixels, to be given for detail against the faithful state.
    score : callable
        Scores of weights on the validation pairs.

    Returns
    -------
    Choice or None
        None where nothing was validated. Never one with more power at fine scales than reality,
        less consistent with its input than bicubic upsampling, or of which less is right than of
        bicubic, if there is another.
    """
    faithful, sharp = selection.faithful, selection.sharp
    if faithful is None or sharp is None or not math.isfinite(psnr_of(faithful.scores)):
        only = sharp or faithful
        if only is None:
            return None
        return Choice(share=float(sharp is not None), step=only.step, scores=only.scores)
    least = psnr_of(faithful.scores) - psnr_cost_db
    known: dict[float, Scores] = {0.0: faithful.scores, 1.0: sharp.scores}

    def allowed(share: float) -> bool:
        if share not in known:
            known[share] = score(selection.blend(share))
        scores = known[share]
        in_bounds = is_consistent(scores) and is_correct(scores)
        return in_bounds and scores.get("hf_power_ratio", 0.0) <= 1 and psnr_of(scores) >= least

    low, high = 0.0, 1.0
    for share in _GRID:
        if not allowed(share):
            high = min(high, share)
        elif high == 1:
            low = share
    if allowed(1.0) and high == 1:
        low = 1.0
    else:
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if allowed(middle) else (low, middle)
    step = sharp.step if low else faithful.step
    return Choice(share=low, step=step, scores=known[low], curve=tuple(sorted(known.items())))
