from __future__ import annotations

import torch
from torch import nn

from models.ema import EMA


def test_the_mean_is_that_of_the_formula_and_the_network_is_left_alone() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    ema = EMA(network, decay=0.9)
    expected = 0.0
    for update in range(1, 150):
        network.weight.data.fill_(float(update))
        ema.update(network)
        decay = min(0.9, update / (update + 10))
        expected = decay * expected + (1 - decay) * update
    torch.testing.assert_close(ema.network.weight.item(), expected, rtol=1e-5, atol=0)
    assert network.weight.item() == 149
    assert not ema.network.weight.requires_grad


def test_state_goes_on_where_it_was() -> None:
    network = nn.Linear(2, 2)
    first, second = EMA(network, decay=0.99), EMA(nn.Linear(2, 2), decay=0.99)
    first.update(network)
    second.load_state_dict(first.state_dict())
    network.weight.data.add_(1)
    first.update(network)
    second.update(network)
    assert torch.equal(first.network.weight, second.network.weight)
