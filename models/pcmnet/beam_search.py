"""Beam search on `PCMNet.step`: one step as a module, and the loop over it in PyTorch.

The exported decoder has the same step as the body of an ONNX `Loop`, so there is one definition of the search.
Shapes: B images, K beams, T tokens with BOS, V ids, M places of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import KeysValues, Memory, PCMNet, additive
from .text import END

DEAD = -1e9
"""Score of what must not win. Not -inf, which would make NaN of a beam that is dead twice."""


@dataclass(frozen=True)
class Beams:
    """Captions of each image, best first."""

    tokens: Tensor
    """Ids of words, 0 from the end of the sentence on  # [B, K, L]"""
    log_probs: Tensor
    """Sum of natural logarithms, EOS included  # [B, K]"""
    lengths: Tensor
    """Tokens, EOS included  # [B, K]"""


@dataclass(frozen=True)
class State:
    """What one step hands to the next: the state of the ONNX loop too."""

    tokens: Tensor
    """BOS, then what was written  # [B, K, T]"""
    runs: Tensor
    """How many of the words up to each place are the same as up to the last place  # [B, K, T]"""
    log_probs: Tensor
    """[B, K]"""
    lengths: Tensor
    """[B, K]"""
    caches: list[KeysValues]
    """Of each layer, all tokens but the last  # [B·K, heads, T - 1, 64] twice"""


@dataclass(frozen=True)
class Fixed:
    """What stays the same over all steps."""

    cross: list[KeysValues]
    """Keys and values of the memory, of each layer  # [B, heads, M, 64] twice"""
    cross_mask: Tensor
    """[B, 1, 1, M]"""
    word_bias: Tensor
    """Added to the logits before their softmax  # [B, V]"""
    max_length: Tensor
    """Steps of each image  # [B]"""
    length_penalty: Tensor
    """Beams are ranked by log_prob / length ** penalty  # [B]"""
    no_repeat_ngram: Tensor
    """Words that may not occur twice in the same order; 0 forbids nothing  # []"""


