"""PCM-Net in its released shapes with random weights: from the four released files to the service's captions.

    python models/tests/released_shapes.py FOLDER --tower ViT-L/14 --photos PHOTOS

writes the files to FOLDER, converts them, compares the graphs with PyTorch, and the captions of a service in each precision with
those of Python, which runs the same graphs. Prints a table. Node.js has to be there, and the package with what `dev` adds.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from random_clip import random_openai_state, write_merges
from served import compile_service, service
from torch import Tensor, nn

from pcmnet.cli import main as pcmnet
from pcmnet.config import PRECISIONS, ModelConfig, read_config
from pcmnet.data.photos import decode_photo, photos_in
from pcmnet.data.text import sentence_of
from pcmnet.evaluate.answers import Answering
from pcmnet.evaluate.service import captions_by_service
from pcmnet.export.bundle import BundleParts
from pcmnet.export.compare import Comparison, compare_graphs
from pcmnet.export.convert import released_parts
from pcmnet.model.clip import VIT_B_32, VIT_L_14, ClipSizes
from pcmnet.model.pcm_net import PCMNet

TOWERS = {"ViT-B/32": VIT_B_32, "ViT-L/14": VIT_L_14}
WORDS, CONCEPTS = 10_199, 446
FILES = {"clip": "clip.pt", "concepts": "concepts.pkl", "vocabulary": "vocabulary.txt", "merges": "merges.txt"}
SLOW_SINES = slice(128, 168, 2)
"""Dimensions of the position embedding that grow over all steps of a sentence."""
TEXTS = ["at", "a tall cat sat at it", "word7 word8"]


def as_archive(state: dict[str, Tensor]) -> torch.jit.ScriptModule:
    """A tree of modules with these names, as a TorchScript archive holds them."""
    root = nn.Module()
    for name, value in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(last, value)
    scripted: torch.jit.ScriptModule = torch.jit.script(root)
    return scripted


def random_captioner(sizes: ClipSizes, clip: dict[str, Tensor]) -> PCMNet:
    """Of COCO's vocabulary, with CLIP's projection. Its sentences have 5 to 17 words, and differ by image."""
    torch.manual_seed(9)
    shape = {"grid_width": sizes.vision_width, "embedding": sizes.embedding, "patches": sizes.rows**2}
    model = PCMNet(ModelConfig(vocabulary=WORDS + 1, **shape), own_projection=True)
    with torch.no_grad():
        model.visual_embed.proj.copy_(clip["visual.proj"])
        model.visual_embed.ln_post.weight.copy_(clip["visual.ln_post.weight"])
        model.visual_embed.ln_post.bias.copy_(clip["visual.ln_post.bias"])
        model.predictor.logits.weight *= 5
        # The later the step, the likelier the end: else sentences of random weights are empty or go on to the last step.
        model.predictor.logits.weight[0] = 0
        model.predictor.logits.weight[0, SLOW_SINES] = 2
        model.predictor.logits.bias[0] = 0
    return model


def write_released(folder: Path, sizes: ClipSizes) -> None:
    """CLIP's archive in float16, a checkpoint as several GPUs save it, the pickle of concepts and the list of words."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = random_openai_state(sizes, torch.float16)
    as_archive(clip).save(str(folder / FILES["clip"]))
    write_merges(folder / FILES["merges"], sizes)
    state = {f"module.{name}": value for name, value in random_captioner(sizes, clip).state_dict().items()}
    torch.save({"model": state, "trainer": {"epoch": 10}}, folder / "checkpoint.pth")
    shape = f"grid_width = {sizes.vision_width}\nembedding = {sizes.embedding}\npatches = {sizes.rows**2}\n"
    (folder / "config.toml").write_text(f"[model]\n{shape}")
    vectors = 1.007 * F.normalize(torch.randn(CONCEPTS, sizes.embedding), dim=-1)
    (folder / FILES["concepts"]).write_bytes(pickle.dumps(([f"concept{n}" for n in range(CONCEPTS)], vectors.half())))
    words = [*(f"word{n}" for n in range(WORDS - 1)), "UNK"]
    (folder / FILES["vocabulary"]).write_text("".join(f"{word}\n" for word in words))


