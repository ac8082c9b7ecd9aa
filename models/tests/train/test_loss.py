"""The loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pcmnet.train.loss import caption_loss, clip_weights, smoothed_divergence

# Two sentences over three ids: two tokens, then one and a padded place. All predictions are uniform but one.
LOGITS = torch.tensor([[[0.0, 0.0, 0.0], [0.0, math.log(2), 0.0]], [[0.0, 0.0, 0.0], [9.0, 9.0, 1.0]]])
TARGETS = torch.tensor([[2, 1], [0, -1]])
PLAIN = [math.log(3), math.log(2), math.log(3)]  # - log p of each real token
CHANCE = [1 / 3, 1 / 2, 1 / 3]


def plain(**options: object) -> Tensor:
    return caption_loss(LOGITS, TARGETS, smoothing=0.0, **options)  # type: ignore[arg-type]


def test_without_focal_it_is_the_mean_over_real_tokens() -> None:
    assert plain().item() == pytest.approx(sum(PLAIN) / 3)


def test_smoothing_is_a_divergence_that_vanishes_on_the_smoothed_target() -> None:
    target = torch.tensor([1])
    exact = torch.tensor([[0.05, 0.9, 0.05]]).log()
    assert smoothed_divergence(exact, target, 0.1).item() == pytest.approx(0, abs=1e-6)
    uniform = torch.full((1, 3), 1 / 3).log()
    by_hand = 0.9 * math.log(0.9 * 3) + 2 * 0.05 * math.log(0.05 * 3)
    assert smoothed_divergence(uniform, target, 0.1).item() == pytest.approx(by_hand, rel=1e-5)


def test_weights_scale_a_sentence_but_not_the_number_of_tokens() -> None:
    weighted = plain(weights=torch.tensor([0.5, 1.0]))
    assert weighted.item() == pytest.approx((0.5 * PLAIN[0] + 0.5 * PLAIN[1] + PLAIN[2]) / 3)


def test_clip_weights_are_clamped() -> None:
    assert clip_weights(torch.tensor([-0.2, 0.2, 0.9]), 2.5).tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_focal_modes() -> None:
    f = [(1 - p) ** 2 for p in CHANCE]
    products = [a * b for a, b in zip(f, PLAIN, strict=True)]
    assert plain(focal="batch").item() == pytest.approx(sum(f) / 3 * sum(PLAIN) / 3)
    assert plain(focal="word").item() == pytest.approx(sum(products) / 3)
    sent = ((f[0] + f[1]) * (PLAIN[0] + PLAIN[1]) + products[2]) / (2**2 + 1**2)
    assert plain(focal="sent").item() == pytest.approx(sent)
    assert plain(focal="word", gamma=0.0).item() == pytest.approx(sum(PLAIN) / 3)
    with pytest.raises(ValueError, match="unknown focal mode"):
        plain(focal="image")


def test_weights_and_smoothing_are_in_the_loss_of_a_token_but_not_in_its_focal_factor() -> None:
    f = [(1 - p) ** 2 for p in CHANCE]
    w = [0.5, 0.5, 0.8]
    # Of uniform predictions, and of 1/2 on the target and 1/4 on the others.
    uniform = 0.9 * math.log(0.9 * 3) + 2 * 0.05 * math.log(0.05 * 3)
    sharp = 0.9 * math.log(0.9 * 2) + 2 * 0.05 * math.log(0.05 * 4)
    l = [a * b for a, b in zip(w, (uniform, sharp, uniform), strict=True)]  # noqa: E741
    by_hand = {
        "batch": sum(f) / 3 * sum(l) / 3,
        "word": (f[0] * l[0] + f[1] * l[1] + f[2] * l[2]) / 3,
        "sent": ((f[0] + f[1]) * (l[0] + l[1]) + f[2] * l[2]) / (2**2 + 1**2),
        "none": sum(l) / 3,
    }
    for focal, expected in by_hand.items():
        found = caption_loss(LOGITS, TARGETS, torch.tensor([0.5, 0.8]), smoothing=0.1, focal=focal)
        assert found.item() == pytest.approx(expected, rel=1e-5), focal


def test_every_negative_target_is_padding() -> None:
    assert plain().item() == caption_loss(LOGITS, torch.tensor([[2, 1], [0, -100]]), smoothing=0.0).item()


def test_tokens_are_counted_exactly_whatever_the_logits_are_in() -> None:
    logits = torch.zeros(1, 257, 3, dtype=torch.bfloat16)
    assert caption_loss(logits, torch.ones(1, 257, dtype=torch.int64), smoothing=0.0).item() == pytest.approx(math.log(3))


def test_the_focal_factor_carries_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    caption_loss(logits, TARGETS, smoothing=0.0, focal="word").backward()
    # d/dz of (1 - p)² · (- log p) at the target: with p = 1/3, (2 (1 - p) p log p - (1 - p)²) (1 - p) / n.
    p = 1 / 3
    expected = (2 * (1 - p) * p * math.log(p) - (1 - p) ** 2) * (1 - p) / 3
    assert logits.grad is not None
    assert logits.grad[0, 0, 2].item() == pytest.approx(expected, rel=1e-4)
