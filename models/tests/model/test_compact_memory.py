"""The memory without appended places that nothing attends to says the same as the whole one."""

from __future__ import annotations

import pytest
import torch
from toy_captioner import random_captioner, random_inputs

from pcmnet.export.graphs import memory_length
from pcmnet.model.beam_search import beam_search
from pcmnet.model.layers import additive


@pytest.mark.parametrize(
    ("mode", "k2", "length"), [("top", 5, 15), ("top", 2, 12), ("top", 0.1, 14), ("top", 40, 19), ("all", 5, 19)]
)
def test_a_compact_memory_holds_what_the_whole_one_attends(mode: str, k2: float, length: int) -> None:
    model = random_captioner(30)
    model.config.mode, model.config.k2 = mode, k2
    inputs = random_inputs(model, 6)
    with torch.no_grad():
        whole, compact = model.encode(*inputs), model.encode(*inputs, compact=True)
    patches = model.config.patches
    assert whole.states.shape[1] == 1 + 2 * patches
    assert compact.states.shape[1] == compact.mask.shape[1] == memory_length(model.config) == length
    torch.testing.assert_close(compact.states[:, : 1 + patches], whole.states[:, : 1 + patches], atol=1e-5, rtol=0)
    for image in range(6):
        attended = whole.states[image, 1 + patches :][whole.mask[image, 1 + patches :] > 0]
        kept = compact.states[image, 1 + patches :][compact.mask[image, 1 + patches :] > 0]
        # Same rows, whatever their order.
        torch.testing.assert_close(torch.cdist(kept, attended).min(1).values, torch.zeros(len(kept)), atol=1e-4, rtol=0)
        assert len(kept) == len(attended) > 0
    assert torch.equal(whole.concepts.ids, compact.concepts.ids)
    assert torch.equal(whole.patch_scores, compact.patch_scores)
    one, other = beam_search(model, whole), beam_search(model, compact)
    assert torch.equal(one.tokens, other.tokens)
    torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-4, rtol=0)


def test_places_beyond_the_salient_patches_are_masked() -> None:
    model = random_captioner(30)
    with torch.no_grad():
        memories = [model.encode(*random_inputs(model, 8, seed), compact=True) for seed in range(3)]
    salient = torch.cat([memory.mask[:, 1 + model.config.patches :].sum(1) for memory in memories])
    assert (salient < 5).any(), "cells must share a patch in some image"
    assert (additive(memories[0].mask) <= 0).all()
