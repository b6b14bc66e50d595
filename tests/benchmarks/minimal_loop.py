"""The updates of training and nothing else: what the trainer's speed is measured against."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from models.config import TrainConfig
from models.data import BatchMaker
from models.discriminators.registry import build_discriminator
from models.distributed import pick_device, pick_dtype
from models.generators.registry import build_generator

_BATCHES = 16


def steps_per_s(
    config: TrainConfig, phase: str, make: BatchMaker, *, steps: int, warmup: int
) -> float:
    """Steps a second of a loop that does nothing but the updates."""
    device = pick_device("auto")
    ready = _ready(make, device)
    bands = ready[0][0].shape[1]
    scale = ready[0][1].shape[-1] // ready[0][0].shape[-1]
    dtype = pick_dtype(config.precision, device)
    generator = build_generator(config.generator, bands=bands, scale=scale)
    judge = build_discriminator(config.discriminator, bands=bands, scale=scale)
    for network in (generator, judge):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = [p.detach().clone() for p in generator.parameters()]
    drawing = torch.optim.Adam(generator.parameters(), lr=1e-4, fused=True)
    judging = torch.optim.Adam(judge.parameters(), lr=1e-4, fused=True)
    softplus = nn.functional.softplus
    game = phase == "adversarial"

    def mixed() -> Any:
        if dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=dtype)

    def judged(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = judge(images)[0]
        return logits

    def update(optimiser: torch.optim.Optimizer, network: nn.Module, loss: torch.Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    started, batch = 0.0, 0
    for step in range(steps + warmup):
        if step == warmup:
            started = time.perf_counter()
        for _ in range(config.discriminator_steps if game else 0):
            lr, hr = ready[batch % len(ready)]
            batch += 1
            with mixed():
                with torch.no_grad():
                    fake = generator(lr)
                real_logits, fake_logits = judged(torch.cat([hr, fake])).chunk(2)
            update(judging, judge, softplus(-real_logits).mean() + softplus(fake_logits).mean())
        lr, hr = ready[batch % len(ready)]
        batch += 1
        judge.requires_grad_(False)
        with mixed():
            sr = generator(lr)
            adversarial = softplus(-judged(sr)).mean() if game else 0.0
        update(drawing, generator, (sr - hr).abs().mean() + 0.02 * adversarial)
        judge.requires_grad_(True)
        with torch.no_grad():
            for mean, now in zip(averaged, generator.parameters(), strict=True):
                mean.lerp_(now, 0.005)
    return steps / (time.perf_counter() - started)


def _ready(make: BatchMaker, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = [make(number) for number in range(_BATCHES)]
    last = torch.channels_last
    return [
        tuple(torch.from_numpy(a).to(device, memory_format=last) for a in (b.lr, b.hr))  # type: ignore[misc]
        for b in batches
    ]
