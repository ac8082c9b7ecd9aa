"""What the paper's training has beside the loss: the schedule, clipped gradients, noise, and the numbers of the released runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from toy_network import small

from pcmnet.config import CaptionerConfig, read_config
from pcmnet.train.captioner import clip_gradients, learning_rate, new_optimizer

CONFIGS = Path(__file__).parents[2] / "configs"


def test_adam_follows_noams_schedule() -> None:
    settings = read_config(CONFIGS / "coco-b32.toml").captioner
    rate = [learning_rate(settings, 512, step, 10**6) for step in (0, 4_999, 9_999, 39_999)]  # from 0; the paper's, from 1
    peak = 512**-0.5 / 100
    assert rate == pytest.approx([peak / 10_000, peak / 2, peak, peak / 2])
    (group,) = new_optimizer(torch.nn.Linear(2, 2), settings).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)


def test_warm_up_factor_betas_and_weight_decay_are_settings() -> None:
    settings = CaptionerConfig(optimizer="adam", warmup_steps=100, noam_factor=2.0, betas=[0.8, 0.9], weight_decay=0.3)
    peak = 512**-0.5 / 10
    assert [learning_rate(settings, 512, step, 10**6) for step in (49, 99, 399)] == pytest.approx([peak, 2 * peak, peak])
    for optimizer in ("adam", "adamw"):
        settings.optimizer = optimizer
        (group,) = new_optimizer(torch.nn.Linear(2, 2), settings).param_groups
        assert (group["betas"], group["weight_decay"]) == ((0.8, 0.9), 0.3)


def test_gradients_are_bounded_one_by_one() -> None:
    linear = torch.nn.Linear(3, 1, bias=False)
    linear.weight.grad = torch.tensor([[-7.0, 0.05, 0.3]])
    clip_gradients(linear, CaptionerConfig(clip_value=0.1))
    assert linear.weight.grad.tolist() == [pytest.approx([-0.1, 0.05, 0.1])]


def test_noise_has_the_papers_variance() -> None:
    model = small(embedding=512)
    torch.manual_seed(3)
    unit = F.normalize(torch.randn(400, 512), dim=-1)
    noisy = model.visual_embed._noisy(unit)
    torch.testing.assert_close(noisy.norm(dim=-1), torch.ones(400))
    # The noise is next to orthogonal to the vector: cos = 1 / √(1 + 512 · 0.016).
    assert (unit * noisy).sum(-1).mean().item() == pytest.approx((1 + 512 * 0.016) ** -0.5, abs=0.01)


@pytest.mark.parametrize("name", ["coco-b32", "coco-l14", "flickr30k-b32", "flickr30k-l14"])
def test_released_runs_have_the_papers_numbers(name: str) -> None:
    config = read_config(CONFIGS / f"{name}.toml")
    m = config.model
    assert config.seed == 1234
    assert (m.width, m.heads, m.ffn, m.encoder_layers, m.decoder_layers, m.max_words) == (512, 8, 2048, 3, 3, 20)
    assert (m.k, m.k2, m.mode, m.threshold, m.temperature, m.noise_variance) == (5, 5, "top", 0.0, 0.01, 0.016)
    assert (m.attention_dropout, m.embedding_dropout, m.token_dropout, m.output_dropout) == (0.3, 0.5, 0.1, 0.5)
