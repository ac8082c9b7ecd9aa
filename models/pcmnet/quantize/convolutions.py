"""Integer convolutions for CPUs, with one activation scale for each tensor, fixed by calibration photos.

They are written as QuantizeLinear and DequantizeLinear around float operators, which ONNX Runtime fuses to integer operators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .linears import WEIGHT_LIMIT
from .observe import Observation, attributes, initializers
from .rounding import Rounded, round_convolutions


def activations(model: ModelProto) -> list[str]:
    """Names of the tensors that become uint8: those between convolutions, and the sums of residual branches."""
    names: dict[str, None] = {}
    clipped = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Clip"}
    for node in model.graph.node:
        if node.op_type == "Conv":
            names[node.input[0]] = None
            names[clipped.get(node.output[0], node.output[0])] = None
        elif node.op_type == "Add" and all(name in names for name in node.input):
            names[node.output[0]] = None
    return list(names)


def is_convolutional(model: ModelProto) -> bool:
    """False for a vision transformer: its one convolution cuts the patches, costs a fortieth of the whole, and stays in
    floats."""
    return sum(node.op_type == "Conv" for node in model.graph.node) > 1


@dataclass(frozen=True)
class _Pixels:
    """The normalisation at the start of the encoder: transpose((bytes - zero) / divisor)."""

    source: str
    output: str
    zero: int
    divisor: float
    transpose: NodeProto
    nodes: tuple[str, ...]
    """Outputs of the four nodes that compute it."""


def _pixels(model: ModelProto) -> _Pixels:
    """Finds the normalisation in front of the first convolution. Raises ValueError for another form than (pixels - mean) /
    deviation."""
    producer = {name: node for node in model.graph.node for name in node.output}
    weights = initializers(model)
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    chain: list[NodeProto] = []
    name = convolution.input[0]
    for kind in ("Transpose", "Div", "Sub", "Cast"):
        node = producer.get(name)
        if node is None or node.op_type != kind:
            raise ValueError(f"the first convolution's {name} is not a transposed (pixels - mean) / deviation")
        chain.append(node)
        name = node.input[0]
    zero, divisor = float(weights[chain[2].input[1]]), float(weights[chain[1].input[1]])
    if not zero.is_integer():
        raise ValueError(f"pixels of mean {zero} have no uint8 zero point")
    return _Pixels(name, convolution.input[0], int(zero), divisor, chain[0], tuple(node.output[0] for node in chain))


class _Quantiser:
    def __init__(self, model: ModelProto, seen: Observation) -> None:
        self.weights = initializers(model)
        self.seen = seen
        self.quantised = set(activations(model))
        self.added: list[TensorProto] = []
        self.scales: dict[str, np.float32] = {}

    def hold(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.added.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def around(self, name: str) -> list[NodeProto]:
        """Nodes that quantise `name.float` to `name.uint8` and back to `name`."""
        given = self.seen.ranges[name]
        self.scales[name] = given.scale
        parameters = [self.hold(f"{name}.scale", given.scale), self.hold(f"{name}.zero", given.zero)]
        return [
            helper.make_node("QuantizeLinear", [f"{name}.float", *parameters], [f"{name}.uint8"], f"{name}.quantise"),
            helper.make_node("DequantizeLinear", [f"{name}.uint8", *parameters], [name], f"{name}.dequantise"),
        ]

    def pixels(self, pixels: _Pixels) -> list[NodeProto]:
        """Nodes that pass the bytes of the image to the first convolution, whose input they already are in uint8."""
        name, self.scales[pixels.output] = pixels.output, np.float32(1 / pixels.divisor)
        parameters = [
            self.hold(f"{name}.scale", self.scales[name]),
            self.hold(f"{name}.zero", np.uint8(pixels.zero)),
        ]
        settings = attributes(pixels.transpose)
        return [
            helper.make_node("Transpose", [pixels.source], [f"{name}.uint8"], f"{name}.transpose", **settings),
            helper.make_node("DequantizeLinear", [f"{name}.uint8", *parameters], [name], f"{name}.dequantise"),
        ]

    def convolution(self, node: NodeProto, rounded: Rounded, output: str) -> list[NodeProto]:
        weight, bias = node.input[1], self.weights[node.input[2]] + rounded.shift
        bias_scale = (self.scales[node.input[0]] * rounded.scale).astype(np.float32)
        # A channel with tiny weights has so small a scale that its bias would overflow int32.
        fits = np.abs(bias) < bias_scale * 2.0**30
        scale = np.where(fits, rounded.scale, np.abs(bias) / 2.0**30 / self.scales[node.input[0]]).astype(np.float32)
        values = np.where(fits[:, None, None, None], rounded.values, 0).astype(np.int8)
        bias_scale = (self.scales[node.input[0]] * scale).astype(np.float32)
        integers = np.rint(bias / bias_scale).astype(np.int32)
        zeros = self.hold(f"{weight}.zero", np.zeros(len(scale), np.int8))
        held = [self.hold(f"{weight}.int8", values), self.hold(f"{weight}.scale", scale), zeros]
        held_bias = [self.hold(f"{weight}.bias", integers), self.hold(f"{weight}.bias.scale", bias_scale)]
        held_bias.append(self.hold(f"{weight}.bias.zero", np.zeros(len(scale), np.int32)))
        inputs = [node.input[0], f"{weight}.real", f"{weight}.bias.real"]
        return [
            helper.make_node("DequantizeLinear", held, [inputs[1]], inputs[1], axis=0),
            helper.make_node("DequantizeLinear", held_bias, [inputs[2]], inputs[2], axis=0),
            helper.make_node("Conv", inputs, [output], node.name, **attributes(node)),
        ]


def quantise_convolutions(model: ModelProto, seen: Observation) -> ModelProto:
    """Quantises the convolutions and the sums between them. `seen` has the ranges of `activations(model)`."""
    quantiser = _Quantiser(model, seen)
    rounded = round_convolutions(model, seen, WEIGHT_LIMIT)
    clip = {node.input[0]: node for node in model.graph.node if node.op_type == "Clip"}
    pixels = _pixels(model)
    nodes = quantiser.pixels(pixels)
    for node in model.graph.node:
        output = node.output[0]
        if output in pixels.nodes:
            continue
        if node.op_type == "Clip" and output in quantiser.quantised:
            continue  # the range of uint8 ends where Clip does, so that quantising clips
        name = clip[output].output[0] if output in clip else output
        held = name in quantiser.quantised
        if node.op_type == "Conv":
            nodes += quantiser.convolution(node, rounded[node.input[1]], f"{name}.float" if held else output)
        else:
            copy = NodeProto()
            copy.CopyFrom(node)
            if held:
                copy.output[0] = f"{name}.float"
            nodes.append(copy)
        if held:
            nodes += quantiser.around(name)
    return _with(model, nodes, quantiser.added)


def _with(model: ModelProto, nodes: list[NodeProto], added: list[TensorProto]) -> ModelProto:
    new = ModelProto()
    new.CopyFrom(model)
    used = {name for node in nodes for name in node.input}
    graph: GraphProto = new.graph
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for tensor in (*model.graph.initializer, *added) if tensor.name in used)
    return new
