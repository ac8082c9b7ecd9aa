"""Training resumes as if it had never stopped, and learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from toy_training import toy, toy_texts

from pcmnet.config import read_config
from pcmnet.data.captions import Captions
from pcmnet.model.pcm_net import PCMNet
from pcmnet.train.captioner import train_captioner
from pcmnet.train.loop import Checkpoint, Log, bf16_autocast, seed_step
from pcmnet.train.loss import caption_loss


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


def test_an_epoch_is_shuffled_and_leaves_out_the_last_partial_batch(tmp_path: Path) -> None:
    config, photos, view, vocabulary, concepts = toy()
    config.captioner.batch_size, config.captioner.epochs = 5, 2
    drawn: list[list[int]] = []

    class Noting(Captions):
        def draw(self, indices: NDArray[np.int64], n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
            drawn.append(indices.tolist())
            return super().draw(indices, n, rng)

    captions = Noting(photos, vocabulary, config.model.max_words)
    checkpoint, log = Checkpoint(tmp_path / "state.ckpt"), Log(tmp_path / "log.jsonl")
    train_captioner(config, PCMNet(config.model), [view], concepts, photos, captions, checkpoint, log, lambda _: {})
    assert [len(batch) for batch in drawn] == [5] * 6  # 16 photos, of which one is left
    first, second = drawn[:3], drawn[3:]
    for epoch in (first, second):
        assert len({row for batch in epoch for row in batch}) == 15
    assert first != second


def test_bf16_computes_in_bfloat16_but_chooses_concepts_and_patches_in_float32(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    config, photos, view, vocabulary, concepts = toy()
    torch.manual_seed(1)
    model = PCMNet(config.model).train()
    features = view.batch(np.arange(16))
    exact = model.encode(*features, concepts)
    with bf16_autocast():
        rough = model.encode(*features, concepts)
        assert model(rough, torch.zeros(16, 2, dtype=torch.int64)).dtype == torch.bfloat16
    assert torch.equal(rough.concepts.scores, exact.concepts.scores)
    assert torch.equal(rough.patch_scores, exact.patch_scores)

    def change(bf16: bool) -> Tensor:
        config.captioner.bf16 = bf16
        torch.manual_seed(1)
        model = PCMNet(config.model)
        before = torch.cat([value.flatten() for value in model.state_dict().values()])
        captions = Captions(photos, vocabulary, config.model.max_words)
        checkpoint, log = Checkpoint(tmp_path / f"{bf16}.ckpt"), Log(tmp_path / "log.jsonl")
        train_captioner(config, model, [view], concepts, photos, captions, checkpoint, log, lambda _: {})
        return torch.cat([value.flatten() for value in model.state_dict().values()]) - before

    full, half = change(False), change(True)
    assert 0 < (full - half).norm() < 0.3 * full.norm()


def test_every_step_and_every_process_draws_its_own_numbers() -> None:
    def drawn(seed: int, step: int, process: int) -> tuple[float, float]:
        return seed_step(seed, step, process).random(), torch.rand(1).item()

    assert drawn(1, 7, 0) == drawn(1, 7, 0)
    assert len({number for given in ((1, 7, 0), (1, 8, 0), (1, 7, 1), (2, 7, 0)) for number in drawn(*given)}) == 8


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
