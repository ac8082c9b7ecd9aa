"""CLIP's two towers (Radford et al., 2021): the modules of `transformers` with OpenAI's weights, and the outputs PCM-Net uses.

Shapes: B images, N patches, D vision width, E embedding, X texts of S tokens.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ..data.unpickling import load_tensors
from .encoders import ImageEncoder, TextEncoder

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
HEAD_WIDTH = 64
SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
BYTES = 512
"""Tokens of single bytes, which precede those of the merges: each byte inside a word and at its end."""


@dataclass(frozen=True)
class ClipSizes:
    patch: int
    """Pixels of a patch's side."""
    pool: int
    """Patches along the side of the square that is averaged into one cell of the grid."""
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    embedding: int
    side: int = 224
    text_vocabulary: int = 49408
    max_tokens: int = 77

    @property
    def rows(self) -> int:
        """Cells of the grid along a side."""
        return self.side // self.patch // self.pool

    def to_transformers(self, end: int) -> CLIPConfig:
        return CLIPConfig(
            vision_config={
                "hidden_size": self.vision_width,
                "intermediate_size": 4 * self.vision_width,
                "num_hidden_layers": self.vision_layers,
                "num_attention_heads": self.vision_width // HEAD_WIDTH,
                "image_size": self.side,
                "patch_size": self.patch,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-5,
            },
            text_config={
                "vocab_size": self.text_vocabulary,
                "bos_token_id": None,
                "eos_token_id": end,
                "hidden_size": self.text_width,
                "intermediate_size": 4 * self.text_width,
                "num_hidden_layers": self.text_layers,
                "num_attention_heads": self.text_width // HEAD_WIDTH,
                "max_position_embeddings": self.max_tokens,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-5,
            },
            projection_dim=self.embedding,
        )


VIT_B_32 = ClipSizes(patch=32, pool=1, vision_width=768, vision_layers=12, text_width=512, text_layers=12, embedding=512)
VIT_L_14 = ClipSizes(patch=14, pool=2, vision_width=1024, vision_layers=24, text_width=768, text_layers=12, embedding=768)


def new_clip(sizes: ClipSizes, end: int | None = None) -> CLIPModel:
    """Builds the towers with random weights. `end`: id of the token that ends a text, whose state becomes the text's embedding;
    default: the last id, as CLIP has it."""
    config = sizes.to_transformers(sizes.text_vocabulary - 1 if end is None else end)
    # Eager attention: the exporter traces it into plain matrix products.
    model: CLIPModel = CLIPModel._from_config(config, attn_implementation="eager")
    return model.eval()


class ClipImageEncoder(ImageEncoder):
    """The grid is the last block's patches before the final LayerNorm and projection, average-pooled as `ClipSizes.pool`
    says. The local embedding of a cell is that LayerNorm and projection applied to it."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, clip: CLIPModel, sizes: ClipSizes) -> None:
        super().__init__()
        self.vision, self.projection, self.pool = clip.vision_model, clip.visual_projection, sizes.pool
        self.side, self.rows, self.columns = sizes.side, sizes.rows, sizes.rows
        self.width, self.embedding = sizes.vision_width, sizes.embedding
        self.register_buffer("mean", 255 * torch.tensor(MEAN), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION), persistent=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """[..., D] → [..., E], not normalised"""
        return self.projection(self.vision.post_layernorm(tokens))

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, H, W, 3] → grid [B, N, D] and the global embedding, not normalised [B, E]"""
        x = ((pixels.to(torch.float32) - self.mean) / self.deviation).permute(0, 3, 1, 2)
        states = self.vision(x).last_hidden_state  # [B, 1 + N · pool², D]
        grid = states[:, 1:]
        if self.pool > 1:
            cells = grid.transpose(1, 2).unflatten(2, (self.pool * self.rows, self.pool * self.columns))
            grid = F.avg_pool2d(cells, self.pool).flatten(2).transpose(1, 2)
        return grid, self.embed(states[:, 0])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid, image = self.features(pixels)
        return grid, self.embed(grid), F.normalize(image, dim=-1)


