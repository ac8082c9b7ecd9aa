"""What goes beyond the paper: retrieved concepts, gated concepts, training on a reward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import TEST, run_of

from pcmnet.model.mixup import detect_concepts
from pcmnet.paper.concept_choice import _platt, gate_threshold, naming, retrieved_bias, training_captions
from pcmnet.paper.evaluate import captions_of_test
from pcmnet.paper.run import PaperRun
from pcmnet.paper.training import train

CONFIGS = Path(__file__).parents[2] / "configs"


def test_retrieved_captions_make_the_concepts_they_name_more_likely(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path, "inference.retrieved_captions=1", "inference.retrieval_weight=9.0")
    captions = training_captions(run)
    words, _ = run.concepts
    embedded = run.clip.texts.encode(captions)
    row = next(n for n, caption in enumerate(captions) if any(f" {word} " in f" {caption} " for word in words))
    (bias,) = retrieved_bias(run, torch.device("cpu"))(embedded[row : row + 1])
    assert [word for word, value in zip(words, bias.tolist(), strict=True) if value] == [
        word for word in words if f" {word} " in f" {captions[row]} "
    ]
    assert set(bias.tolist()) == {0.0, 9.0}
    detected = detect_concepts(embedded[row : row + 1], run.concepts[1], 1, 0.01, 0.0, 100 * bias[None]).ids.item()
    assert bias[detected] > 0
    assert len(captions_of_test(run.model(), run, run)) == TEST
    with pytest.raises(ValueError, match="exclude each other"):
        run_of(prepared, tmp_path, "inference.retrieved_captions=4", "inference.gate=0.5")


def test_the_gate_is_the_threshold_at_which_captions_name_concepts_so_often(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(prepared, tmp_path)
    words, vectors = run.concepts
    rng = torch.Generator().manual_seed(2)
    # Detected concepts are named with the probability that the network gives them, so the gate is the threshold itself.
    score = torch.rand(4000, 1, generator=rng)
    named = torch.rand(4000, 1, generator=rng) < score
    slope, intercept = _platt(torch.logit(score[:, 0].double(), eps=1e-9), named[:, 0].double())
    assert (slope, intercept) == (pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1))

    # Images that are the embedding of a concept their caption names, but for one in four.
    row = next(n for n, caption in enumerate(training_captions(run)) if naming([caption], words).any())
    named_concept = int(naming([training_captions(run)[row]], words)[0].argmax())
    other = next(n for n in range(len(words)) if not naming([training_captions(run)[row]], words)[0][n])
    monkeypatch.setitem(run.__dict__, "pairs", [run.pairs[row]] * 8)
    images = iter([vectors[other if n % 4 == 0 else named_concept].numpy() * (1 if n % 4 else 0.02) for n in range(8)] * 2)
    monkeypatch.setattr("pcmnet.paper.concept_choice.read_image", lambda _: next(images))
    low, high = (gate_threshold(run_with(run, gate)) for gate in (0.2, 0.8))
    assert 0 < low < high < 1


def run_with(run: PaperRun, gate: float) -> PaperRun:
    run.config.inference.gate = gate
    return run


def test_training_goes_on_to_the_reward_if_the_configuration_says_so(prepared: Path, tmp_path: Path) -> None:
    changes = ["captioner.epochs=1", "self_critical.steps=3", "self_critical.batch_size=4", "self_critical.samples=2"]
    run = run_of(prepared, tmp_path, *changes, "data.test=''", "self_critical.evaluate_every=3")
    assert train(run)["rewarded_steps"] == 3
    before, after = (run.model(tmp_path / name).state_dict() for name in ("epoch-1.pt", "rewarded.pt"))
    assert not torch.equal(before["predictor.logits.weight"], after["predictor.logits.weight"])
    assert torch.equal(before["visual_embed.proj"], after["visual_embed.proj"])
