"""The long tuning of the tower: it resumes as if it had never stopped, keeps an average, and its losses are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from toy_tuning import CLASSES, SIDE, run_toy_tuning, toy

from pcmnet.config import AugmentConfig, TuneConfig
from pcmnet.data.augment import augmented, draw_crop
from pcmnet.data.detector import at_side, cropped_map
from pcmnet.model.folded_tower import folded_grid
from pcmnet.model.lite_tower import LiteTower
from pcmnet.train.dual_encoder import tower_loss
from pcmnet.train.loop import Checkpoint
from pcmnet.train.tune_tower import (
    caption_contrast,
    evaluate_tower,
    mean_average_precision,
    side_at,
)


def test_a_run_that_was_stopped_ends_where_another_does(tmp_path: Path) -> None:
    whole, _ = run_toy_tuning(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_toy_tuning(tmp_path / "parts", stop=True)
    resumed, _ = run_toy_tuning(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_what_is_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    last, checkpoint = run_toy_tuning(tmp_path / "last", average_decay=0.0)
    state = checkpoint.load()
    assert state is not None
    assert all(torch.equal(value, state["model"][name]) for name, value in last.state_dict().items())
    averaged, checkpoint = run_toy_tuning(tmp_path / "averaged")
    state = checkpoint.load()
    assert state is not None
    assert not torch.equal(averaged.encoder.text.weight, state["model"]["encoder.text.weight"])
    assert torch.equal(averaged.encoder.text.weight, state["average"]["encoder.text.weight"])


def test_a_packed_state_goes_on_without_the_optimizers_moments(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_toy_tuning(tmp_path, stop=True)
    checkpoint = Checkpoint(tmp_path / "tune.ckpt")
    state = checkpoint.load()
    assert state is not None
    checkpoint.save({name: state[name] for name in ("model", "average", "step")})
    run_toy_tuning(tmp_path)
    state = checkpoint.load()
    assert state is not None
    assert (state["step"], state["rewarmed"]) == (6, 2)


def test_frozen_blocks_stay_as_they_are(tmp_path: Path) -> None:
    fresh = toy().model
    tuned, _ = run_toy_tuning(tmp_path)
    before, after = fresh.tower.network, tuned.tower.network
    assert torch.equal(before._blocks[1]._project_conv.weight, after._blocks[1]._project_conv.weight)
    assert not torch.equal(before._blocks[2]._project_conv.weight, after._blocks[2]._project_conv.weight)
    assert torch.equal(before._bn1.running_mean, after._bn1.running_mean)


def test_folded_batch_normalisation_changes_nothing() -> None:
    torch.manual_seed(0)
    tower = LiteTower("efficientnet-lite0", SIDE, pretrained=False).eval()
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    pixels = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(folded_grid(tower, pixels, 3), tower(pixels), atol=1e-5, rtol=1e-4)


def test_contrast_with_one_caption_a_photo_is_the_plain_loss() -> None:
    torch.manual_seed(0)
    images, texts, others = (F.normalize(torch.randn(n, 8), dim=-1) for n in (5, 5, 9))
    scale = torch.tensor(7.0)
    expected = tower_loss(scale, images, texts, others)
    torch.testing.assert_close(caption_contrast(scale, images, texts[:, None], others), expected)


def test_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, shares = rng.random((30, 4)), rng.integers(0, 6, (30, 4)) / 5
    expected = np.mean([average_precision_score(shares[:, w] >= 0.4, scores[:, w]) for w in range(4)])
    assert mean_average_precision(torch.from_numpy(scores), torch.from_numpy(shares)) == pytest.approx(expected, abs=1e-6)


def test_the_evaluation_counts_the_banks_own_photos_only() -> None:
    _, model, pixels, targets, dev = toy()
    found = evaluate_tower(model, pixels, dev, targets)
    assert found["text_to_image_r10"] == 1  # of four photos


def test_sides_share_the_steps() -> None:
    assert [side_at(TuneConfig(sides=[192, 224]), step, 5) for step in range(5)] == [192, 192, 192, 224, 224]


def test_scores_of_a_crop_are_those_of_its_cells() -> None:
    scores = np.zeros((4, 4, 1), np.uint8)
    scores[1, 2] = 9
    assert cropped_map(scores, 0, 0, 1, 1, 2)[..., 0].tolist() == [[0, 9], [0, 0]]
    assert cropped_map(scores, 0.25, 0.5, 0.5, 0.5, 2)[..., 0].tolist() == [[9, 0], [0, 0]]
    assert cropped_map(scores, 0, 0, 1, 1, 8)[..., 0].max(1).tolist() == [0, 0, 9, 9, 0, 0, 0, 0]
    grid = np.arange(4, dtype=np.float32).reshape(2, 2, 1)
    assert at_side(grid, 4)[..., 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert at_side(at_side(grid, 4), 1).item() == 3


def test_mirrored_crops_have_mirrored_scores() -> None:
    targets = toy().targets
    crop = draw_crop(AugmentConfig(), np.random.default_rng(0))
    plain, mirrored = (targets.scores(np.array([0]), [replace(crop, mirrored=m)], 2).view(2, 2, CLASSES) for m in (False, True))
    assert torch.equal(plain.flip(1), mirrored)


def test_an_augmentation_without_strength_is_a_resize() -> None:
    still = AugmentConfig(min_crop_area=1, max_aspect=1, brightness=0, contrast=0, saturation=0, jpeg_chance=0, resample_chance=0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    variants, crops = augmented(pixels, 32, still, np.random.default_rng(1))
    assert {crop.mirrored for crop in crops} == {False, True}
    for variant, crop, photo in zip(variants, crops, pixels, strict=True):
        same = photo[:, ::-1] if crop.mirrored else photo
        assert np.abs(variant.astype(int) - same).max() <= 1
