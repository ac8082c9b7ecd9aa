"""Statistics of a graph on calibration photos: moments of each convolution's input, ranges of its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from ..export.pipeline import Arrays, open_session, run
from .ranges import Range, Samples, exposing, named

PLACES = 256
"""Output places of each photo that are sampled; neighbours are alike."""


def attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


@dataclass
class Moments:
    """First and second moments of the k inputs of a convolution's output, in each of its G groups."""

    products: Tensor
    """Sum of outer products  # [G, k, k]"""
    sums: Tensor
    """[G, k]"""
    count: int = 0

    def add(self, columns: Tensor) -> None:
        """Adds the inputs of L output places  # [G, k, L]"""
        self.products = self.products + (columns @ columns.transpose(1, 2)).double()
        self.sums = self.sums + columns.double().sum(2)
        self.count += columns.shape[2]

    @property
    def mean(self) -> Tensor:
        return self.sums / self.count

    @property
    def covariance(self) -> Tensor:
        return self.products / self.count - self.mean.unsqueeze(2) * self.mean.unsqueeze(1)


@dataclass(frozen=True)
class Observation:
    moments: dict[str, Moments]
    """Moments of each convolution's input, by the name of its output."""
    ranges: dict[str, Range]
    """Range of each watched tensor."""


def _patches(x: Tensor, node: NodeProto, kernel: tuple[int, int]) -> Tensor:
    """The inputs of each output place: [1, C, h, w] → [G, k, L]. Raises ValueError for dilated convolutions."""
    settings = attributes(node)
    if settings.get("dilations", [1, 1]) != [1, 1]:
        raise ValueError(f"{node.name} is dilated; only plain convolutions are calibrated")
    top, left, bottom, right = settings.get("pads", [0, 0, 0, 0])
    padded = F.pad(x, (left, right, top, bottom))
    columns = F.unfold(padded, kernel, stride=settings.get("strides", [1, 1]))[0]
    return columns.view(int(settings.get("group", 1)), -1, columns.shape[1])


def observe(model: ModelProto, inputs: Iterable[Arrays], watched: Iterable[str], moments: bool = True) -> Observation:
    """Runs the graph on each of `inputs`, batches of one photo, and samples the watched tensors. Without `moments`, only
    ranges."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"] if moments else []
    ranged = list(dict.fromkeys(watched))
    names = list(dict.fromkeys([*(node.input[0] for node in convolutions), *ranged]))
    kernels = {tensor.name: tuple(tensor.dims[2:]) for tensor in model.graph.initializer if len(tensor.dims) == 4}
    session = open_session(exposing(model, names))
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Moments] = {}
    samples = Samples()
    for feed in inputs:
        tensors = named(names, feed, run(session, feed))
        samples.add({name: tensors[name] for name in ranged})
        for node in convolutions:
            columns = _patches(torch.from_numpy(tensors[node.input[0]]), node, kernels[node.input[1]])
            chosen = torch.randperm(columns.shape[2], generator=generator)[:PLACES]
            found.setdefault(node.output[0], Moments(torch.zeros(()), torch.zeros(()))).add(columns[:, :, chosen])
    return Observation(found, samples.ranges())


def initializers(model: ModelProto) -> dict[str, NDArray[np.float32]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