def convert(folder: Path, bundle: Path, precisions: Sequence[str], photos: Path) -> None:
    options = [part for name, file in FILES.items() for part in (f"--{name}", str(folder / file))]
    calibrated = ["--photos", str(photos)] if "int8" in precisions else []
    options += ["--config", str(folder / "config.toml"), "--out", str(bundle), "--precisions", *precisions, *calibrated]
    pcmnet(["convert", str(folder / "checkpoint.pth"), *options])


def parts_of(folder: Path) -> BundleParts:
    named = (folder / FILES[name] for name in ("clip", "concepts", "vocabulary", "merges"))
    return released_parts(folder / "checkpoint.pth", *named, config=read_config(folder / "config.toml")).parts


def pixels_of(photos: Sequence[Path], sizes: ClipSizes) -> NDArray[np.uint8]:
    return np.stack([decode_photo(photo, sizes.side, "crop") for photo in photos])


def compare(folder: Path, bundle: Path, pixels: NDArray[np.uint8]) -> Comparison:
    return compare_graphs(parts_of(folder), bundle, "fp32", pixels, TEXTS)


@dataclass(frozen=True)
class Served:
    captions: list[str]
    pythons: list[str]
    start_seconds: float
    images_per_second: float
    peak_megabytes: float
    """Of resident memory, the server and its inference processes together."""

    @property
    def equal(self) -> float:
        """Share of photos that the service captions as Python does."""
        return sum(a == b for a, b in zip(self.captions, self.pythons, strict=True)) / len(self.captions)


def serve(bundle: Path, precision: str, photos: Sequence[Path], sizes: ClipSizes) -> Served:
    began = time.monotonic()
    with service(bundle, precision, REQUEST_TIMEOUT_MS="600000", PROVIDER="cpu") as (url, process):
        started = time.monotonic() - began
        captions_by_service(url, photos[:2])
        began = time.monotonic()
        captions = captions_by_service(url, photos)
        seconds = time.monotonic() - began
        memory = sum(peak_of(each) for each in (process, *children_of(process)))
    answers = Answering(bundle, precision).answer(pixels_of(photos, sizes)).answers
    pythons = [sentence_of(answer.caption.split()) for answer in answers]
    return Served(captions, pythons, started, len(photos) / seconds, memory)


def children_of(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def peak_of(process: int) -> float:
    """Megabytes"""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tower", choices=TOWERS, default="ViT-L/14")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG photos")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--first", type=int, default=64, help="so many photos")
    options = parser.parse_args()
    sizes, photos = TOWERS[options.tower], photos_in(options.photos)[: options.first]
    compile_service()
    bundle = options.folder / "bundle"
    if not (bundle / "bundle.json").exists():
        write_released(options.folder, sizes)
        began = time.monotonic()
        convert(options.folder, bundle, options.precisions, options.photos)
        print(f"converted in {time.monotonic() - began:.0f} s", flush=True)
    if "fp32" in options.precisions:
        compared = compare(options.folder, bundle, pixels_of(photos, sizes))
        print(json.dumps(compared.differences, indent=2))
        print(f"largest difference {compared.largest:.1e}, equal captions {compared.equal_captions:.3f}", flush=True)
    print("| precision | start s | images/s | peak MB | captions equal to Python's | different captions |\n|" + " --- |" * 6)
    for precision in options.precisions:
        found = serve(bundle, precision, photos, sizes)
        facts = f"{found.start_seconds:.1f} | {found.images_per_second:.1f} | {found.peak_megabytes:.0f}"
        print(f"| {precision} | {facts} | {found.equal:.3f} | {len(set(found.captions))} of {len(photos)} |", flush=True)


if __name__ == "__main__":
    main()
