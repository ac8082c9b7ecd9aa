"""The decoder graph: a flat graph of one search step becomes the body of an ONNX `Loop`."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPTIONS = ("max_length", "length_penalty", "no_repeat_ngram", "word_bias")
"""Inputs of the step that the caller of the decoder gives."""


def _add_prefix(graph: GraphProto, prefix: str, keep: set[str]) -> None:
    """Prefixes the names of all tensors and nodes of a flat graph, except the tensors in `keep`. Raises ValueError for a
    graph with subgraphs."""

    def renamed(name: str) -> str:
        return name if not name or name in keep else prefix + name

    for node in graph.node:
        if any(attribute.type == AttributeProto.GRAPH for attribute in node.attribute):
            raise ValueError(f"node {node.name} holds a graph; only flat graphs can be joined")
        node.name = prefix + node.name
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = renamed(value.name)


def _take_constant(body: GraphProto, known: set[str]) -> list[NodeProto]:
    """Hoists loop-invariant nodes, whose inputs are all `known` outside, from a flat body and returns them.

    The transposed keys of cross-attention are among them, which cost a good part of a step.
    """
    results = {value.name for value in body.output}
    outside: list[NodeProto] = []
    inside: list[NodeProto] = []
    known = known | {""}
    for node in body.node:
        if known.issuperset(node.input) and results.isdisjoint(node.output):
            outside.append(node)
            known.update(node.output)
        else:
            inside.append(node)
    del body.node[:]
    body.node.extend(inside)
    return outside


def loop_over(start: ModelProto, step: ModelProto) -> ModelProto:
    """Joins two flat graphs to the decoder. `start` outputs the first state and the fixed tensors. `step` takes `iteration`,
    the state and the fixed tensors by the same names, and outputs `living`, then the next state in the same order. The loop
    ends when no beam is unfinished, or after the largest `max_length`. Its body captures weights and fixed tensors by name.

    Inputs: memory [B, M, d], memory_mask [B, M], beam_size [], max_length [B], length_penalty [B], no_repeat_ngram [],
    word_bias [B, V] → tokens [B, K, L], log_probs [B, K], lengths [B, K], best beams first.
    """
    start_graph, body = GraphProto(), GraphProto()
    start_graph.CopyFrom(start.graph)
    body.CopyFrom(step.graph)
    state = [value.name for value in body.input[1 : len(body.output)]]
    fixed = {value.name for value in body.input[len(body.output) :]}
    made = [value.name for value in start_graph.output]
    if missing := (fixed - set(OPTIONS) | set(state)) - set(made):
        raise ValueError(f"nothing gives the step its {sorted(missing)}")
    _add_prefix(start_graph, "start.", {value.name for value in start_graph.input} | fixed)
    _add_prefix(body, "step.", fixed)

    weights = list(body.initializer)
    constant = _take_constant(body, fixed | {weight.name for weight in weights})
    options = {value.name: value for value in body.input if value.name in fixed}
    alive = helper.make_tensor_value_info("step.alive", TensorProto.BOOL, ())
    inputs = [body.input[0], alive, *body.input[1 : len(body.output)]]
    del body.initializer[:], body.input[:]
    body.input.extend(inputs)

    constants = [
        numpy_helper.from_array(np.array(True), "true"),
        numpy_helper.from_array(np.array([1], np.int64), "after_bos"),
        numpy_helper.from_array(np.array([np.iinfo(np.int64).max], np.int64), "to_the_end"),
        numpy_helper.from_array(np.array([2], np.int64), "along_tokens"),
    ]
    last = {name: f"last.{name}" for name in state} | {"log_probs": "log_probs", "lengths": "lengths"}
    loop = ["most_steps", "true", *(f"start.{name}" for name in state)]
    nodes = [
        *start_graph.node,
        *constant,
        helper.make_node("ReduceMax", ["max_length"], ["most_steps"], "most_steps", keepdims=0),
        helper.make_node("Loop", loop, [last[name] for name in state], "beam_search", body=body),
        helper.make_node("Slice", [last["tokens"], "after_bos", "to_the_end", "along_tokens"], ["tokens"], "words"),
    ]
    outputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ("B", "K", "L")),
        helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ("B", "K")),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ("B", "K")),
    ]
    given: list[ValueInfoProto] = [*start_graph.input, *(options[name] for name in OPTIONS)]
    graph = helper.make_graph(nodes, "decoder", given, outputs, [*start_graph.initializer, *weights, *constants])
    model = helper.make_model(graph, opset_imports=step.opset_import, ir_version=step.ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model
