"""Where chips are drawn from: standard normal numbers, and the way from some of them to others."""

from __future__ import annotations

import torch
from torch import Tensor

from models.distributed import Ranks


def batch_latents(count: int, latent: int, ranks: Ranks) -> Tensor:
    """Noise [count, latent] for this rank's part of a mini-batch.

    Each rank draws the noise of all and takes its own part: together they draw what one would, and
    stay in step. On the CPU, of what a checkpoint keeps, wherever the networks are.
    """
    drawn = torch.randn(count * ranks.world, latent)
    return drawn[ranks.rank * count :][:count].to(ranks.device)


def fixed_latents(count: int, latent: int, seed: int) -> Tensor:
    """Noise [count, latent] that is the same every time, and leaves that of training alone."""
    return torch.randn(count, latent, generator=torch.Generator().manual_seed(seed))


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Point so far along the great circle between two, [latent].

    White, "Sampling generative networks", 2016. On the straight line between two normal vectors
    the middle is nearer to zero than nearly all that is ever drawn.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle.sin()) < 1e-6:  # along one line there is no circle
        return torch.lerp(start, end, share)
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def walk_latents(latent: int, *, legs: int, frames: int, seed: int) -> Tensor:
    """A walk from one draw to the next, [legs * frames + 1, latent], in equal steps of each leg."""
    stops = fixed_latents(legs + 1, latent, seed)
    steps = [
        slerp(stops[leg], stops[leg + 1], frame / frames)
        for leg in range(legs)
        for frame in range(frames)
    ]
    return torch.stack([*steps, stops[-1]])
