"""Dropout drops what it should and keeps the mean."""

from __future__ import annotations

import torch

from pcmnet.model.dropout import dropout


def test_a_share_is_dropped_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 501, requires_grad=True)
    y = dropout(x, 0.3, training=True)
    assert abs((y == 0).float().mean().item() - 0.3) < 0.005
    assert abs(y.mean().item() - 1) < 0.01
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_masks_follow_the_seed_and_evaluation_changes_nothing() -> None:
    x = torch.randn(7, 9)
    torch.manual_seed(1)
    first = dropout(x, 0.5, training=True)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(x, 0.5, training=True))
    assert not torch.equal(first, dropout(x, 0.5, training=True))
    assert dropout(x, 0.5, training=False) is x
