"""Captions that a model draws are rewarded as CIDEr-D would judge them, and training raises that reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pycocoevalcap.cider.cider_scorer import CiderScorer
from toy_training import toy

from pcmnet.data.photos import Photo
from pcmnet.data.text import UNKNOWN, Vocabulary
from pcmnet.evaluate.captioning import forbid
from pcmnet.model.pcm_net import PCMNet
from pcmnet.train.loop import Checkpoint, Log
from pcmnet.train.self_critical import CiderReward, advantages, captions_of, sample, train_self_critical, written

PHOTOS = [
    Photo(0, "0.jpg", "toy", "train", ("a dog runs here", "the dog runs there")),
    Photo(1, "1.jpg", "toy", "train", ("a cat sleeps here", "the cat sleeps there")),
    Photo(2, "2.jpg", "toy", "train", ("a horse eats here", "the horse eats there")),
]


def test_the_reward_is_the_librarys_cider_when_all_photos_are_scored_at_once():
    texts = ["a dog runs here <eos>", "the dog sleeps there <eos>", "a horse <eos>"]
    scorer = CiderScorer()
    for text, photo in zip(texts, PHOTOS, strict=True):
        scorer += (text, [f"{caption} <eos>" for caption in photo.captions])
    scorer.compute_doc_freq()
    expected = torch.tensor(scorer.compute_cider(), dtype=torch.float32)
    rewards = CiderReward(PHOTOS)([text.split() for text in texts], [0, 1, 2])
    torch.testing.assert_close(rewards, expected)


def test_the_reward_of_a_caption_does_not_depend_on_the_others_of_its_batch():
    reward, words = CiderReward(PHOTOS), ["a", "dog", "runs", "here", "<eos>"]
    alone = reward([words], [0])
    assert reward([words, ["a", "cat"], words], [0, 1, 2])[0] == alone[0] > 0


def test_a_caption_that_does_not_end_is_worth_less():
    reward = CiderReward(PHOTOS)
    ended, cut = reward([[*["a", "dog", "runs", "here"], "<eos>"], ["a", "dog", "runs", "here"]], [0, 0])
    assert ended > cut


def test_advantages_compare_a_caption_with_the_others_of_its_photo():
    found = advantages(torch.tensor([1.0, 0.0, 0.5, 3.0, 3.0, 3.0]), 3)
    torch.testing.assert_close(found, torch.tensor([0.75, -0.75, 0.0, 0.0, 0.0, 0.0]))


def test_words_up_to_the_end_were_chosen():
    tokens = torch.tensor([[5, 6, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]])
    assert written(tokens).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    words = Vocabulary(["a", "b", "c", "d", "e", "f"])
    assert captions_of(tokens, words) == [["e", "f", "<eos>"], ["<eos>"], ["a", "b", "c", "d"]]


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_samples_follow_the_models_probabilities(temperature: float):
    config, _, view, vocabulary, concepts = toy()
    config.model.vocabulary = len(vocabulary)
    torch.manual_seed(3)
    model = PCMNet(config.model).eval()
    with torch.no_grad():
        memory = model.encode(*view.batch([0, 1]), concepts)
        expected = (model(memory, torch.zeros(2, 1, dtype=torch.long))[:, 0] / temperature).softmax(-1)
        drawn = sample(model, memory, 4000, torch.zeros(1, len(vocabulary)), temperature)
    first = drawn[:, 0].view(2, 4000)
    found = torch.stack([torch.bincount(row, minlength=len(vocabulary)) / 4000 for row in first])
    assert (found - expected).abs().max() < 0.04
    after_end = (drawn == 0).long().cumsum(1)[:, :-1] > 0
    assert (drawn[:, 1:][after_end] == 0).all()


def test_a_forbidden_word_is_never_drawn():
    config, _, view, _, concepts = toy()
    vocabulary = Vocabulary(["a", "dog", UNKNOWN])
    config.model.vocabulary = len(vocabulary)
    model = PCMNet(config.model).eval()
    with torch.no_grad():
        drawn = sample(model, model.encode(*view.batch([0]), concepts), 200, forbid(vocabulary, [UNKNOWN]))
    assert vocabulary.ids[UNKNOWN] not in drawn


def trained(folder: Path, interrupt: bool, steps: int) -> PCMNet:
    config, photos, view, vocabulary, concepts = toy()
    settings = {
        "batch_size": 16,
        "steps": steps,
        "learning_rate": 2e-2,
        "warmup_steps": 2,
        "evaluate_every": 10_000,
        "samples": 8,
    }
    settings["cross_entropy"] = 0.0
    config.self_critical.__dict__.update(settings)
    config.model.dropout = config.model.attention_dropout = config.model.embedding_dropout = 0.1
    config.model.output_dropout = 0.1
    torch.manual_seed(1)
    model = PCMNet(config.model)
    checkpoint = Checkpoint(folder / "state.ckpt")

    def go() -> None:
        log = Log(folder / "log.jsonl")
        train_self_critical(config, model, [view], concepts, photos, vocabulary, checkpoint, log, lambda _: {}, save_every=1)

    if interrupt:
        config.self_critical.evaluate_every = 3
        # Stopped where an evaluation would be, then begun anew with another model, as a new process would.
        with pytest.raises(KeyboardInterrupt):
            train_self_critical(
                config,
                model,
                [view],
                concepts,
                photos,
                vocabulary,
                checkpoint,
                Log(folder / "log.jsonl"),
                _interrupt,
                save_every=1,
            )
        config.self_critical.evaluate_every = 10_000
        model = PCMNet(config.model)
    go()
    return model


def _interrupt(_: PCMNet) -> dict[str, float]:
    raise KeyboardInterrupt


def test_training_raises_the_reward(tmp_path: Path):
    trained(tmp_path, interrupt=False, steps=120)
    rewards = [json.loads(line)["reward"] for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(rewards[-3:]) > 1.5 * sum(rewards[:3])


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "halves").mkdir()
    whole = trained(tmp_path / "whole", interrupt=False, steps=8)
    halves = trained(tmp_path / "halves", interrupt=True, steps=8)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halves.state_dict()[name], value, msg=name)
