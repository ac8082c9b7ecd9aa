"""The concept map brings words to the photos that show them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from pcmnet.config import Config
from pcmnet.data.lexicon import nouns_of
from pcmnet.data.photos import Photo, caption_shares
from pcmnet.model.pcm_net import ConceptMap
from pcmnet.train.concept_map import precision, train_concept_map
from pcmnet.train.loop import Log

WORDS = ["dog", "cat", "horse", "ball", "boat", "tree", "car", "bird"]


def photos_of(count: int) -> list[Photo]:
    kinds = [(WORDS[i % 8], WORDS[(i + 1) % 8]) for i in range(count)]
    return [Photo(i, f"{i}.jpg", "toy", "train", (f"a {a} and a {b}", f"the {a}")) for i, (a, b) in enumerate(kinds)]


def test_shares_count_captions_that_name_a_word():
    assert caption_shares(photos_of(1), WORDS, nouns_of)[0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0]


def test_the_map_raises_the_precision(tmp_path: Path):
    torch.manual_seed(0)
    texts = F.normalize(torch.randn(8, 16), dim=-1)
    turned = torch.linalg.qr(torch.randn(16, 16)).Q
    photos = photos_of(256)
    images = F.normalize(
        torch.from_numpy(caption_shares(photos, WORDS, nouns_of)) @ texts @ turned + 0.02 * torch.randn(256, 16), dim=-1
    )
    config = Config()
    config.concepts.batch_size = 32
    before = precision(images, texts, WORDS, photos, top=2)
    moved = train_concept_map(config, images, photos, images, photos, WORDS, texts, Log(tmp_path / "log.jsonl"))
    with torch.no_grad():
        assert precision(images, moved(texts), WORDS, photos, top=2) > before + 0.5


def test_an_untrained_map_moves_nothing():
    unit = F.normalize(torch.randn(5, 16), dim=-1)
    torch.testing.assert_close(ConceptMap(16)(unit), unit)
