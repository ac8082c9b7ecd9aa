"""The decoder graph against the PyTorch beam search."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from toy_captioner import random_captioner, random_memory

from pcmnet.export.graphs import decoder_graph, start_graph, step_graph
from pcmnet.export.pipeline import Arrays, open_session, run
from pcmnet.export.search_loop import loop_over
from pcmnet.model.beam_search import beam_search
from pcmnet.model.pcm_net import Memory, PCMNet

VOCABULARY = 30


@pytest.fixture(scope="module")
def model() -> PCMNet:
    return random_captioner(VOCABULARY)


@pytest.fixture(scope="module")
def session(model: PCMNet) -> onnxruntime.InferenceSession:
    return open_session(decoder_graph(model).SerializeToString(), threads=1)


def decode(
    session: onnxruntime.InferenceSession,
    memory: Memory,
    beams: int,
    max_length: torch.Tensor,
    penalty: torch.Tensor,
    ngram: int,
    bias: torch.Tensor,
) -> Arrays:
    return run(
        session,
        {
            "memory": memory.states.numpy(),
            "memory_mask": memory.mask.numpy(),
            "beam_size": np.array(beams),
            "max_length": max_length.numpy(),
            "length_penalty": penalty.numpy(),
            "no_repeat_ngram": np.array(ngram),
            "word_bias": bias.numpy(),
        },
    )


@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_the_decoder_graph_writes_what_the_reference_writes(
    model: PCMNet, session: onnxruntime.InferenceSession, images: int, beams: int
) -> None:
    shortest = 20
    for seed, (ngram, penalised, biased) in enumerate(itertools.product((0, 1, 2, 3), (False, True), (False, True))):
        memory = random_memory(model, images, seed)
        max_length = torch.randint(1, 21, (images,))
        penalty = torch.rand(images) * 2 if penalised else torch.zeros(images)
        bias = torch.randn(images, VOCABULARY) if biased else torch.zeros(images, VOCABULARY)
        bias[:, seed + 1] = -1e4
        expected = beam_search(model, memory, beams, max_length, penalty, ngram, bias)
        found = decode(session, memory, beams, max_length, penalty, ngram, bias)
        assert np.array_equal(found["tokens"], expected.tokens.numpy())
        assert np.array_equal(found["lengths"], expected.lengths.numpy())
        assert np.abs(found["log_probs"] - expected.log_probs.numpy()).max() < 1e-4
        shortest = min(shortest, int(expected.lengths.min()))
    assert shortest < 20, "some beam must end early"


def test_the_loop_ends_with_its_last_living_beam(model: PCMNet, session: onnxruntime.InferenceSession) -> None:
    memory = random_memory(model, 2)
    bias = torch.zeros(2, VOCABULARY)
    bias[:, 0] = 50  # every beam ends at once; the others of the first step's best need one step more
    found = decode(session, memory, 3, torch.tensor([20, 20]), torch.zeros(2), 0, bias)
    assert found["tokens"].shape == (2, 3, 2)


def test_an_image_alone_gets_the_captions_it_gets_in_a_batch(model: PCMNet, session: onnxruntime.InferenceSession) -> None:
    memory = random_memory(model, 6)
    max_length = torch.tensor([12, 4, 20, 7, 20, 15])
    bias = torch.randn(6, VOCABULARY)
    together = decode(session, memory, 3, max_length, torch.zeros(6), 2, bias)
    for image in range(6):
        one = slice(image, image + 1)
        alone = Memory(memory.states[one], memory.mask[one], memory.concepts, memory.patch_scores)
        found = decode(session, alone, 3, max_length[one], torch.zeros(1), 2, bias[one])
        length = found["tokens"].shape[2]
        assert np.array_equal(together["tokens"][image, :, :length], found["tokens"][0])
        assert not together["tokens"][image, :, length:].any()
        np.testing.assert_allclose(together["log_probs"][image], found["log_probs"][0], atol=1e-4)


def test_weights_and_memory_stay_outside_of_the_loop(model: PCMNet) -> None:
    graph = decoder_graph(model).graph
    (loop,) = [node for node in graph.node if node.op_type == "Loop"]
    (body,) = [attribute.g for attribute in loop.attribute if attribute.name == "body"]
    assert not body.initializer
    outer = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    captured = {name for node in body.node for name in node.input} & outer
    assert "cross_values_0" in captured
    assert "cross_keys_0" not in captured, "keys are transposed once, outside"
    assert sum(np.prod(tensor.dims) for tensor in graph.initializer if tensor.name in captured) > 32 * VOCABULARY


def test_a_step_that_wants_what_nothing_gives_is_refused(model: PCMNet) -> None:
    start = start_graph(model)
    del start.graph.output[-1]
    with pytest.raises(ValueError, match="cross_mask"):
        loop_over(start, step_graph(model))
