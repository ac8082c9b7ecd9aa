"""Two styles of captions in one decoder: start tokens, shares of the training photos, and rewards of two worlds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import toy

from pcmnet.config import Config
from pcmnet.data.photos import Photo
from pcmnet.embedded.stages import captioner_photos
from pcmnet.evaluate.captioning import caption_rows
from pcmnet.model.beam_search import beam_search
from pcmnet.model.pcm_net import PCMNet
from pcmnet.train.captioner import Captions, train_captioner
from pcmnet.train.loop import Checkpoint, Log
from pcmnet.train.self_critical import CiderReward, WorldsReward, sample, train_self_critical
from pcmnet.train.sources import served, start_tokens, with_share

SOURCES = ["flickr", "coco"]


def photo(row: int, source: str, *captions: str, split: str = "train", teacher: str = "") -> Photo:
    return Photo(row, f"{row}.jpg", source, split, captions, teacher)


def two_styles() -> tuple[Config, list[Photo]]:
    """The same photos, told in one word or in another by where they come from."""
    config, photos, _, _, _ = toy()
    config.model.sources = SOURCES
    told = [
        replace(p, source="flickr8k" if n % 2 else "coco2014-val", captions=("dog",) if n % 2 else ("cat",))
        for n, p in enumerate(photos)
    ]
    return config, told


def test_one_decoder_learns_both_styles_and_writes_the_one_that_is_asked_for(tmp_path: Path) -> None:
    _, _, view, vocabulary, concepts = toy()
    config, photos = two_styles()
    config.captioner.__dict__.update(epochs=60, learning_rate=1e-2)
    config.model.__dict__.update(dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0, output_dropout=0.0)
    torch.manual_seed(1)
    model = PCMNet(config.model)
    captions = Captions(photos, vocabulary, 6, start_tokens(photos, config.model))
    checkpoint, log = Checkpoint(tmp_path / "state.ckpt"), Log(tmp_path / "log.jsonl")
    train_captioner(config, model, [view], concepts, photos, captions, checkpoint, log, lambda _: {})
    rows = [p.row for p in photos]
    assert set(caption_rows(served(model, "flickr"), view, rows, concepts, vocabulary)) == {"dog"}
    assert set(caption_rows(served(model, "coco"), view, rows, concepts, vocabulary)) == {"cat"}


def test_a_served_network_is_one_without_sources() -> None:
    config, _, view, vocabulary, concepts = toy()
    plain = PCMNet(config.model).eval()
    assert served(plain) is plain
    sourced = PCMNet(replace(config.model, sources=SOURCES, served_source="coco")).eval()
    copied = served(sourced)
    assert copied.token_embed.embeddings.weight.shape == plain.token_embed.embeddings.weight.shape
    assert torch.equal(copied.token_embed.embeddings.weight[0], sourced.token_embed.embeddings.weight[len(vocabulary) + 1])
    assert torch.equal(copied.token_embed.embeddings.weight[1:], sourced.token_embed.embeddings.weight[1 : len(vocabulary)])
    with torch.inference_mode():
        memory = copied.encode(*view.batch(np.arange(2)), concepts)
        beams = beam_search(copied, memory, 2, 6, 0.0, 0, torch.zeros(2, len(vocabulary)))
        start = torch.full((2, 1), len(vocabulary) + 1)
        torch.testing.assert_close(sourced(memory, start), copied(memory, torch.zeros(2, 1, dtype=torch.long)))
    assert int(beams.tokens.max()) < len(vocabulary)


def test_a_photo_of_an_unknown_source_is_refused() -> None:
    config, _ = two_styles()
    with pytest.raises(ValueError, match="begins with none of flickr, coco"):
        start_tokens([photo(0, "paintings", "a dog")], config.model)


def test_samples_begin_as_they_are_told() -> None:
    config, _ = two_styles()
    _, _, view, vocabulary, concepts = toy()
    torch.manual_seed(3)
    model = PCMNet(config.model).eval()
    with torch.no_grad():
        model.token_embed.embeddings.weight[len(vocabulary) :] *= 20
        memory = model.encode(*view.batch(np.array([0])), concepts)
        expected = model(memory, torch.tensor([[len(vocabulary) + 1]]))[0, 0].softmax(-1)
        starts = torch.full((4000, 1), len(vocabulary) + 1)
        drawn = sample(model, memory, 4000, torch.zeros(1, len(vocabulary)), starts=starts)
    found = torch.bincount(drawn[:, 0], minlength=len(vocabulary)) / 4000
    assert (found - expected).abs().max() < 0.04


@pytest.mark.parametrize(("share", "expected"), [(0.0, 2), (0.25, 2), (0.5, 6), (0.6, 9)])
def test_photos_are_repeated_until_they_have_their_share(share: float, expected: int) -> None:
    photos = [photo(n, "flickr8k" if n < 2 else "coco2014-val", "a") for n in range(8)]
    found = with_share(photos, "flickr", share, seed=1)
    assert found[:8] == photos
    assert sum(p.source == "flickr8k" for p in found) == expected
    assert found == with_share(photos, "flickr", share, seed=1)


def test_what_the_captioner_learns_from_is_as_the_configuration_says() -> None:
    photos = [
        photo(0, "flickr8k", "a", "b"),
        photo(1, "coco2014-val", "c", teacher="d"),
        photo(2, "coco2014-train-cocoqa", "e", split="cocoqa"),
        photo(3, "coco2017-val", "f", split="dev-coco17", teacher="g"),
    ]
    config = Config()
    assert captioner_photos(photos, config) == photos[:2]
    config.captioner.teacher = config.captioner.rebuilt = True
    assert [p.captions for p in captioner_photos(photos, config)] == [("a", "b"), ("c", "d"), ("e",)]
    config.captioner.flickr_share = 0.5
    assert [p.row for p in captioner_photos(photos, config)] == [0, 1, 2, 0]


def test_each_world_has_document_frequencies_of_its_own() -> None:
    flickr = [photo(n, "flickr8k", f"a dog runs {w}") for n, w in enumerate(("here", "there", "up"))]
    coco = [photo(n, "coco2014-val", f"a bowl of {w}") for n, w in enumerate(("soup", "rice", "fruit", "dogs"))]
    mixed = [coco[0], flickr[0], coco[1], flickr[1], coco[2], flickr[2], coco[3]]
    texts = [["a", "dog", "runs", "here"], ["a", "bowl", "of", "soup"], ["a", "dog"], ["a", "bowl", "of", "dogs"]]
    found = WorldsReward(mixed, SOURCES)(texts, [1, 0, 5, 6])
    expected = torch.stack(
        [
            CiderReward(flickr)([texts[0]], [0])[0],
            CiderReward(coco)([texts[1]], [0])[0],
            CiderReward(flickr)([texts[2]], [2])[0],
            CiderReward(coco)([texts[3]], [3])[0],
        ]
    )
    torch.testing.assert_close(found, expected)
    one = WorldsReward(mixed, [])(texts, [1, 0, 5, 6])
    torch.testing.assert_close(one, CiderReward(mixed)(texts, [1, 0, 5, 6]))


def test_rewards_of_two_worlds_teach_each_source_its_own_style(tmp_path: Path) -> None:
    config, photos = two_styles()
    _, _, view, vocabulary, concepts = toy()
    photos = [replace(p, captions=("a dog runs",) if p.source == "flickr8k" else ("the cat sleeps",)) for p in photos]
    config.model.__dict__.update(dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0, output_dropout=0.0)
    config.captioner.learning_rate = 1e-2
    config.self_critical.__dict__.update(
        worlds=SOURCES,
        batch_size=8,
        samples=5,
        steps=80,
        warmup_steps=1,
        learning_rate=1e-2,
        average_decay=0.5,
        cross_entropy=1.0,
    )
    torch.manual_seed(1)
    model = PCMNet(config.model)
    checkpoint, log = Checkpoint(tmp_path / "state.ckpt"), Log(tmp_path / "log.jsonl")
    train_self_critical(config, model, [view], concepts, photos, vocabulary, checkpoint, log, lambda _: {})
    rows = [p.row for p in photos]
    assert set(caption_rows(served(model, "flickr"), view, rows, concepts, vocabulary)) == {"a dog runs"}
    assert set(caption_rows(served(model, "coco"), view, rows, concepts, vocabulary)) == {"the cat sleeps"}
