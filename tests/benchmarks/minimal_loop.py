"""The updates of training and nothing else: what the trainer's speed is measured against."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.batches import BatchMaker
from models.config import TrainConfig
from models.content_losses import lattice
from models.discriminators.registry import build_discriminator
from models.distributed import pick_device, pick_dtype
from models.generators.registry import build_generator
from models.objectives import OBJECTIVES
from models.penalties import half_squared_gradients
from models.tensors import Tensors

_BATCHES = 16

Images = tuple[Tensor, Tensor, Tensor, tuple[int, int]]  # LR, HR, validity, roll


def steps_per_s(
    config: TrainConfig, phase: str, make: BatchMaker, *, steps: int, warmup: int
) -> float:
    """Steps a second of a loop that does nothing but the updates of the default recipe."""
    device = pick_device("auto")
    ready = _ready(make, device)
    bands = ready[0][0].shape[1]
    scale = ready[0][1].shape[-1] // ready[0][0].shape[-1]
    dtype = pick_dtype(config.precision, device)
    generator = build_generator(config.generator, bands=bands, scale=scale)
    judge = build_discriminator(config.discriminator, bands=bands)
    for network in (generator, judge):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = [p.detach().clone() for p in generator.parameters()]
    drawing = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)
    judging = torch.optim.Adam(judge.parameters(), lr=1e-4, betas=(0.5, 0.99), fused=True)
    objective = OBJECTIVES[config.objective]
    batches = (ready[number % len(ready)] for number in range(1_000_000))

    def mixed() -> Any:
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=dtype)

    def update(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        optimiser.step()

    def judge_step(penalised: bool) -> None:
        lr, hr, valid, shift = next(batches)
        with mixed(), torch.no_grad():
            fake = generator(lr)
        images = _seen(torch.cat([hr, fake]), torch.cat([valid, valid]), shift)
        images.requires_grad_(penalised)
        with mixed():
            logits = judge(images)[0]
        loss = objective.discriminator(*logits.chunk(2))
        if penalised:
            r1, r2 = half_squared_gradients([logits], images).chunk(2)
            loss = loss + config.penalty_every * (config.r1 * r1.mean() + config.r2 * r2.mean())
        update(judging, judge, loss)

    def drawing_step(game: bool) -> None:
        lr, hr, valid, shift = next(batches)
        with mixed():
            sr = generator(lr)
        loss = ((sr - hr) * valid).abs().mean()
        if game:
            judge.requires_grad_(False)
            with mixed():
                fake = judge(_seen(sr, valid, shift))[0]
                with torch.no_grad():
                    real = judge(_seen(hr, valid, shift))[0]
            loss = loss + config.adversarial_weight * objective.generator(fake, real)
            loss = loss + config.losses.lattice * lattice(sr, hr, valid, lr)
        update(drawing, generator, loss)
        judge.requires_grad_(True)
        with torch.no_grad():
            for mean, now in zip(averaged, generator.parameters(), strict=True):
                mean.lerp_(now, 0.005)

    game, updates, started = phase == "adversarial", 0, 0.0
    for step in range(steps + warmup):
        if step == warmup:
            started = time.perf_counter()
        for _ in range(config.discriminator_steps if game else 0):
            judge_step(config.r1 + config.r2 > 0 and updates % config.penalty_every == 0)
            updates += 1
        drawing_step(game)
    return steps / (time.perf_counter() - started)


def _seen(images: Tensor, valid: Tensor, shift: tuple[int, int]) -> Tensor:
    return torch.roll(images * valid, shift, dims=(2, 3))


def _ready(make: BatchMaker, device: torch.device) -> list[Images]:
    batches = (Tensors.of(make(number), device) for number in range(_BATCHES))
    return [(b.lr, b.hr, b.valid, b.shift) for b in batches]
