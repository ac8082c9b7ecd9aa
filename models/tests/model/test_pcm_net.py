"""PCM-Net against the facts of its paper and of its released checkpoints."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_network import inputs, small

from pcmnet.config import ModelConfig
from pcmnet.model.layers import additive
from pcmnet.model.mixup import concept_features, cosine_of_patches, detect_concepts, salient_cells, salient_patches
from pcmnet.model.pcm_net import PCMNet

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
    entries = released_entries(grid, embedding, patches, vocabulary)
    assert {entry: tuple(value.shape) for entry, value in model.state_dict().items()} == entries


def released_entries(grid: int, embedding: int, patches: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released checkpoint, as its description lists them."""
    d, hidden = 512, 2048
    linear = {
        "visual_embed.embeddings": (d, grid),
        "visual_embed.g_embeddings": (d, embedding),
        "visual_embed.t_embeddings": (d, embedding),
        "encoder.gvfeat_embed.0": (d, 4 * d),
        "predictor.logits": (vocabulary, d),
    }
    norms = {"visual_embed.embeddings_norm": d, "visual_embed.ln_post": grid}
    norms |= {"encoder.gvfeat_embed.1": d, "token_embed.embeddings_norm": d}
    for i in range(3):
        layers = {f"encoder.layers.{i}": ["attention"], f"decoder.g_layers.{i}": ["self_attn", "x_att"]}
        for layer, attentions in layers.items():
            for attention in (f"{layer}.{name}" for name in attentions):
                linear |= {f"{attention}.self.{part}": (d, d) for part in ("query", "key", "value")}
                linear[f"{attention}.output.dense"] = (d, d)
                norms[f"{attention}.output.LayerNorm"] = d
            linear |= {f"{layer}.intermediate.dense": (hidden, d), f"{layer}.output.dense": (d, hidden)}
            norms[f"{layer}.output.LayerNorm"] = d
    return {
        "visual_embed.embeddings_pos": (1, patches + 1, d),
        "visual_embed.embeddings_token_type.weight": (2, d),
        "visual_embed.proj": (grid, embedding),
        "token_embed.embeddings.weight": (vocabulary, d),
        "token_embed.embeddings_pos.pe": (1, 5000, d),
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
        **{f"{name}.{part}": (width,) for name, width in norms.items() for part in ("weight", "bias")},
    }


def test_norms_have_the_released_epsilons() -> None:
    with torch.device("meta"):
        model = PCMNet(ModelConfig(), own_projection=True)
    epsilon = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    of_embeddings = {
        "visual_embed.embeddings_norm",
        "visual_embed.ln_post",
        "encoder.gvfeat_embed.1",
        "token_embed.embeddings_norm",
    }
    assert {name for name, value in epsilon.items() if value == 1e-5} == of_embeddings
    assert {value for name, value in epsilon.items() if name not in of_embeddings} == {1e-12}


def test_weights_begin_as_pytorch_draws_them_and_positions_near_zero() -> None:
    model = small(width=64, patches=400, vocabulary=500)
    positions = model.visual_embed.embeddings_pos
    assert positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(positions.mean().item()) < 1e-3
    assert positions.abs().max().item() > 0.06  # cut at 2, not at two deviations
    weight = model.encoder.layers[0].intermediate["dense"].weight
    assert 0.12 < weight.abs().max().item() <= 64**-0.5
    assert weight.std().item() == pytest.approx((64 * 3) ** -0.5, rel=0.05)
    assert model.token_embed.embeddings.weight.std().item() == pytest.approx(1, rel=0.05)


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
    # Its cells, the last, compete: without them the three largest would be of the first patch.
    similarity = torch.tensor([[[0.5, -0.1, -0.2, 0.0], [-0.8, -0.9, -0.9, 0.0]]])
    assert salient_patches(similarity, 3, "top", training=True).tolist() == [[1, 1]]


def test_a_share_that_does_not_exceed_the_threshold_is_under_it() -> None:
    image = torch.tensor([[1.0, 0.0]])
    halves = detect_concepts(image, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), k=2, temperature=1.0, threshold=0.5)
    assert halves.scores.tolist() == [[0.5, 0.5]]
    assert not halves.tags.any()
    # At the released threshold it takes a share that float32 rounds to nothing.
    opposite = detect_concepts(image, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), k=2, temperature=0.01, threshold=0.0)
    assert opposite.scores.tolist() == [[1, 0]]
    assert opposite.tags.tolist() == [[[1, 0], [0, 0]]]


def test_top_mode_replaces_the_patches_of_the_largest_cells_which_may_share_a_patch() -> None:
    similarity = torch.tensor([[[0.9, 0.8], [0.1, 0.2], [0.3, 0.7]]])
    assert salient_patches(similarity, 2, "top", training=True).tolist() == [[1, 0, 0]]
    assert salient_patches(similarity, 3, "top", training=True).tolist() == [[1, 0, 1]]
    assert salient_patches(similarity, 0.5, "top", training=True).tolist() == [[1, 0, 1]]
    assert salient_cells(9, 5, 0.11) == 4  # 4.95


def test_other_modes_replace_every_no_or_random_patches() -> None:
    similarity = torch.zeros(200, 3, 2)
    assert salient_patches(similarity, 5, "all", training=True).all()
    assert not salient_patches(similarity, 5, "off", training=True).any()
    assert salient_patches(similarity, 0.3, "random", training=False).all()
    torch.manual_seed(0)
    drawn = salient_patches(similarity, 0.3, "random", training=True)
    assert 0.2 < drawn.mean().item() < 0.4
    # Every patch by itself: 63 % of three are neither all nor none.
    assert 0.5 < ((drawn.sum(1) > 0) & (drawn.sum(1) < 3)).float().mean().item() < 0.75
    with pytest.raises(ValueError, match="chance of a patch, below 1, got 5"):
        salient_patches(similarity, 5, "random", training=True)
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
    given = inputs()
    model.train()
    first, _, concepts, _ = model.visual_embed(*given)
    second, _, again, _ = model.visual_embed(*given)
    assert (first[:, 0] - second[:, 0]).abs().max() > 0.01
    assert torch.equal(first[:, 1:], second[:, 1:])
    model.eval()
    third, _, clean, _ = model.visual_embed(*given)
    assert torch.equal(third, model.visual_embed(*given)[0])
    assert torch.equal(concepts.scores, again.scores)
    assert torch.equal(concepts.scores, clean.scores)


def test_detection_and_fusion_carry_no_gradient() -> None:
    grid, local, image, vocabulary = (each.requires_grad_() for each in inputs())
    model = small().train()
    model.visual_embed(grid, local, image, vocabulary)[0].square().sum().backward()
    assert local.grad is None
    assert vocabulary.grad is None
    assert grid.grad is not None
    assert image.grad is not None  # by way of its own token


def test_a_mask_adds_nothing_or_minus_ten_thousand() -> None:
    assert additive(torch.tensor([[1.0, 0.0]])).tolist() == [[[[0, -10_000]]]]


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
