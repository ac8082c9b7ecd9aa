"""PCM-Net: concept detection, patch-wise cross-modal mixup and captioning, after Luo et al., ECCV 2024 (arXiv 2501.00437).

The names in `__all__` are the public API; modules may move between versions. Each name is imported when it is first used, so
that `import pcmnet` is cheap.

    from pcmnet import ModelConfig, PCMNet, beam_search

    model = PCMNet(ModelConfig(grid_width=768, embedding=512, patches=49, vocabulary=10_200), own_projection=True).eval()
    memory = model.encode(grid, local, image, concepts)  # [B, N, D], [B, N, E], [B, E], [C, E]
    captions = beam_search(model, memory).tokens  # [B, K, L]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, ModelConfig, read_config
    from .data.concepts import read_concepts
    from .data.text import Vocabulary
    from .evaluate.metrics import caption_metrics
    from .export.convert import convert, released_parts
    from .model.beam_search import Beams, beam_search
    from .model.checkpoint import read_captioner
    from .model.clip import Clip, read_clip
    from .model.mixup import Concepts, detect_concepts, salient_patches
    from .model.pcm_net import Memory, PCMNet
    from .train.loss import caption_loss, clip_weights

__version__ = "0.1.0"

__all__ = [
    "Beams",
    "Clip",
    "Concepts",
    "Config",
    "Memory",
    "ModelConfig",
    "PCMNet",
    "Vocabulary",
    "__version__",
    "beam_search",
    "caption_loss",
    "caption_metrics",
    "clip_weights",
    "convert",
    "detect_concepts",
    "read_captioner",
    "read_clip",
    "read_concepts",
    "read_config",
    "released_parts",
    "salient_patches",
]

_MODULES = {
    "config": ("Config", "ModelConfig", "read_config"),
    "data.concepts": ("read_concepts",),
    "data.text": ("Vocabulary",),
    "evaluate.metrics": ("caption_metrics",),
    "export.convert": ("convert", "released_parts"),
    "model.beam_search": ("Beams", "beam_search"),
    "model.checkpoint": ("read_captioner",),
    "model.clip": ("Clip", "read_clip"),
    "model.mixup": ("Concepts", "detect_concepts", "salient_patches"),
    "model.pcm_net": ("Memory", "PCMNet"),
    "train.loss": ("caption_loss", "clip_weights"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public name, imported on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
