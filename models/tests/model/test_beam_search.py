"""The PyTorch beam search: against exhaustive search, its options, and its independence of the batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from toy_captioner import random_captioner, random_memory

from pcmnet.model.beam_search import Beams, beam_search
from pcmnet.model.pcm_net import Memory, PCMNet


def rows(memory: Memory, chosen: slice) -> Memory:
    return Memory(memory.states[chosen], memory.mask[chosen], memory.concepts, memory.patch_scores)


def sentence(beams: Beams, image: int, beam: int = 0) -> list[int]:
    """The ids that were decided on, EOS included."""
    return beams.tokens[image, beam, : int(beams.lengths[image, beam])].tolist()


def teacher_forced(model: PCMNet, memory: Memory, tokens: list[int]) -> Tensor:
    """Log-probability of each of `tokens`, by the training-time network without a cache."""
    with torch.no_grad():
        logits = model(memory, torch.tensor([[0, *tokens[:-1]]]))
    return logits[0].log_softmax(-1)[range(len(tokens)), tokens]


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_beam_wide_enough_finds_what_exhaustive_search_finds(penalty: float) -> None:
    vocabulary, steps = 4, 4
    model = random_captioner(vocabulary)
    memory = random_memory(model, 3)
    found = beam_search(model, memory, beam_size=vocabulary, max_length=steps, length_penalty=penalty)
    for image in range(3):
        one = rows(memory, slice(image, image + 1))
        every = {}
        for words in itertools.product(range(vocabulary), repeat=steps):
            end = words.index(0) + 1 if 0 in words else steps
            every[words[:end]] = None
        scored = []
        for words in every:
            total = float(teacher_forced(model, one, list(words)).sum())
            scored.append((total / len(words) ** penalty, total, list(words)))
        _, total, words = max(scored)
        assert sentence(found, image) == words
        assert float(found.log_probs[image, 0]) == pytest.approx(total, abs=1e-4)


def searched_in_lists(model: PCMNet, memory: Memory, width: int, steps: int) -> list[tuple[float, list[int]]]:
    """The paper's search of one image: all continuations of all beams, sorted; a sentence that has ended goes on as it is."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(steps):
        longer: list[tuple[float, list[int]]] = []
        for score, words in beams:
            if words and words[-1] == 0:
                longer.append((score, words))
                continue
            with torch.no_grad():
                gains = model(memory, torch.tensor([[0, *words]]))[0, -1].log_softmax(-1).tolist()
            longer += [(score + gain, [*words, word]) for word, gain in enumerate(gains)]
        beams = sorted(longer, reverse=True)[:width]
    return beams


def test_it_is_the_papers_search_unless_it_is_told_otherwise() -> None:
    model = random_captioner(30)
    memory = random_memory(model, 6)
    found = beam_search(model, memory)
    assert found.tokens.shape[1] == 3
    ended, cut = 0, 0
    for image in range(6):
        for beam, (score, words) in enumerate(searched_in_lists(model, rows(memory, slice(image, image + 1)), 3, 20)):
            assert sentence(found, image, beam) == words
            assert float(found.log_probs[image, beam]) == pytest.approx(score, abs=1e-3)
            ended, cut = ended + (words[-1] == 0), cut + (words[-1] != 0)
    assert ended
    assert cut, "some sentence must reach the last step"


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_log_probs_and_lengths_are_those_of_the_tokens(beams: int) -> None:
    model = random_captioner(30)
    memory = random_memory(model, 6)
    found = beam_search(model, memory, beams, max_length=12)
    assert found.tokens.shape[:2] == (6, beams)
    lengths = set()
    for image, beam in itertools.product(range(6), range(beams)):
        words = sentence(found, image, beam)
        lengths.add(len(words))
        assert 0 not in words[:-1]
        assert words[-1] == 0 or len(words) == 12
        assert not found.tokens[image, beam, len(words) :].any()
        expected = teacher_forced(model, rows(memory, slice(image, image + 1)), words).sum()
        assert float(found.log_probs[image, beam]) == pytest.approx(float(expected), abs=1e-3)
    assert len(lengths) > 1, "the toy captioner must end some beams before others"
    assert (found.log_probs[:, :-1] >= found.log_probs[:, 1:]).all()


