"""PCM-Net against the facts of its paper and of its released checkpoints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcmnet.config import ModelConfig
from pcmnet.mixup import concept_features, cosine_of_patches, detect_concepts, salient_patches
from pcmnet.model import PCMNet

RELEASED = {
    "COCO B/32": (768, 512, 49, 10_200, 34_916_824),
    "COCO L/14": (1024, 768, 64, 10_200, 35_711_448),
    "Flickr30k B/32": (768, 512, 49, 7_553, 32_203_649),
    "Flickr30k L/14": (1024, 768, 64, 7_553, 32_998_273),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_shapes_have_the_released_number_of_parameters(name: str) -> None:
    grid, embedding, patches, vocabulary, parameters = RELEASED[name]
    config = ModelConfig(grid_width=grid, embedding=embedding, patches=patches, vocabulary=vocabulary)
    with torch.device("meta"):
        model = PCMNet(config, own_projection=True)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == 149


def small(**changes: object) -> PCMNet:
    torch.manual_seed(0)
    sizes = {
        "grid_width": 12,
        "embedding": 8,
        "patches": 3,
        "vocabulary": 11,
        "width": 16,
        "heads": 2,
        "ffn": 32,
        "k": 2,
        "k2": 2,
    }
    return PCMNet(ModelConfig(**{**sizes, **changes}))  # type: ignore[arg-type]


def inputs(batch: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    unit = F.normalize(torch.randn(batch, 8), dim=-1)
    return torch.randn(batch, 3, 12), torch.randn(batch, 3, 8), unit, F.normalize(torch.randn(7, 8), dim=-1)


def test_concepts_are_the_nearest_words_with_their_shares_of_the_softmax() -> None:
    image = torch.tensor([[1.0, 0.0]])
    vocabulary = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    found = detect_concepts(image, vocabulary, k=2, temperature=1.0, threshold=0.0)
    shares = torch.tensor([0.0, 1.0, 0.6]).softmax(0)
    assert found.ids.tolist() == [[1, 2]]
    assert torch.allclose(found.scores[0], shares[[1, 2]])


def test_a_concept_under_the_threshold_keeps_its_slot_as_a_zero_vector() -> None:
    image = torch.tensor([[1.0, 0.0]])
    vocabulary = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    found = detect_concepts(image, vocabulary, k=2, temperature=1.0, threshold=0.5)
    assert found.tags.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
    patches = cosine_of_patches(torch.tensor([[[1.0, 0.0]]]), found.tags)
    assert torch.allclose(patches, torch.tensor([[[1.0, 0.0]]]))
    # The zeroed tag takes softmax weight and contributes nothing.
    feature = concept_features(patches, found.tags, temperature=1.0)
    assert torch.allclose(feature[0, 0], torch.tensor([1.0, 0.0]) * torch.tensor([1.0, 0.0]).softmax(0)[0])


def test_top_mode_replaces_the_patches_of_the_largest_cells_which_may_share_a_patch() -> None:
    similarity = torch.tensor([[[0.9, 0.8], [0.1, 0.2], [0.3, 0.7]]])
    assert salient_patches(similarity, 2, "top", training=True).tolist() == [[1, 0, 0]]
    assert salient_patches(similarity, 3, "top", training=True).tolist() == [[1, 0, 1]]
    assert salient_patches(similarity, 0.5, "top", training=True).tolist() == [[1, 0, 1]]


def test_other_modes_replace_every_no_or_random_patches() -> None:
    similarity = torch.zeros(200, 3, 2)
    assert salient_patches(similarity, 5, "all", training=True).all()
    assert not salient_patches(similarity, 5, "off", training=True).any()
    assert salient_patches(similarity, 0.3, "random", training=False).all()
    torch.manual_seed(0)
    assert 0.2 < salient_patches(similarity, 0.3, "random", training=True).mean().item() < 0.4
    with pytest.raises(ValueError, match="unknown mixup mode"):
        salient_patches(similarity, 5, "best", training=True)


def test_training_form_replaces_patches_and_inference_form_appends_concept_features() -> None:
    model = small(dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0, noise_variance=0.0)
    grid, local, image, vocabulary = inputs()
    embed = model.visual_embed
    model.train()
    mixed, mixed_mask, concepts, similarity = embed(grid, local, image, vocabulary)
    model.eval()
    appended, appended_mask, _, _ = embed(grid, local, image, vocabulary)
    assert mixed.shape == (4, 4, 16)
    assert mixed_mask.all()
    assert appended.shape == (4, 7, 16)
    m = salient_patches(similarity, 2, "top", training=True)
    assert appended_mask[:, :4].all()
    assert torch.equal(appended_mask[:, 4:], m)
    # A replaced patch in training is the appended token at inference: same feature, position and type. A kept one is itself.
    salient = m.bool()
    assert torch.allclose(mixed[:, 1:][salient], appended[:, 4:][salient], atol=1e-6)
    assert torch.allclose(mixed[:, 1:][~salient], appended[:, 1:4][~salient], atol=1e-6)
    assert concepts.ids.shape == (4, 2)


def test_noise_reaches_only_the_global_token_and_only_in_training() -> None:
    model = small(dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
    model.train()
    first, _, concepts, _ = model.visual_embed(*inputs())
    second, _, again, _ = model.visual_embed(*inputs())
    torch.manual_seed(99)
    third, *_ = model.visual_embed(*inputs())
    assert torch.equal(first, second)  # inputs() seeds the noise
    assert torch.equal(concepts.ids, again.ids)
    assert torch.equal(first[:, 1:], third[:, 1:])
    model.eval()
    assert torch.equal(model.visual_embed(*inputs())[0], model.visual_embed(*inputs())[0])


def test_what_the_mask_hides_does_not_change_the_memory() -> None:
    model = small().eval()
    grid, local, image, vocabulary = inputs()
    x, mask, _, _ = model.visual_embed(grid, local, image, vocabulary)
    changed = torch.where(mask.unsqueeze(-1) > 0, x, x + 5)
    seen = mask > 0
    assert torch.allclose(model.encoder(x, mask)[seen], model.encoder(changed, mask)[seen], atol=1e-5)


def test_steps_with_caches_give_the_logits_of_teacher_forcing() -> None:
    model = small().eval()
    memory = model.encode(*inputs())
    tokens = torch.tensor([[0, 3, 5, 2], [0, 1, 1, 4], [0, 9, 8, 7], [0, 10, 2, 6]])
    whole = model(memory, tokens)
    cross, mask = model.decoder.cross(memory.states), (1 - memory.mask[:, None, None]) * -10000.0
    caches = None
    for position in range(4):
        logits, caches = model.step(tokens[:, position : position + 1], position, caches, cross, mask)
        assert torch.allclose(logits, whole[:, position], atol=1e-5)


def test_several_captions_of_an_image_share_its_memory() -> None:
    model = small().eval()
    memory = model.encode(*inputs(2))
    tokens = torch.tensor([[0, 3], [0, 4], [0, 5], [0, 6]])  # two of each image
    both = model(memory, tokens)
    alone = [
        model(model.encode(*(x[i : i + 1] if n < 3 else x for n, x in enumerate(inputs(2)))), tokens[2 * i : 2 * i + 2])
        for i in (0, 1)
    ]
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)
