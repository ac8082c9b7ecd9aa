"""Images of captions by a text-to-image pipeline of random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from random_clip import SMALL, write_merges
from tiny_run import write_tiny_run
from transformers import CLIPTextConfig, CLIPTextModel

from pcmnet.cli import main
from pcmnet.data.records import Row, write_rows
from pcmnet.model.clip import clip_tokenizer
from pcmnet.paper.synthesize import seed_of

SMALLEST = ["--set", "synthesis.steps=2", "--set", "synthesis.side=16", "--set", "synthesis.batch_size=3"]


def write_pipeline(folder: Path) -> Path:
    """Stable Diffusion's parts, each as small as they come."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(write_merges(folder / "merges.txt", SMALL), SMALL.text_vocabulary)
    tokenizer.model_max_length = 16
    text = CLIPTextConfig(
        vocab_size=600,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=598,
        eos_token_id=599,
    )
    blocks = {"block_out_channels": (8,), "norm_num_groups": 2, "layers_per_block": 1}
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
        cross_attention_dim=16,
        attention_head_dim=2,
        **blocks,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(sample_size=16, **blocks),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


def test_captions_become_images_once_each_from_recorded_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, data, pipeline = write_tiny_run(tmp_path), tmp_path / "data", write_pipeline(tmp_path)
    rows = [{"captions": ["a cat", "at"]}, {"captions": ["a hat"]}, {"image": "x.jpg", "captions": ["a bat"]}]
    (data / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [str(config), "--data", str(data), "--set", "data.train_images='made'", *SMALLEST]
    main(["paper", "prepare", *options, "--synthetic"])
    names = ["0000000_0", "0000000_1", "0000001", "x"]

    def synthesize() -> str:
        capsys.readouterr()
        main(["paper", "synthesize", *options, "--pipeline", str(pipeline)])
        return capsys.readouterr().out

    assert synthesize() == "4 images made\n"
    images = {name: data / "made" / f"{name}.jpg" for name in names}
    assert {Image.open(path).size for path in images.values()} == {(16, 16)}
    log = [json.loads(line) for line in (data / "made" / "seeds.jsonl").read_text().splitlines()]
    assert [(row["image_id"], row["caption"], row["seed"]) for row in log] == [
        (name, caption, seed_of(1234, name)) for name, caption in zip(names, ["a cat", "at", "a hat", "a bat"], strict=True)
    ]
    assert len({row["seed"] for row in log}) == 4

    before = {name: path.read_bytes() for name, path in images.items()}
    assert len(set(before.values())) == 4
    images["0000001"].unlink()
    assert synthesize() == "1 images made\n"
    assert images["0000001"].read_bytes() == before["0000001"]
    assert synthesize() == "0 images made\n"


def test_images_of_a_split_are_made_into_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, list[str]] = {}

    def note(_: object, rows: Sequence[Row], images: Path, *__: object) -> int:
        made[images.name] = [f"{row['image_id']}: {row['captions'][0]}" for row in rows]
        return len(rows)

    monkeypatch.setattr("pcmnet.paper.run.read_pipeline", lambda *_: None)
    monkeypatch.setattr("pcmnet.paper.run.synthesize", note)
    config, data = write_tiny_run(tmp_path), tmp_path / "data"
    (data / "vocabulary.txt").write_text("a\ncat\nhat\nUNK\n")
    released = {"image_id": "7", "split_id": 2, "tokens_ids": [0, 1, 2, 0], "target_ids": [1, 2, 0, -1]}
    write_rows(data / "train.jsonl", [released, {"image_id": "8", "captions": ["a hat"]}])
    main(["paper", "synthesize", str(config), "--data", str(data), "--pipeline", "any"])
    assert made == {"images_sp2": ["7: a cat"], "images": ["8: a hat"]}


def test_a_record_of_several_captions_is_refused(tmp_path: Path) -> None:
    config, data, pipeline = write_tiny_run(tmp_path), tmp_path / "data", write_pipeline(tmp_path)
    (data / "captions.jsonl").write_text(json.dumps({"image": "x.jpg", "captions": ["a cat", "at"]}))
    options = [str(config), "--data", str(data), *SMALLEST]
    main(["paper", "prepare", *options])
    with pytest.raises(SystemExit, match="--synthetic"):
        main(["paper", "synthesize", *options, "--pipeline", str(pipeline)])
