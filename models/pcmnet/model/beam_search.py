"""Beam search on `PCMNet.step`: one step as a module, and the loop over it in PyTorch.

The exported decoder has the same step as the body of an ONNX `Loop`, so that the search is defined once.
Shapes: B images, K beams, T tokens with BOS, V ids, M places of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.text import END
from .layers import KeysValues, additive
from .pcm_net import Memory, PCMNet

DEAD = -1e9
"""Score of continuations that must not win. Not -inf, because -inf - -inf is NaN."""


@dataclass(frozen=True)
class Beams:
    """Captions of each image, best first."""

    tokens: Tensor
    """Ids of words, then 0 from the end of the sentence  # [B, K, L]"""
    log_probs: Tensor
    """Sum of natural logarithms, EOS included  # [B, K]"""
    lengths: Tensor
    """Tokens, EOS included  # [B, K]"""


@dataclass(frozen=True)
class State:
    """The state that a step passes to the next, which is also the state of the ONNX loop."""

    tokens: Tensor
    """BOS and the tokens so far  # [B, K, T]"""
    runs: Tensor
    """Length of the longest common suffix of the tokens up to each place and of all tokens: see `repeated`  # [B, K, T]"""
    log_probs: Tensor
    """[B, K]"""
    lengths: Tensor
    """[B, K]"""
    caches: list[KeysValues]
    """Self-attention's keys and values of each layer, of all tokens but the last  # [B·K, heads, T - 1, d / heads] each"""


@dataclass(frozen=True)
class Fixed:
    """The inputs that stay the same over all steps."""

    cross: list[KeysValues]
    """Cross-attention's keys and values of the memory, of each layer  # [B, heads, M, d / heads] each"""
    cross_mask: Tensor
    """[B, 1, 1, M]"""
    word_bias: Tensor
    """Added to the logits before their softmax  # [B, V]"""
    max_length: Tensor
    """Largest number of steps of each image  # [B]"""
    length_penalty: Tensor
    """Beams are ranked by log_prob / length ** penalty  # [B]"""
    no_repeat_ngram: Tensor
    """Length of the n-grams that may not occur twice in a caption; 0 allows all  # []"""


class BeamStep(nn.Module):
    """One step of the search: every beam grows by one token."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, iteration: Tensor, state: State, fixed: Fixed) -> tuple[State, Tensor]:
        """`iteration` [] is the step's number, from 0 → the next state, with T + 1 tokens, and whether any beam is unfinished
        []"""
        batch, beams, _ = state.tokens.shape
        last = state.tokens[:, :, -1]  # [B, K]
        # BOS and EOS are the same id, so only the step number distinguishes a new beam from a finished one.
        frozen = ((last == END) & (iteration > 0)) | (iteration >= fixed.max_length).unsqueeze(1)

        logits, caches = self.model.step(last.reshape(-1, 1), iteration, state.caches, fixed.cross, fixed.cross_mask)
        logits = logits.reshape(batch, beams, -1) + fixed.word_bias.unsqueeze(1)
        log_probs = logits.log_softmax(-1)  # [B, K, V]
        forbidden = repeated(state.runs, fixed.no_repeat_ngram) * DEAD
        # The best K of all K·V continuations are among the best K continuations of each beam.
        gains, ids = log_probs.scatter_add(2, state.tokens, forbidden).topk(beams, dim=-1)  # [B, K, K]
        # A frozen beam has one continuation, END at no cost; its others are dead.
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
        # A common suffix grows by one from that of the place before. BOS and the last place itself do not count.
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
    """1 at each token that would complete an n-gram that the beam already has, else 0.

    `runs` [B, K, T] (see `State`), `n` [] → float32 [B, K, T]. A token does so if the n - 1 tokens before it are the beam's last
    n - 1.
    """
    completes = (runs[:, :, :-1] >= n - 1) & (n > 0)
    return F.pad(completes.to(torch.float32), (1, 0))


def first_state(model: PCMNet, batch: int, beams: int, device: torch.device | None = None) -> State:
    """The state before the first step: one live beam of each image, at BOS."""
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
    """Searches the captions of B images, for a model in evaluation mode. The defaults are the paper's.

    `max_length` (steps, EOS included) and `length_penalty` are single values or one an image [B]. `word_bias` [B, V] is added to
    the logits; -1e4 forbids a word. A finished beam keeps its slot; if no beam ended, the best unfinished ones are returned.
    Raises ValueError for a beam size below 1 or above the vocabulary.
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
