"""A small random captioner, quick to decode and to export, whose sentences end, repeat words and differ by image."""

from __future__ import annotations

import torch
from torch import nn

from pcmnet.config import ModelConfig
from pcmnet.model.pcm_net import Memory, PCMNet

# These matrices are too small to share out; idle threads that spin would only slow each other.
torch.set_num_threads(1)


def random_captioner(vocabulary: int, seed: int = 4, grid_width: int = 24, patches: int = 9) -> PCMNet:
    torch.manual_seed(seed)
    sizes = {"grid_width": grid_width, "embedding": 16, "patches": patches, "width": 32, "heads": 4, "ffn": 48}
    model = PCMNet(ModelConfig(vocabulary=vocabulary, encoder_layers=2, decoder_layers=2, **sizes)).eval()
    with torch.no_grad():
        model.predictor.logits.weight *= 5
        model.predictor.logits.bias[0] += 2
        for layer in model.decoder.g_layers:
            layer.x_att.self["value"].weight *= 4
    return model


def random_inputs(model: PCMNet, images: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `PCMNet.encode` takes: grid, local, image embedding, and 20 concepts."""
    torch.manual_seed(seed)
    c = model.config
    grid, local = torch.randn(images, c.patches, c.grid_width), torch.randn(images, c.patches, c.embedding)
    unit = nn.functional.normalize(torch.randn(images + 20, c.embedding), dim=-1)
    return grid, local, unit[:images], unit[images:]


def random_memory(model: PCMNet, images: int, seed: int = 1) -> Memory:
    with torch.no_grad():
        return model.encode(*random_inputs(model, images, seed))
