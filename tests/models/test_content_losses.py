from __future__ import annotations

import numpy as np
import pytest
import torch

from models.content_losses import CONTENT_LOSSES, charbonnier, l1


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sr, hr = torch.rand(2, 4, 3, 8, 8, generator=generator)
    valid = (torch.rand(4, 1, 8, 8, generator=generator) > 0.3).float()
    return sr, hr, valid


def test_l1_by_hand(images: tuple[torch.Tensor, ...]) -> None:
    sr, hr, valid = (t.numpy() for t in images)
    expected = np.abs(sr - hr)[np.broadcast_to(valid > 0, sr.shape)].sum() / sr.size
    assert float(l1(*images)) == pytest.approx(expected, rel=1e-5)


def test_charbonnier_is_l1_far_from_zero_and_flat_at_it() -> None:
    one = torch.ones(1, 1, 1, 1)
    assert float(charbonnier(one * 5, one * 2, one)) == pytest.approx(3, abs=2e-3)
    x = torch.zeros(1, 1, 1, 1, requires_grad=True)
    loss = charbonnier(x, torch.zeros(1, 1, 1, 1), one)
    assert loss.item() == 0
    assert float(torch.autograd.grad(loss, x)[0]) == 0


@pytest.mark.parametrize("name", CONTENT_LOSSES)
def test_invalid_pixels_do_not_count(name: str, images: tuple[torch.Tensor, ...]) -> None:
    sr, hr, valid = images
    other = torch.where(valid > 0, sr, sr + 100)
    assert float(CONTENT_LOSSES[name](sr, hr, valid)) == pytest.approx(
        float(CONTENT_LOSSES[name](other, hr, valid))
    )


@pytest.mark.parametrize("name", CONTENT_LOSSES)
def test_the_mean_over_parts_is_the_loss_of_the_whole(
    name: str, images: tuple[torch.Tensor, ...]
) -> None:
    parts = [CONTENT_LOSSES[name](*(t[half] for t in images)) for half in (slice(2), slice(2, 4))]
    assert float(sum(parts) / 2) == pytest.approx(float(CONTENT_LOSSES[name](*images)), rel=1e-5)