class BeamStep(nn.Module):
    """One more token for every beam."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, iteration: Tensor, state: State, fixed: Fixed) -> tuple[State, Tensor]:
        """Step number `iteration` [], from 0 → the next state, with T + 1 tokens, and whether any beam still lives []"""
        batch, beams, _ = state.tokens.shape
        last = state.tokens[:, :, -1]  # [B, K]
        # BOS is EOS, so only the step number tells a beam that begins from one that has ended.
        frozen = ((last == END) & (iteration > 0)) | (iteration >= fixed.max_length).unsqueeze(1)

        logits, caches = self.model.step(last.reshape(-1, 1), iteration, state.caches, fixed.cross, fixed.cross_mask)
        logits = logits.reshape(batch, beams, -1) + fixed.word_bias.unsqueeze(1)
        log_probs = logits.log_softmax(-1)  # [B, K, V]
        forbidden = repeated(state.runs, fixed.no_repeat_ngram) * DEAD
        # The best K of all K·V continuations are among the best K of each beam.
        gains, ids = log_probs.scatter_add(2, state.tokens, forbidden).topk(beams, dim=-1)  # [B, K, K]
        # A frozen beam goes on as it is, once: END at no cost; its other continuations are dead.
        alone = torch.where(torch.arange(beams, device=gains.device) == 0, 0.0, DEAD)  # [K]
        gains = torch.where(frozen.unsqueeze(-1), alone, gains)
        ids = torch.where(frozen.unsqueeze(-1), END, ids)

        sums = (state.log_probs.unsqueeze(-1) + gains).flatten(1)  # [B, K·K]
        lengths = state.lengths + (~frozen).to(torch.int64)
        scale = lengths.to(sums.dtype) ** fixed.length_penalty.unsqueeze(1)
        scores = (sums.unflatten(1, (beams, beams)) / scale.unsqueeze(-1)).flatten(1)
        chosen = scores.topk(beams, dim=-1).indices  # [B, K]
        parent = torch.div(chosen, beams, rounding_mode="floor")  # [B, K]
        word = ids.flatten(1).gather(1, chosen).unsqueeze(-1)  # [B, K, 1]
        row = (parent + torch.arange(batch, device=parent.device).unsqueeze(1) * beams).flatten()  # [B·K]

        past = state.tokens.flatten(0, 1).index_select(0, row).unflatten(0, (batch, beams))  # [B, K, T]
        runs = state.runs.flatten(0, 1).index_select(0, row).unflatten(0, (batch, beams))
        # A run grows from the one of the place before. BOS is no word, and the last place does not repeat itself.
        grown = (past[:, :, 1:] == word).to(torch.int64) * (runs[:, :, :-1] + 1)
        living = ((word.squeeze(-1) != END) & (iteration + 1 < fixed.max_length).unsqueeze(1)).any()
        following = State(
            torch.cat([past, word], -1),
            F.pad(grown, (1, 1)),
            sums.gather(1, chosen),
            lengths.gather(1, parent),
            [(keys.index_select(0, row), values.index_select(0, row)) for keys, values in caches],
        )
        return following, living


def repeated(runs: Tensor, n: Tensor) -> Tensor:
    """1 at each word that would complete an n-gram which the beam already has, else 0.

    `runs` [B, K, T] (see `State`), `n` [] → float32 [B, K, T]. A word would if the n - 1 before it are the beam's last n - 1.
    """
    completes = (runs[:, :, :-1] >= n - 1) & (n > 0)
    return F.pad(completes.to(torch.float32), (1, 0))


def first_state(model: PCMNet, batch: int, beams: int, device: torch.device | None = None) -> State:
    """One live beam of each image, at BOS."""
    c = model.config
    empty = torch.zeros(batch * beams, c.heads, 0, c.width // c.heads, device=device)
    log_probs = torch.where(torch.arange(beams, device=device) == 0, 0.0, DEAD).repeat(batch, 1)
    lengths = torch.zeros(batch, beams, dtype=torch.int64, device=device)
    start = torch.full((batch, beams, 1), END, device=device)
    return State(start, torch.zeros_like(start), log_probs, lengths, [(empty, empty)] * c.decoder_layers)


@torch.inference_mode()
def beam_search(
    model: PCMNet,
    memory: Memory,
    beam_size: int = 3,
    max_length: int | Sequence[int] | Tensor = 20,
    length_penalty: float | Sequence[float] | Tensor = 0.0,
    no_repeat_ngram: int = 0,
    word_bias: Tensor | None = None,
) -> Beams:
    """Captions of B images, of a model in evaluation mode.

    `max_length` and `length_penalty` are one for all images or one an image [B]; a penalty of 0 is the paper's.
    `word_bias` [B, V] is added to the logits; -1e4 forbids a word. A finished beam keeps its slot; if none ended, the
    best unfinished ones are returned.
    """
    batch, device = len(memory.states), memory.states.device
    vocabulary = model.config.vocabulary
    if not 1 <= beam_size <= vocabulary:
        raise ValueError(f"beam_size must be from 1 to {vocabulary}, got {beam_size}")
    fixed = Fixed(
        model.decoder.cross(memory.states),
        additive(memory.mask),
        torch.zeros(batch, vocabulary, device=device) if word_bias is None else word_bias,
        torch.as_tensor(max_length, dtype=torch.int64, device=device).expand(batch),
        torch.as_tensor(length_penalty, dtype=torch.float32, device=device).expand(batch),
        torch.tensor(no_repeat_ngram, device=device),
    )
    step = BeamStep(model)
    state = first_state(model, batch, beam_size, device)
    for iteration in range(int(fixed.max_length.max())):
        state, living = step(torch.tensor(iteration, device=device), state, fixed)
        if not living:
            break
    return Beams(state.tokens[:, :, 1:], state.log_probs, state.lengths)
