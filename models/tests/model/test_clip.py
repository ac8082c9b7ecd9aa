"""CLIP's towers with random weights, against OpenAI's network written out in its own names."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from random_clip import SMALL, random_openai_state, write_merges
from released_shapes import as_archive
from torch import Tensor, nn

from pcmnet.data.clip_pixels import decode_for_clip, fit_and_crop
from pcmnet.model.clip import VIT_B_32, VIT_L_14, Clip, ClipSizes, clip_tokenizer, new_clip, read_clip, sizes_of

NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def _transformer(state: dict[str, Tensor], prefix: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """OpenAI's residual blocks on [B, S, D], with QuickGELU."""
    width = x.shape[-1]
    layer = 0
    while f"{prefix}resblocks.{layer}.ln_1.weight" in state:
        w = {k.removeprefix(f"{prefix}resblocks.{layer}."): v for k, v in state.items() if k.startswith(f"{prefix}resblocks.")}
        h = F.layer_norm(x, (width,), w["ln_1.weight"], w["ln_1.bias"])
        parts = F.linear(h, w["attn.in_proj_weight"], w["attn.in_proj_bias"]).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (width // 64, 64)).transpose(1, 2) for part in parts)
        logits = q @ k.transpose(-1, -2) / 8
        weights = (logits if mask is None else logits + mask).softmax(-1)
        joined = (weights @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(joined, w["attn.out_proj.weight"], w["attn.out_proj.bias"])
        h = F.linear(F.layer_norm(x, (width,), w["ln_2.weight"], w["ln_2.bias"]), w["mlp.c_fc.weight"], w["mlp.c_fc.bias"])
        x = x + F.linear(h * torch.sigmoid(1.702 * h), w["mlp.c_proj.weight"], w["mlp.c_proj.bias"])
        layer += 1
    return x


def _image(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """[B, H, W, 3] → the last block's output  # [B, 1 + cells, D]"""
    x = ((pixels.float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(0, 3, 1, 2)
    kernel = state["visual.conv1.weight"]
    x = F.conv2d(x, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = state["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + state["visual.positional_embedding"]
    x = F.layer_norm(x, x.shape[-1:], state["visual.ln_pre.weight"], state["visual.ln_pre.bias"])
    return _transformer(state, "visual.transformer.", x, None)


def _project(state: dict[str, Tensor], x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state["visual.ln_post.weight"], state["visual.ln_post.bias"]) @ state["visual.proj"]


def _text(state: dict[str, Tensor], ids: Tensor) -> Tensor:
    """[X, S] → text embeddings [X, E]"""
    x = state["token_embedding.weight"][ids] + state["positional_embedding"][: ids.shape[1]]
    mask = torch.full((ids.shape[1], ids.shape[1]), -math.inf).triu(1)
    x = _transformer(state, "transformer.", x, mask)
    x = F.layer_norm(x, x.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    return x[torch.arange(len(ids)), ids.argmax(-1)] @ state["text_projection"]


def _read(state: dict[str, Tensor], sizes: ClipSizes, folder: Path) -> Clip:
    torch.save(state, folder / "clip.pt")
    return read_clip(folder / "clip.pt", write_merges(folder / "merges.txt", sizes))


@pytest.mark.parametrize(("sizes", "parameters"), [(VIT_B_32, 151_277_313), (VIT_L_14, 427_616_513)])
def test_released_sizes_have_the_released_number_of_parameters(sizes: ClipSizes, parameters: int) -> None:
    with torch.device("meta"):
        clip = new_clip(sizes)
        names = random_openai_state(sizes)
    assert sum(p.numel() for p in clip.parameters()) == parameters
    assert sizes_of(names) == sizes
    assert clip.config.vision_config.num_attention_heads == {768: 12, 1024: 16}[sizes.vision_width]
    assert {module.eps for module in clip.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}
    assert sizes.rows**2 == (64 if sizes is VIT_L_14 else 49)


def test_vit_b_32_in_its_released_shapes(tmp_path: Path) -> None:
    """The image side whole, two layers of the text side. Archives are in float16; the towers compute in float32."""
    sizes = replace(VIT_B_32, text_layers=2, text_vocabulary=600)
    state = random_openai_state(sizes, torch.float16)
    clip = _read(state, sizes, tmp_path)
    assert clip.unused == NO_WEIGHTS
    full = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    pixels = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        grid, local, image = clip.images(pixels)
        states = _image(full, pixels)
        texts = clip.texts.encode(["at", "a tall cat sat at it"])
        ids = clip.texts.tokenizer(["at", "a tall cat sat at it"], padding=True, return_tensors="pt")["input_ids"]
        expected_texts = F.normalize(_text(full, ids), dim=-1)
    assert grid.shape == (1, 49, 768)
    assert local.shape == (1, 49, 512)
    torch.testing.assert_close(grid, states[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(local, _project(full, states[:, 1:]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(image, F.normalize(_project(full, states[:, 0]), dim=-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(texts, expected_texts, atol=1e-5, rtol=1e-4)


def test_patches_of_14_pixels_are_averaged_before_the_final_norm(tmp_path: Path) -> None:
    state = random_openai_state(SMALL)
    clip = _read(state, SMALL, tmp_path)
    pixels = torch.randint(0, 256, (2, 56, 56, 3), dtype=torch.uint8)
    with torch.inference_mode():
        grid, local, _ = clip.images(pixels)
    cells = _image(state, pixels)[:, 1:].reshape(2, 2, 2, 2, 2, 128)  # image, row, row in cell, column, column in cell
    expected = cells.mean((2, 4)).reshape(2, 4, 128)
    torch.testing.assert_close(grid, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(local, _project(state, expected), atol=1e-4, rtol=1e-4)


def test_a_torchscript_archive_is_read_as_a_state_dict_is(tmp_path: Path) -> None:
    state = random_openai_state(SMALL, torch.float16)
    as_archive(state).save(str(tmp_path / "archive.pt"))
    plain = _read(state, SMALL, tmp_path)
    archived = read_clip(tmp_path / "archive.pt", tmp_path / "merges.txt")
    assert sorted(archived.unused) == sorted(plain.unused) == sorted(NO_WEIGHTS)
    for (name, one), other in zip(plain.images.state_dict().items(), archived.images.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_other_weights_are_refused_by_what_they_lack(tmp_path: Path) -> None:
    state = random_openai_state(SMALL)
    without = {name: value for name, value in state.items() if name != "visual.conv1.weight"}
    with pytest.raises(ValueError, match=r"visual\.conv1\.weight"):
        _read(without, SMALL, tmp_path)
    del state["ln_final.bias"]
    with pytest.raises(ValueError, match=r"lacks 1 of .*final_layer_norm\.bias"):
        _read(state, SMALL, tmp_path)


def test_the_tokenizer_is_a_lower_cased_byte_pair_encoding_between_two_tokens(tmp_path: Path) -> None:
    tokenizer = clip_tokenizer(write_merges(tmp_path / "merges.txt", SMALL), SMALL.text_vocabulary)
    # Bytes begin with "!", so "x" is 87; a byte at a word's end is 256 later; the first merge is 512.
    assert tokenizer("At  X's").input_ids == [598, 512, ord("x") - 33 + 256, ord("'") - 33, ord("s") - 33 + 256, 599]
    with pytest.raises(ValueError, match="has no 1000 merges"):
        clip_tokenizer(tmp_path / "merges.txt", 1514)


@pytest.mark.parametrize(
    ("size", "fitted", "corner"),
    [
        ((640, 427), (335, 224), (56, 0)),  # 335.7 is cut, 55.5 goes to the even 56
        ((427, 640), (224, 335), (0, 56)),
        ((500, 495), (226, 224), (1, 0)),
        ((300, 299), (224, 224), (0, 0)),  # 224.7
        ((100, 101), (224, 226), (0, 1)),
        ((203, 200), (227, 224), (2, 0)),  # 1.5 goes to 2
        ((225, 224), (225, 224), (0, 0)),  # 0.5 goes to 0
    ],
)
def test_preprocessing_has_clips_roundings(
    size: tuple[int, int], fitted: tuple[int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    left, top = corner
    expected = np.asarray(image.resize(fitted, Image.Resampling.BICUBIC))[top : top + 224, left : left + 224]
    assert np.array_equal(np.asarray(fit_and_crop(image, 224)), expected)
    image.save(tmp_path / "photo.png")
    assert np.array_equal(decode_for_clip(tmp_path / "photo.png", 224), expected)
