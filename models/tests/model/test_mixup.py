"""Both forms of the mixup against three patches worked out by hand: two concepts, two dimensions, projections that copy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pcmnet.config import ModelConfig
from pcmnet.model.pcm_net import VisualEmbed

GRID = torch.tensor([[[3.0, 1.0], [1.0, 5.0], [4.0, 2.0]]])
LOCAL = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [0.6, 0.8]]])
IMAGE = torch.tensor([[0.8, 0.6]])
VOCABULARY = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])
# Cosines of the image with them: 0.6, -0.8, 0.8. So the concepts are number 2 and number 0, S is [[1, 0], [0, 1], [0.6, 0.8]].
POSITIONS = torch.tensor([[[0.0, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 0.4]]])
TYPES = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
T_BIAS = 10.0
"""Of the projection of concept features, so that replaced patches show."""


@pytest.fixture
def embed() -> VisualEmbed:
    sizes = {"grid_width": 2, "embedding": 2, "patches": 3, "width": 2, "heads": 1}
    config = ModelConfig(k=2, k2=2, temperature=1.0, noise_variance=0.0, embedding_dropout=0.0, **sizes)
    module = VisualEmbed(config, own_projection=False)
    with torch.no_grad():
        for linear in (module.embeddings, module.g_embeddings, module.t_embeddings):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
        module.t_embeddings.bias.fill_(T_BIAS)
        module.embeddings_pos.copy_(POSITIONS)
        module.embeddings_token_type.weight.copy_(TYPES)
    module.embeddings_norm = torch.nn.Identity()  # a LayerNorm of two numbers leaves only which is larger
    return module


def share(difference: float) -> float:
    """The first of two softmax weights whose logits differ by so much."""
    return 1 / (1 + math.exp(-difference))


def concept(first: float) -> tuple[float, float]:
    """v of a patch, projected: tag [1, 0] has this weight and tag [0, 1] the rest."""
    return first + T_BIAS, 1 - first + T_BIAS


def test_training_replaces_the_patches_of_the_two_largest_cells(embed: VisualEmbed) -> None:
    """Cells of cosine 1: patch 0 with the first concept, patch 1 with the second."""
    found, mask, concepts, similarity = embed.train()(GRID, LOCAL, IMAGE, VOCABULARY)
    assert concepts.ids.tolist() == [[2, 0]]
    torch.testing.assert_close(similarity, torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]]))
    (a, b), (c, d) = concept(share(1)), concept(share(-1))
    expected = torch.tensor([[[0.8, 0.7], [a + 0.5, b + 0.2], [c + 0.5, d + 0.3], [4.0, 2.4]]])
    torch.testing.assert_close(found, expected)
    assert mask.tolist() == [[1, 1, 1, 1]]


def test_inference_appends_the_concept_features_and_hides_those_that_are_not_salient(embed: VisualEmbed) -> None:
    found, mask, _, _ = embed.eval()(GRID, LOCAL, IMAGE, VOCABULARY)
    (a, b), (c, d), (e, f) = concept(share(1)), concept(share(-1)), concept(share(-0.2))
    image_and_patches = [[0.8, 0.7], [3.0, 1.2], [1.0, 5.3], [4.0, 2.4]]
    appended = [[a + 0.5, b + 0.2], [c + 0.5, d + 0.3], [e, f + 0.4]]
    torch.testing.assert_close(found, torch.tensor([[*image_and_patches, *appended]]))
    assert mask.tolist() == [[1, 1, 1, 1, 1, 1, 0]]


def test_a_salient_patch_may_have_both_cells(embed: VisualEmbed) -> None:
    """Both largest cosines, 0.6 and 0.8, are of patch 0, so one patch is replaced."""
    local = torch.tensor([[[0.6, 0.8], [0.0, -1.0], [-1.0, 0.0]]])
    found, _, _, _ = embed.train()(GRID, local, IMAGE, VOCABULARY)
    replaced = found[0, 1:, 0] > T_BIAS
    assert replaced.tolist() == [True, False, False]
    kept: Tensor = GRID + POSITIONS[:, 1:]
    torch.testing.assert_close(found[:, 2:], kept[:, 1:])
