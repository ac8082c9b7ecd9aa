"""Storage of a graph's weights: int8 with a scale for each channel, float16, or float32.

The graph computes in float32 in all of them: `Cast` (and `Mul` by the scale) unpack the weights. ONNX Runtime folds these
constants once, when it loads the graph, so a smaller file costs no time on any execution provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .rounding import Rounded, shift_biases

SMALLEST = 4096
"""Smallest number of elements of a weight that is quantised. Biases and norms have fewer and stay in float32."""


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """Nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _channel_axis(node: NodeProto, position: int) -> int | None:
    """Axis of the output channels, or of a table's rows, in the weight at input `position`; None if that is no weight."""
    match node.op_type, position:
        case "Conv" | "Gather", _:
            return 0
        case "Transpose", _:  # of a Linear's weight [out, in], before a MatMul
            return 0
        case "Gemm", 1:
            return 0 if _attribute(node, "transB", 0) else 1
        case "MatMul", 1:
            return 1
    return None


def channel_axes(model: ModelProto) -> dict[str, int]:
    """The weights that can be quantised by channel, and along which axis."""
    axes: dict[str, int | None] = {}
    for node in nodes_of(model.graph):
        for position, name in enumerate(node.input):
            axis = _channel_axis(node, position)
            axes[name] = axis if axes.get(name, axis) == axis else None
    return {
        tensor.name: axis
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) >= 2
        and np.prod(tensor.dims) >= SMALLEST
        and (axis := axes.get(tensor.name)) is not None
    }


def quantise_channels(weight: NDArray[np.float32], axis: int, limit: int = 127) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers from -limit to limit: weight ≈ values · scale, scale with every size but `axis`'s 1."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def store(model: ModelProto, precision: str, rounded: Mapping[str, Rounded] | None = None) -> ModelProto:
    """The graph with its large weights stored as `w8` (int8 by channel), `fp16` or `fp32`.

    `rounded`: weights of convolutions that `w8` does not have to round to the nearest (`round_convolutions`).
    """
    if precision not in ("w8", "fp16", "fp32"):
        raise ValueError(f"unknown storage {precision!r}: w8, fp16 or fp32")
    stored = ModelProto()
    stored.CopyFrom(model)
    if precision == "fp32":
        return stored
    axes = channel_axes(model)
    if precision == "w8" and rounded:
        model = shift_biases(model, {name: part for name, part in rounded.items() if name in axes})
    weights: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for tensor in model.graph.initializer:
        name = tensor.name
        if name not in axes:
            weights.append(tensor)
            continue
        weight = numpy_helper.to_array(tensor)
        if precision == "fp16":
            weights.append(numpy_helper.from_array(weight.astype(np.float16), f"{name}.fp16"))
            nodes.append(helper.make_node("Cast", [f"{name}.fp16"], [name], f"{name}.cast", to=TensorProto.FLOAT))
            continue
        if rounded and name in rounded:
            values, scale = rounded[name].values, rounded[name].scale.reshape(-1, 1, 1, 1)
        else:
            values, scale = quantise_channels(weight, axes[name])
        weights += [numpy_helper.from_array(values, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
        nodes += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], f"{name}.cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name], f"{name}.mul"),
        ]
    graph = stored.graph
    nodes += graph.node
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return stored
