"""SynthImgCap and its companions in miniature, under the names and in the types in which the authors publish them.

    python models/tests/released_layout.py FOLDER

writes them with random features and runs, for every script of the authors, the one command that takes its place. Nothing but the
package and what it depends on has to be installed; Java, for all metrics.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from random_clip import random_openai_state

from pcmnet.cli import main as pcmnet
from pcmnet.config import read_config
from pcmnet.data.text import sequences
from pcmnet.model.clip import VIT_B_32, VIT_L_14, ClipSizes
from pcmnet.model.pcm_net import PCMNet

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL_MODEL = """
[model]
width = 64
heads = 1
ffn = 64
encoder_layers = 1
decoder_layers = 1
"""
"""Everything that files show keeps its size; the network does not."""
TOWERS = {"B32": VIT_B_32, "L14": VIT_L_14}
OTHER_RUNS = ("coco-l14", "flickr30k-b32", "flickr30k-l14")
PAIRS, TEST = 40, 3
WORDS = (*"a man dog cat horse bus pizza kite on in near the street grass table with two red".split(" "), "UNK")  # noqa: SIM905
CONCEPTS = [*WORDS[1:8], *WORDS[12:15], "fire hydrant"]
DOMAINS = ("in-domain", "near-domain", "out-domain")
TEST_PHOTOS = {"mscoco": ("391895", "60623", "483108"), "flickr": ("1007129816", "1009434119", "101362133"), "nocaps": "012"}


def write_released_layout(data: Path) -> Path:
    """Writes all files below `data`; returns a folder with the configurations, of a small network."""
    rng = np.random.default_rng(6)
    for tower, sizes in TOWERS.items():
        for name, prefix in (("mscoco", "mscoco"), ("flickr", "flickr30k")):
            folder = data / f"{name}_stable_diffusion_vit_{tower}"
            _write_pairs(folder / f"{prefix}_caption_anno_train.pkl", split=name == "mscoco")
            features = folder / "features" / f"CLIP_ViT_{tower}" / "img"
            for n in range(PAIRS):
                split = features.with_name(f"img_sp{n % 2}") if name == "mscoco" else features
                _write_features(split / f"{6001325 + n}.npz", sizes, rng)
            for image_id in TEST_PHOTOS[name]:
                _write_features(features / f"{image_id}.npz", sizes, rng)
        vectors = torch.nn.functional.normalize(torch.randn(len(CONCEPTS), sizes.embedding), dim=-1)
        listed = data / "PCM-Net" / "data" / f"coco400_embeddings_ViT-{tower}_with_ensemble.pickle"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_bytes(pickle.dumps((CONCEPTS, vectors.half())))
        clip = ClipSizes(
            patch=sizes.patch,
            pool=sizes.pool,
            vision_width=sizes.vision_width,
            vision_layers=1,
            text_width=64,
            text_layers=1,
            embedding=sizes.embedding,
            text_vocabulary=600,
        )
        (data / "clip").mkdir(exist_ok=True)
        torch.save(random_openai_state(clip, torch.float16), data / "clip" / f"ViT-{tower[0]}-{tower[1:]}.pt")
    for name, file in (("mscoco", "captions_test5k.json"), ("flickr", "captions_test1k.json")):
        folder = data / f"{name}_dataset"
        _write_annotations(folder / file, TEST_PHOTOS[name])
        (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in WORDS))
    for image_id in TEST_PHOTOS["mscoco"]:
        _write_photo(data / "coco" / "images" / f"COCO_val2014_{int(image_id):012}.jpg", rng)
    _write_nocaps(data / "nocaps", rng)
    return _small_configs(data / "configs")


def _write_pairs(path: Path, split: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(PAIRS):
        tokens, targets = sequences([1, 2 + n % 6, 9 + n % 3, 1, 13 + n % 3], 20)
        row = {
            "image_id": str(6001325 + n),
            "tokens_ids": np.array([tokens], np.uint32),
            "target_ids": np.array([targets], np.int32),
            "clipscore": float(0.4 + n / 100),
        }
        rows.append(row | ({"split_id": n % 2} if split else {}))
    path.write_bytes(pickle.dumps(rows))


def _write_features(path: Path, sizes: ClipSizes, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = rng.standard_normal((sizes.rows**2, sizes.vision_width), np.float32)
    np.savez_compressed(path, features=grid, g_feature=10 * rng.standard_normal((1, sizes.embedding), np.float32))


def _write_annotations(path: Path, ids: Sequence[str], **fields: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": int(name)} | {key: values[n] for key, values in fields.items()} for n, name in enumerate(ids)]
    captions = [
        {"image_id": int(name), "id": 5 * n + k, "caption": f"A {CONCEPTS[n]} on the {CONCEPTS[7 + k]}."}
        for n, name in enumerate(ids)
        for k in range(2)
    ]
    path.write_text(json.dumps({"images": images, "annotations": captions}))


def _write_photo(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)


def _write_nocaps(folder: Path, rng: np.random.Generator) -> None:
    files = [f"{n:04x}ea2087020901.jpg" for n in range(TEST)]
    _write_annotations(folder / "nocaps_val_4500_captions.json", TEST_PHOTOS["nocaps"], domain=DOMAINS, file_name=files)
    (folder / "nocaps_val_image_list.txt").write_text("".join(f"{n}, val/{file}\n" for n, file in enumerate(files)))
    for file in files:
        _write_photo(folder / "images" / "val" / file, rng)


def _small_configs(folder: Path) -> Path:
    folder.mkdir()
    for file in CONFIGS.glob("*.toml"):
        (folder / file.name).write_bytes(file.read_bytes())
    base = (CONFIGS / "released.toml").read_text()
    (folder / "released.toml").write_text(base.replace("batch_size = 32", "batch_size = 4") + SMALL_MODEL)
    return folder


def write_released_models(folder: Path, configs: Path) -> None:
    """The checkpoints of the paper's in-domain rows of COCO, as several GPUs save them."""
    for name, path in (
        ("coco-b32", "in_domain/mscoco/vit_b32/model_Epoch_00010_Iter_0169499.pth"),
        ("coco-l14", "cross_domain/coco_to_flickr/vit_l14/model_Epoch_00006_Iter_0101699.pth"),
    ):
        settings = read_config(configs / f"{name}.toml").model
        settings.vocabulary = len(WORDS) + 1
        torch.manual_seed(9)
        model = PCMNet(settings, own_projection=True)
        state = {f"module.{key}": value for key, value in model.state_dict().items()}
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": state, "trainer": {"iteration": 9, "epoch": 9}}, folder / path)


