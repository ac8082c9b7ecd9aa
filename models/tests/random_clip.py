"""Random weights under OpenAI's names, and a file of merges: a CLIP as it is released, without a download."""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path

import torch
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from pcmnet.model.clip import BYTES, SPECIAL_TOKENS, ClipSizes

# Threads that spin while they wait would only slow each other where cores are shared.
torch.set_num_threads(1)

SMALL = ClipSizes(
    patch=14,
    pool=2,
    vision_width=128,
    vision_layers=2,
    text_width=64,
    text_layers=2,
    embedding=32,
    side=56,
    text_vocabulary=600,
)


def _blocks(prefix: str, width: int, layers: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for layer in range(layers):
        shapes = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
        }
        state |= {f"{prefix}resblocks.{layer}.{name}": torch.empty(shape) for name, shape in shapes.items()}
    return state


def random_openai_state(sizes: ClipSizes, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Every entry of a released archive, the three numbers that are no weights too."""
    torch.manual_seed(5)
    d, t, e = sizes.vision_width, sizes.text_width, sizes.embedding
    state = {
        "visual.class_embedding": torch.empty(d),
        "visual.positional_embedding": torch.empty((sizes.side // sizes.patch) ** 2 + 1, d),
        "visual.proj": torch.empty(d, e),
        "visual.conv1.weight": torch.empty(d, 3, sizes.patch, sizes.patch),
        **{f"visual.{name}.{part}": torch.empty(d) for name in ("ln_pre", "ln_post") for part in ("weight", "bias")},
        **_blocks("visual.transformer.", d, sizes.vision_layers),
        **_blocks("transformer.", t, sizes.text_layers),
        "positional_embedding": torch.empty(sizes.max_tokens, t),
        "text_projection": torch.empty(t, e),
        "token_embedding.weight": torch.empty(sizes.text_vocabulary, t),
        "ln_final.weight": torch.empty(t),
        "ln_final.bias": torch.empty(t),
        "logit_scale": torch.empty(()),
    }
    for name, value in state.items():
        if value.ndim < 2:
            value.normal_(1.0 if "ln_" in name and name.endswith("weight") else 0.0, 0.1)
        else:
            value.normal_(0.0, 1.5 * value[0].numel() ** -0.5)
    numbers = {"input_resolution": sizes.side, "context_length": sizes.max_tokens, "vocab_size": sizes.text_vocabulary}
    return {name: value.to(dtype) for name, value in state.items()} | {n: torch.tensor(v) for n, v in numbers.items()}


def write_merges(path: Path, sizes: ClipSizes) -> Path:
    """As many merges as the vocabulary needs, each of two bytes; "a" and "t" at a word's end come first."""
    alphabet = list(bytes_to_unicode().values())
    count = sizes.text_vocabulary - BYTES - len(SPECIAL_TOKENS)
    pairs = [("a", "t</w>"), *islice(product(alphabet, alphabet), count - 1)]
    path.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    return path
