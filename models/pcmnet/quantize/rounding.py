"""Rounds the weights of convolutions to integers so that their outputs, not their weights, change least.

The error of each rounded weight is compensated by the weights that are not rounded yet, because inputs are correlated (GPTQ:
Frantar et al., arXiv 2210.17323); the bias takes the mean of the remaining error. On the embedded tower the error of the grid
is a quarter of that of rounding to the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from .observe import Moments, Observation, initializers

FULL = 127
"""Depthwise kernels accumulate in 32 bits on all processors, so their weights may use all of int8."""
_DAMPING = 0.01
"""Share of the mean variance that is added to each variance; without it, inputs that hardly vary get huge corrections."""


@dataclass(frozen=True)
class Rounded:
    values: NDArray[np.int8]
    """[out, in / groups, h, w]"""
    scale: NDArray[np.float32]
    """[out]"""
    shift: NDArray[np.float32]
    """Correction that is added to the bias  # [out]"""


def round_convolution(weight: NDArray[np.float32], moments: Moments, limit: int) -> Rounded:
    """`weight` [out, in / groups, h, w] → integers from -limit to limit, with a scale for each output channel."""
    groups, k = moments.sums.shape
    w = torch.from_numpy(weight.astype(np.float64)).view(groups, -1, k)  # [G, out / G, k]
    covariance = moments.covariance
    damping = _DAMPING * covariance.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
    covariance = covariance + damping[:, None, None] * torch.eye(k, dtype=torch.float64)
    # Upper Cholesky factor of the inverse: row i has how the inputs after i compensate an error of input i.
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    factor = torch.linalg.cholesky(inverse, upper=True)  # [G, k, k]
    largest = w.abs().amax(2, keepdim=True)
    scale = torch.where(largest > 0, largest / limit, 1.0).float().double()  # as stored
    rest = w.clone()
    values = torch.zeros_like(w)
    for i in range(k):
        column = rest[:, :, i : i + 1]
        values[:, :, i : i + 1] = (column / scale).round().clamp(-limit, limit)
        error = (column - values[:, :, i : i + 1] * scale) / factor[:, i, i].view(-1, 1, 1)
        rest[:, :, i:] -= error * factor[:, i : i + 1, i:]
    shift = ((w - values * scale) @ moments.mean.unsqueeze(2)).flatten()
    return Rounded(values.to(torch.int8).numpy().reshape(weight.shape), scale.float().numpy().ravel(), shift.float().numpy())


def round_convolutions(model: ModelProto, seen: Observation, limit: int = FULL) -> dict[str, Rounded]:
    """Rounds all convolutions of a graph; results by the name of the weight. `limit` bounds all but depthwise weights."""
    weights = initializers(model)
    rounded: dict[str, Rounded] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = weights[node.input[1]]
            depthwise = weight.shape[1] == 1
            moments = seen.moments[node.output[0]]
            rounded[node.input[1]] = round_convolution(weight, moments, FULL if depthwise else limit)
    return rounded


def shift_biases(model: ModelProto, rounded: Mapping[str, Rounded]) -> ModelProto:
    """The graph with the corrections of rounded weights added to its biases."""
    shifts = {
        node.input[2]: rounded[node.input[1]].shift
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in rounded
    }
    shifted = ModelProto()
    shifted.CopyFrom(model)
    for tensor in shifted.graph.initializer:
        if tensor.name in shifts:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + shifts[tensor.name], tensor.name))
    return shifted