def released_commands(data: Path, configs: Path, runs: Path) -> dict[str, list[list[str]]]:
    """For every script of the authors, what takes its place: arguments of `pcmnet`."""

    def paper(command: str, name: str, *options: str) -> list[str]:
        return ["paper", command, str(configs / f"{name}.toml"), "--data", str(data), *options]

    short = ("--set", "captioner.epochs=1")
    untested = (*short, "--set", "data.test=''")
    l14 = str(data / "release_models" / "cross_domain" / "coco_to_flickr" / "vit_l14")
    return {
        "clip_visual_feats.py": [paper("features", "coco-b32")],
        "clip_visual_feats_nocaps.py": [paper("features", "nocaps-b32")],
        "train.sh": [
            paper("train", "coco-b32", "--run", str(runs / "coco-b32"), *short),
            *(
                paper("train", name, "--run", str(runs / name), *untested)
                for name in ("coco-l14", "flickr30k-b32", "flickr30k-l14")
            ),
        ],
        "train_data_eff.sh": [
            paper("train", "coco-b32", "--run", str(runs / f"share-{share}"), *untested, "--set", f"data.share={share}")
            for share in (0.8, 0.6, 0.4, 0.2, 0.1)
        ],
        "eval_cross_example.sh": [paper("evaluate", "coco-l14", "--run", l14, "--target", str(configs / "flickr30k-l14.toml"))],
        "final_eval_for_paper.sh": [["paper", "table", str(configs), "--data", str(data), "--run", str(data / "release_models")]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    configs = write_released_layout(folder / "data")
    write_released_models(folder / "data" / "release_models", configs)
    for script, commands in released_commands(folder / "data", configs, folder / "runs").items():
        for command in commands:
            print(f"{script}: pcmnet {' '.join(command)}", flush=True)
            pcmnet(command)


if __name__ == "__main__":
    main()
