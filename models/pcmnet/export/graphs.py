"""The trained modules as ONNX graphs, by PyTorch's exporter, from the same definitions that were trained.

Shapes: B images, H by W pixels, N patches, D grid width, E embedding, C concepts, M places of memory, d width, K beams, T tokens,
V ids; X texts of S tokens.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..config import ModelConfig
from ..model.beam_search import BeamStep, Fixed, State, first_state
from ..model.encoders import ImageEncoder, TextEncoder
from ..model.layers import KeysValues, additive
from ..model.mixup import most_salient
from ..model.pcm_net import PCMNet
from .search_loop import loop_over

OPSET = 20
POSITIONS = 128
"""Rows kept of the sinusoid table of 5000: more than any caption needs, at a fortieth of the size."""

Dims = tuple[int | str, ...]
"""Sizes of a tensor. A string names a dynamic size."""


def memory_length(config: ModelConfig) -> int:
    """M of the exported graphs: the global token, the patches, and the appended salient patches."""
    return 1 + config.patches + most_salient(config.patches, config.k, config.k2, config.mode)


class Mixup(nn.Module):
    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, grid: Tensor, local: Tensor, image: Tensor, concepts: Tensor) -> tuple[Tensor, ...]:
        """[B, N, D], [B, N, E], [B, E], [C, E] → memory [B, M, d], its mask [B, M], concept ids and scores [B, k], cosines of
        patches and concepts [B, N, k]"""
        memory = self.model.encode(grid, local, image, concepts, compact=True)
        return memory.states, memory.mask, memory.concepts.ids, memory.concepts.scores, memory.patch_scores


def _pairs(flat: Sequence[Tensor]) -> list[KeysValues]:
    return list(zip(flat[0::2], flat[1::2], strict=True))


def _flat(pairs: Sequence[KeysValues]) -> list[Tensor]:
    return [tensor for pair in pairs for tensor in pair]


class Start(nn.Module):
    """The part before the loop: the first `State` and the members of `Fixed` that depend on the memory."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, memory: Tensor, memory_mask: Tensor, beam_size: Tensor) -> list[Tensor]:
        """[B, M, d], [B, M], int64 [] → the members of `State`, then cross-attention's keys, values and mask"""
        beams: Any = beam_size.item()  # stays symbolic; `int` would fix its value
        torch._check(beams >= 1)
        state = first_state(self.model, memory.shape[0], beams)
        head = [state.tokens, state.runs, state.log_probs, state.lengths]
        return [*head, *_flat(state.caches), *_flat(self.model.decoder.cross(memory)), additive(memory_mask)]


class Step(nn.Module):
    """`BeamStep` with its dataclasses flattened to tensors, as graphs need them."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.step = BeamStep(model)
        self.caches = 2 * model.config.decoder_layers

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """iteration, the members of `State`, then those of `Fixed` → whether a beam is unfinished, the members of the next
        `State`"""
        iteration, tokens, runs, log_probs, lengths, *rest = tensors
        caches, cross, options = rest[: self.caches], rest[self.caches : 2 * self.caches], rest[2 * self.caches :]
        state = State(tokens, runs, log_probs, lengths, _pairs(caches))
        following, living = self.step(iteration, state, Fixed(_pairs(cross), *options))
        head = [following.tokens, following.runs, following.log_probs, following.lengths]
        return [living, *head, *_flat(following.caches)]


def to_onnx(module: nn.Module, inputs: dict[str, tuple[Tensor, Dims]], outputs: dict[str, Dims]) -> onnx.ModelProto:
    """Exports a module. `inputs`: an example of each and its sizes; dynamic sizes of the example must be at least 2, or the
    exporter takes them for constants."""
    examples = tuple(example for example, _ in inputs.values())
    free = [{i: Dim.AUTO for i, size in enumerate(dims) if isinstance(size, str)} for _, dims in inputs.values()]
    takes_any = "tensors" in module.forward.__code__.co_varnames[: module.forward.__code__.co_argcount + 1]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            examples,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(tuple(free),) if takes_any else tuple(free),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for kind, values, dims in (
        ("input", model.graph.input, {name: dims for name, (_, dims) in inputs.items()}),
        ("output", model.graph.output, outputs),
    ):
        if [value.name for value in values] != list(dims):
            raise ValueError(f"the exporter gave the {kind}s {[value.name for value in values]}, not {list(dims)}")
        for value in values:
            declare_shape(value, dims[value.name])
    # Sizes of inner tensors carry the exporter's own names for B, K and T, which mean nothing once graphs are joined.
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    return model


def declare_shape(value: onnx.ValueInfoProto, dims: Dims) -> None:
    """Names the free sizes; a size that tracing has fixed to the example's is an error."""
    kind = value.type.tensor_type.elem_type
    traced = [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
    fixed = [size for size in traced if isinstance(size, int) and size]
    if len(traced) != len(dims) or fixed != [size for size in dims if isinstance(size, int) and size]:
        raise ValueError(f"{value.name} was traced as {traced}, wanted {list(dims)}")
    value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, dims))