class ClipTextEncoder(TextEncoder):
    def __init__(self, clip: CLIPModel, sizes: ClipSizes, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.text, self.projection, self.tokenizer = clip.text_model, clip.text_projection, tokenizer
        self.max_tokens, self.embedding = sizes.max_tokens, sizes.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        state = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return F.normalize(self.projection(state), dim=-1)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Unit vectors of any number of texts  # [X, E]"""
        parts: list[Tensor] = []
        for start in range(0, len(texts), batch_size):
            chosen = list(texts[start : start + batch_size])
            tokens = self.tokenizer(chosen, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
            tokens = tokens.to(self.projection.weight.device)
            parts.append(self(tokens["input_ids"], tokens["attention_mask"]))
        return torch.cat(parts)


@dataclass(frozen=True)
class Clip:
    """The towers of a CLIP checkpoint of OpenAI's."""

    sizes: ClipSizes
    images: ClipImageEncoder
    texts: ClipTextEncoder
    unused: tuple[str, ...]
    """Entries of the file that no module uses."""

    @property
    def name(self) -> str:
        """The released name of these sizes, such as ViT-B/32, or a description of them."""
        known = {VIT_B_32: "ViT-B/32", VIT_L_14: "ViT-L/14"}
        return known.get(self.sizes, f"ViT of width {self.sizes.vision_width}, {self.sizes.patch}-pixel patches")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_openai(path: Path) -> dict[str, Tensor]:
    """Reads weights by OpenAI's names, as float32, from a TorchScript archive (the released form) or a state dict."""
    state = torch.jit.load(str(path), map_location="cpu").state_dict() if _is_torchscript(path) else load_tensors(path)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def sizes_of(state: Mapping[str, Tensor]) -> ClipSizes:
    """Infers the sizes from the shapes of the weights. Raises ValueError if they are not of a CLIP with a vision transformer."""
    try:
        kernel, positions = state["visual.conv1.weight"], state["visual.positional_embedding"]
        embedding = state["visual.proj"].shape[1]
        text_vocabulary, text_width = state["token_embedding.weight"].shape
        max_tokens = len(state["positional_embedding"])
    except KeyError as error:
        raise ValueError(f"no CLIP with a vision transformer: it has no {error}") from None
    patch = kernel.shape[-1]

    def layers(tower: str) -> int:
        return sum(name.startswith(f"{tower}resblocks.") and name.endswith(".ln_1.weight") for name in state)

    return ClipSizes(
        patch=patch,
        pool=2 if patch == VIT_L_14.patch else 1,
        vision_width=kernel.shape[0],
        vision_layers=layers("visual.transformer."),
        text_width=text_width,
        text_layers=layers("transformer."),
        embedding=embedding,
        side=round((len(positions) - 1) ** 0.5) * patch,
        text_vocabulary=text_vocabulary,
        max_tokens=max_tokens,
    )


_RENAMED = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def to_transformers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Renames OpenAI's entries to those of `CLIPModel`; the second result names the entries that `CLIPModel` lacks."""
    renamed: dict[str, Tensor] = {}
    unused: list[str] = []
    for name, value in state.items():
        block = _BLOCK.fullmatch(name)
        if block is not None:
            layer = f"{'vision' if block[1] else 'text'}_model.encoder.layers.{block[2]}"
            if block[3] == "attn.in_proj":
                for part, rows in zip("qkv", value.chunk(3), strict=True):
                    renamed[f"{layer}.self_attn.{part}_proj.{block[4]}"] = rows
                continue
            if block[3] in _IN_BLOCK:
                renamed[f"{layer}.{_IN_BLOCK[block[3]]}.{block[4]}"] = value
                continue
        if name in _RENAMED:
            renamed[_RENAMED[name]] = value
        elif name in _TRANSPOSED:
            renamed[_TRANSPOSED[name]] = value.T.contiguous()
        else:
            unused.append(name)
    return renamed, tuple(unused)


def read_clip(path: Path, merges: Path | None = None) -> Clip:
    """Reads the towers of OpenAI's checkpoint, in evaluation mode. `merges`: see `clip_tokenizer`. Raises ValueError if weights
    are missing."""
    state = read_openai(path)
    sizes = sizes_of(state)
    tokenizer = clip_tokenizer(merges, sizes.text_vocabulary)
    clip = new_clip(sizes)
    renamed, unused = to_transformers(state)
    # Buffers of these modules, such as position ids, are in no file; only parameters have to be.
    weights = dict(clip.named_parameters())
    if lacking := sorted(weights.keys() - renamed.keys()):
        raise ValueError(f"{path} lacks {len(lacking)} of CLIP's weights, such as {lacking[0]}")
    clip.load_state_dict(renamed, strict=False)
    clip.requires_grad_(False)
    return Clip(sizes, ClipImageEncoder(clip, sizes).eval(), ClipTextEncoder(clip, sizes, tokenizer).eval(), unused)


def packaged_merges() -> Path:
    """Path of `bpe_simple_vocab_16e6.txt.gz` in an installed package: open_clip_torch, or OpenAI's own. Raises
    FileNotFoundError."""
    for package in ("open_clip", "clip"):
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or []) if found else []:
            path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
            if path.is_file():
                return path
    raise FileNotFoundError("CLIP's merges are not installed: pip install open_clip_torch, or name a file by --merges")


def clip_tokenizer(merges: Path | None = None, vocabulary: int = VIT_B_32.text_vocabulary) -> PreTrainedTokenizerBase:
    """Builds CLIP's byte-pair tokenizer with `vocabulary` tokens from its file of merges: a header, then a merge a line, plain or
    `.gz`. Raises ValueError if the file has too few."""
    path = merges or packaged_merges()
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8").splitlines()
    count = vocabulary - BYTES - len(SPECIAL_TOKENS)
    pairs = [tuple(line.split()) for line in lines[1 : 1 + count]]
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{path} has no {count} merges, which a vocabulary of {vocabulary} tokens needs")
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *("".join(pair) for pair in pairs), *SPECIAL_TOKENS]
    # The parameter is declared as strings, but the tokenizer model it is passed to takes pairs.
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs)  # type: ignore[arg-type]
