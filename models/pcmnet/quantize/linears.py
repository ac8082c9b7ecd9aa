"""Integer arithmetic for CPUs: the Linear layers of a flat graph, each with one activation scale, fixed by calibration.

A dynamic scale, computed from the tensor at hand, would make an image's caption depend on the images in its batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..export.pipeline import Arrays, open_session, run
from .ranges import Range, Samples, exposing, named
from .storage import SMALLEST, quantise_channels

_MICROSOFT = "com.microsoft"
WEIGHT_LIMIT = 64
"""Weights are integers from -64 to 64. Processors without VNNI add two products of unsigned and signed bytes in 16 bits, which
255 · 64 · 2 does not overflow, so all processors compute the same integers."""


@dataclass(frozen=True)
class _Linear:
    source: str
    """[…, K]"""
    weight: NDArray[np.float32]
    """[K, N]"""
    bias: NDArray[np.float32] | None
    """[N]"""
    output: str
    """[…, N]"""
    nodes: tuple[NodeProto, ...]
    """The nodes that compute it in floats, in order."""


class _Graph:
    """Look-ups in a flat graph."""

    def __init__(self, model: ModelProto) -> None:
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer = {name: node for node in model.graph.node for name in node.output}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(value.name for value in model.graph.output)
        self.consumer = {name: node for node in model.graph.node for name in node.input}

    def constant(self, name: str) -> NDArray[np.float32] | None:
        """The value of a float initializer, or of a Transpose of one; None if `name` is neither."""
        if name in self.tensors:
            tensor = self.tensors[name]
            return numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else None
        node = self.producer.get(name)
        if node is None or node.op_type != "Transpose" or node.input[0] not in self.tensors:
            return None
        turns = {attribute.name: list(attribute.ints) for attribute in node.attribute}.get("perm")
        return numpy_helper.to_array(self.tensors[node.input[0]]).transpose(turns)

    def linear(self, node: NodeProto) -> _Linear | None:
        """The Linear layer that begins with `node`, if its weight is large enough to quantise; else None."""
        if node.op_type not in ("MatMul", "Gemm"):
            return None
        weight = self.constant(node.input[1])
        if weight is None or weight.ndim != 2 or weight.size < SMALLEST:
            return None
        output = node.output[0]
        if node.op_type == "Gemm":
            settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            if settings.get("alpha", 1) != 1 or settings.get("beta", 1) != 1 or settings.get("transA", 0):
                return None
            bias = self.constant(node.input[2]) if len(node.input) > 2 else None
            return _Linear(node.input[0], weight.T if settings.get("transB", 0) else weight, bias, output, (node,))
        following = self.consumer.get(output)
        if self.uses[output] == 1 and following is not None and following.op_type == "Add":
            other = following.input[1] if following.input[0] == output else following.input[0]
            bias = self.constant(other)
            if bias is not None and bias.shape == weight.shape[1:]:
                return _Linear(node.input[0], weight, bias, following.output[0], (node, following))
        return _Linear(node.input[0], weight, None, output, (node,))


def linear_inputs(model: ModelProto) -> list[str]:
    """Names of the inputs of a flat graph's Linear layers, each once."""
    graph = _Graph(model)
    found = [graph.linear(node) for node in model.graph.node]
    return list(dict.fromkeys(linear.source for linear in found if linear is not None))


class Watched:
    """A flat graph that samples the inputs of its Linear layers in every run."""

    def __init__(self, model: ModelProto) -> None:
        self._names = linear_inputs(model)
        self._samples = Samples()
        self._session = open_session(exposing(model, self._names))
        self._takes = [value.name for value in self._session.get_inputs()]

    def __call__(self, tensors: Arrays) -> Arrays:
        """Runs the graph on those of `tensors` that are its inputs."""
        inputs = {name: tensors[name] for name in self._takes}
        outputs = run(self._session, inputs)
        self._samples.add(named(self._names, inputs, outputs))
        return outputs

    def ranges(self) -> dict[str, Range]:
        return self._samples.ranges()


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], output, **attributes)


def _quantise(name: str, source: str, given: Range) -> tuple[NodeProto, list[TensorProto]]:
    """The node and the parameters that quantise `source` to `name.uint8`."""
    parameters = [
        numpy_helper.from_array(np.asarray(given.scale), f"{name}.scale"),
        numpy_helper.from_array(np.asarray(given.zero), f"{name}.zero"),
    ]
    return _node("QuantizeLinear", [source, *(p.name for p in parameters)], f"{name}.uint8"), parameters


def _multiply(linear: _Linear) -> tuple[NodeProto, list[TensorProto]]:
    name, source = linear.output, linear.source
    values, scale = quantise_channels(linear.weight, 1, WEIGHT_LIMIT)
    weights = [
        numpy_helper.from_array(values, f"{name}.weight"),
        numpy_helper.from_array(scale.ravel(), f"{name}.weight.scale"),
        numpy_helper.from_array(np.zeros(scale.size, np.int8), f"{name}.weight.zero"),
    ]
    weight, weight_scale, weight_zero = (tensor.name for tensor in weights)
    inputs = [f"{source}.uint8", weight, f"{source}.scale", weight_scale, f"{source}.zero", weight_zero]
    if linear.bias is not None:
        weights.append(numpy_helper.from_array(linear.bias, f"{name}.bias"))
        inputs.append(f"{name}.bias")
    return _node("MatMulIntegerToFloat", inputs, name, domain=_MICROSOFT), weights


def quantise_linears(model: ModelProto, ranges: Mapping[str, Range]) -> ModelProto:
    """Quantises the Linear layers of a flat graph: int8 weights with a scale an output channel, uint8 activations with one a
    tensor.

    `ranges` has the range of each of `linear_inputs(model)`.
    """
    graph = _Graph(model)
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    replaced: set[str] = set()
    quantised: set[str] = set()
    for node in model.graph.node:
        if node.output[0] in replaced:
            continue
        linear = graph.linear(node)
        if linear is None:
            nodes.append(node)
            continue
        source = linear.source
        if source not in quantised:
            quantised.add(source)
            maker = graph.producer.get(source)
            # uint8 with zero point 0 clips negative values, as Relu does.
            cut = maker is not None and maker.op_type == "Relu" and ranges[source].zero == 0
            made, held = _quantise(source, maker.input[0] if maker is not None and cut else source, ranges[source])
            nodes.append(made)
            weights += held
        made, held = _multiply(linear)
        nodes.append(made)
        weights += held
        replaced |= {part.output[0] for part in linear.nodes}
    return _rebuilt(model, nodes, weights)


def _rebuilt(model: ModelProto, nodes: list[NodeProto], weights: list[TensorProto]) -> ModelProto:
    """The graph with `nodes` and additional `weights`, without nodes and weights that are then unused."""
    new = ModelProto()
    new.CopyFrom(model)
    wanted = {value.name for value in model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del new.graph.node[:], new.graph.initializer[:]
    new.graph.node.extend(reversed(kept))
    new.graph.initializer.extend(tensor for tensor in (*model.graph.initializer, *weights) if tensor.name in wanted)
    if all(entry.domain != _MICROSOFT for entry in new.opset_import):
        new.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    return new
