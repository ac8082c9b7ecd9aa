"""An untrained network of the smallest sizes, and inputs that fit it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pcmnet.config import ModelConfig
from pcmnet.model.pcm_net import PCMNet


def small(**changes: object) -> PCMNet:
    torch.manual_seed(0)
    sizes = {
        "grid_width": 12,
        "embedding": 8,
        "patches": 3,
        "vocabulary": 11,
        "width": 16,
        "heads": 2,
        "ffn": 32,
        "k": 2,
        "k2": 2,
    }
    return PCMNet(ModelConfig(**{**sizes, **changes}))  # type: ignore[arg-type]


def inputs(batch: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    unit = F.normalize(torch.randn(batch, 8), dim=-1)
    return torch.randn(batch, 3, 12), torch.randn(batch, 3, 8), unit, F.normalize(torch.randn(7, 8), dim=-1)