def encoder_graph(encoder: ImageEncoder, side: int) -> onnx.ModelProto:
    n, width, e = encoder.patches, encoder.width, encoder.embedding
    pixels = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    return to_onnx(
        encoder,
        {"pixels": (pixels, ("B", side, side, 3))},
        {"grid": ("B", n, width), "local": ("B", n, e), "image_embedding": ("B", e)},
    )


def mixup_graph(model: PCMNet) -> onnx.ModelProto:
    c = model.config
    n, e, k = c.patches, c.embedding, c.k
    memory = memory_length(c)
    return to_onnx(
        Mixup(model),
        {
            "grid": (torch.randn(2, n, c.grid_width), ("B", n, c.grid_width)),
            "local": (torch.randn(2, n, e), ("B", n, e)),
            "image_embedding": (torch.randn(2, e), ("B", e)),
            "concepts": (torch.randn(k + 2, e), ("C", e)),
        },
        {
            "memory": ("B", memory, c.width),
            "memory_mask": ("B", memory),
            "concept_ids": ("B", k),
            "concept_scores": ("B", k),
            "patch_scores": ("B", n, k),
        },
    )


def text_encoder_graph(encoder: TextEncoder) -> onnx.ModelProto:
    ids = torch.randint(1, 100, (2, 6))
    return to_onnx(
        encoder,
        {"input_ids": (ids, ("X", "S")), "attention_mask": (torch.ones_like(ids), ("X", "S"))},
        {"text_embedding": ("X", encoder.embedding)},
    )


def _with_short_positions(model: PCMNet) -> PCMNet:
    """A copy of the model whose sinusoid table has `POSITIONS` rows."""
    model = copy.deepcopy(model)
    table = model.token_embed.embeddings_pos
    table.pe = table.pe[:, :POSITIONS].clone()
    return model


def _cache_names(kind: str, layers: int) -> list[str]:
    return [f"{kind}_{part}_{layer}" for layer in range(layers) for part in ("keys", "values")]


def start_graph(model: PCMNet) -> onnx.ModelProto:
    """memory, memory_mask, beam_size → the inputs of `step_graph` at its first step."""
    c = model.config
    head, places = c.width // c.heads, memory_length(c)
    state: dict[str, Dims] = dict.fromkeys(("tokens", "runs"), ("B", "K", 1))
    state |= dict.fromkeys(("log_probs", "lengths"), ("B", "K"))
    state |= dict.fromkeys(_cache_names("past", c.decoder_layers), ("B*K", c.heads, 0, head))
    fixed: dict[str, Dims] = dict.fromkeys(_cache_names("cross", c.decoder_layers), ("B", c.heads, "M", head))
    return to_onnx(
        Start(model),
        {
            "memory": (torch.randn(2, places, c.width), ("B", "M", c.width)),
            "memory_mask": (torch.ones(2, places), ("B", "M")),
            "beam_size": (torch.tensor(3), ()),
        },
        {**state, **fixed, "cross_mask": ("B", 1, 1, "M")},
    )


def step_graph(model: PCMNet) -> onnx.ModelProto:
    """One step of the search as a flat graph; its inputs are those of `Step`, its outputs `living` and `next_…`."""
    c = model.config
    layers, heads, head, places = c.decoder_layers, c.heads, c.width // c.heads, memory_length(c)
    b, k, t = 2, 3, 4
    ids = torch.randint(1, c.vocabulary, (b, k, t))
    inputs: dict[str, tuple[Tensor, Dims]] = {
        "iteration": (torch.tensor(t - 1), ()),
        "tokens": (ids, ("B", "K", "T")),
        "runs": (torch.zeros_like(ids), ("B", "K", "T")),
        "log_probs": (torch.randn(b, k), ("B", "K")),
        "lengths": (torch.full((b, k), t - 1), ("B", "K")),
    }
    for name in _cache_names("past", layers):
        inputs[name] = (torch.randn(b * k, heads, t - 1, head), ("B*K", heads, "T-1", head))
    outputs: dict[str, Dims] = {"living": ()}
    for name, (_, dims) in list(inputs.items())[1:]:
        outputs[f"next_{name}"] = tuple(
            {"T": "T+1", "T-1": "T"}.get(size, size) if isinstance(size, str) else size for size in dims
        )
    for name in _cache_names("cross", layers):
        inputs[name] = (torch.randn(b, heads, places, head), ("B", heads, "M", head))
    inputs |= {
        "cross_mask": (torch.zeros(b, 1, 1, places), ("B", 1, 1, "M")),
        "word_bias": (torch.zeros(b, c.vocabulary), ("B", c.vocabulary)),
        "max_length": (torch.full((b,), 20), ("B",)),
        "length_penalty": (torch.zeros(b), ("B",)),
        "no_repeat_ngram": (torch.tensor(2), ()),
    }
    return to_onnx(Step(_with_short_positions(model)), inputs, outputs)


def decoder_graph(model: PCMNet) -> onnx.ModelProto:
    """The whole beam search: memory and options in, captions out."""
    return loop_over(start_graph(model), step_graph(model))