def test_an_image_alone_gets_the_captions_it_gets_in_a_batch() -> None:
    model = random_captioner(30)
    memory = random_memory(model, 7)
    longest = torch.tensor([3, 12, 7, 12, 5, 9, 12])
    penalty = torch.linspace(0, 1, 7)
    bias = torch.randn(7, 30)
    together = beam_search(model, memory, 3, longest, penalty, 2, bias)
    for image in range(7):
        one = slice(image, image + 1)
        alone = beam_search(model, rows(memory, one), 3, longest[one], penalty[one], 2, bias[one])
        length = alone.tokens.shape[2]
        assert length <= longest[image]
        assert torch.equal(together.tokens[image, :, :length], alone.tokens[0])
        assert not together.tokens[image, :, length:].any()
        assert torch.equal(together.lengths[image], alone.lengths[0])
        torch.testing.assert_close(together.log_probs[image], alone.log_probs[0], atol=1e-4, rtol=0)


def test_one_beam_is_greedy() -> None:
    model = random_captioner(30)
    memory = random_memory(model, 3)
    found = beam_search(model, memory, 1, max_length=10)
    for image in range(3):
        words: list[int] = []
        while len(words) < 10 and (not words or words[-1]):
            with torch.no_grad():
                logits = model(rows(memory, slice(image, image + 1)), torch.tensor([[0, *words]]))
            words.append(int(logits[0, -1].argmax()))
        assert sentence(found, image) == words


def ngrams(words: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_ngram_forbids_just_the_repeats(n: int) -> None:
    model = random_captioner(12)
    model.predictor.logits.bias.data[0] -= 20  # nothing ends, so words repeat
    memory = random_memory(model, 6)
    free = beam_search(model, memory, 3, max_length=11)
    bound = beam_search(model, memory, 3, max_length=11, no_repeat_ngram=n)
    repeats = 0
    for image, beam in itertools.product(range(6), range(3)):
        words = sentence(bound, image, beam)
        assert len(set(ngrams(words, n))) == len(ngrams(words, n))
        words = sentence(free, image, beam)
        repeats += len(set(ngrams(words, n))) < len(ngrams(words, n))
    assert repeats, "the toy captioner must repeat itself when it may"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_ngram_is_greedy_without_the_repeats(n: int) -> None:
    model = random_captioner(12)
    model.predictor.logits.bias.data[0] -= 20
    memory = random_memory(model, 4)
    found = beam_search(model, memory, 1, max_length=11, no_repeat_ngram=n)
    for image in range(4):
        words: list[int] = []
        while len(words) < 11 and (not words or words[-1]):
            with torch.no_grad():
                logits = model(rows(memory, slice(image, image + 1)), torch.tensor([[0, *words]]))[0, -1]
            seen = set(ngrams(words, n))
            allowed = [w for w in range(12) if (*words[len(words) - n + 1 :], w) not in seen or len(words) < n - 1]
            words.append(max(allowed, key=lambda w: float(logits[w])))
        assert sentence(found, image) == words


def test_a_forbidden_word_is_not_written_and_the_rest_share_its_probability() -> None:
    model = random_captioner(30)
    memory = random_memory(model, 3)
    free = beam_search(model, memory, 2, max_length=8)
    word = sentence(free, 0)[0]
    bias = torch.zeros(3, 30)
    bias[0, word] = -1e4
    bound = beam_search(model, memory, 2, max_length=8, word_bias=bias)
    assert word not in bound.tokens[0]
    assert word in free.tokens[1:]
    assert torch.equal(bound.tokens[1:], free.tokens[1:])
    with torch.no_grad():
        logits = model(rows(memory, slice(0, 1)), torch.tensor([[0, *sentence(bound, 0)[:-1]]]))[0].clone()
    logits[:, word] = -1e4
    expected = logits.log_softmax(-1)[range(len(logits)), sentence(bound, 0)].sum()
    assert float(bound.log_probs[0, 0]) == pytest.approx(float(expected), abs=1e-3)


def test_a_beam_size_beyond_the_vocabulary_is_refused() -> None:
    model = random_captioner(12)
    with pytest.raises(ValueError, match="beam_size"):
        beam_search(model, random_memory(model, 1), 13)
