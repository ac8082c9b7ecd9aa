"""Training resumes as if it had never stopped, and learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pcmnet.config import Config, read_config
from pcmnet.data import Photo
from pcmnet.loss import caption_loss
from pcmnet.model import PCMNet
from pcmnet.text import Vocabulary
from pcmnet.train_captioner import Captions, Texts, View, train_captioner
from pcmnet.training import Checkpoint, Log

WORDS = ["a", "the", "dog", "cat", "horse", "runs", "sleeps", "eats", "here", "there"]


def toy() -> tuple[Config, list[Photo], View, Vocabulary, torch.Tensor]:
    config = Config()
    config.model.__dict__.update(
        grid_width=12,
        embedding=8,
        patches=3,
        width=16,
        heads=2,
        ffn=32,
        k=2,
        k2=2,
        encoder_layers=1,
        decoder_layers=1,
        max_words=6,
    )
    config.captioner.__dict__.update(batch_size=4, epochs=4, warmup_steps=2, captions_per_photo=2, bf16=False, learning_rate=3e-3)
    rng = np.random.default_rng(0)
    photos = [
        Photo(i, f"{i}.jpg", "toy", "train", tuple(" ".join(rng.choice(WORDS, 4)) for _ in range(1 + i % 3))) for i in range(16)
    ]
    vocabulary = Vocabulary(WORDS)
    config.model.vocabulary = len(vocabulary)
    torch.manual_seed(0)
    grid = torch.randn(16, 3, 12).half().numpy()
    view = View(grid, torch.randn(16, 3, 8).half(), F.normalize(torch.randn(16, 8), dim=-1))
    return config, photos, view, vocabulary, F.normalize(torch.randn(5, 8), dim=-1)


def toy_texts(vocabulary: Vocabulary) -> Texts:
    return Texts([["a", "dog"], ["the", "cat", "sleeps"]], F.normalize(torch.eye(2, 8), dim=-1), vocabulary, 6)


def run(folder: Path, epochs: int, with_texts: bool = False) -> tuple[PCMNet, list[dict[str, float]]]:
    config, photos, view, vocabulary, concepts = toy()
    torch.manual_seed(1)
    model = PCMNet(config.model)
    captions = Captions(photos, vocabulary, config.model.max_words)
    texts = toy_texts(vocabulary) if with_texts else None
    config.refine.text_batch = 5
    seen: list[dict[str, float]] = []

    def evaluate(_: PCMNet) -> dict[str, float]:
        seen.append({})
        if len(seen) == epochs:
            raise KeyboardInterrupt
        return {}

    def go() -> None:
        checkpoint, log = Checkpoint(folder / "state.ckpt"), Log(folder / "log.jsonl")
        views = [view, view]
        train_captioner(config, model, views, concepts, photos, captions, checkpoint, log, evaluate, texts=texts, save_every=1)

    if epochs < config.captioner.epochs:
        with pytest.raises(KeyboardInterrupt):
            go()
    else:
        go_on = epochs > config.captioner.epochs
        assert go_on
        go()
    return model, seen


@pytest.mark.parametrize("with_texts", [False, True])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, with_texts: bool) -> None:
    whole, _ = run(tmp_path / "whole", 5, with_texts)
    run(tmp_path / "parts", 2, with_texts)
    resumed, seen = run(tmp_path / "parts", 5, with_texts)
    assert len(seen) == 3  # the epoch that was stopped in its evaluation is evaluated again
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_photos_with_fewer_captions_have_rows_without_target() -> None:
    _, photos, _, vocabulary, _ = toy()
    captions = Captions(photos, vocabulary, 6)
    tokens, targets, _ = captions.draw(np.array([0, 2]), 3, np.random.default_rng(0))  # one caption, three captions
    assert tokens.shape == targets.shape == (6, 5)
    assert (targets >= 0).any(1).tolist() == [True, False, False, True, True, True]


def test_configurations_refuse_unknown_names_and_wrong_types(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[model]\nk = 3\n[captioner]\nlearning_rate = 1\n")
    assert read_config(file).model.k == 3
    file.write_text("[model]\nlayers = 3\n")
    with pytest.raises(ValueError, match=r"unknown setting model\.layers"):
        read_config(file)
    file.write_text('[model]\nk = "many"\n')
    with pytest.raises(ValueError, match=r"model\.k must be int"):
        read_config(file)


def test_captions_without_photos_are_learnt_from_their_embeddings() -> None:
    config, _, _, vocabulary, concepts = toy()
    config.model.__dict__.update(
        noise_variance=0.0, dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0, output_dropout=0.0
    )
    config.model.token_dropout = 0.0
    torch.manual_seed(1)
    model = PCMNet(config.model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    embeddings, tokens, targets = toy_texts(vocabulary).draw(16, np.random.default_rng(0))
    assert tokens.shape == targets.shape == (16, 4)
    for _ in range(60):
        loss = caption_loss(model.of_text(embeddings, concepts, tokens), targets, smoothing=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
