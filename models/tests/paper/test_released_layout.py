"""The files of the authors as they come: one command takes the place of each of their scripts."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from released_layout import DOMAINS, PAIRS, TEST_PHOTOS, released_commands, write_released_layout, write_released_models
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pcmnet.cli import main
from pcmnet.config import read_config, settings_of
from pcmnet.model.checkpoint import find_checkpoint
from pcmnet.paper.run import PaperRun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/` as released, and `runs/`, where all commands ran; `printed.json` has what each script printed."""
    folder = tmp_path_factory.mktemp("released")
    configs = write_released_layout(folder / "data")
    write_released_models(folder / "data" / "release_models", configs)
    printed: dict[str, list[str]] = {}
    for script, commands in released_commands(folder / "data", configs, folder / "runs").items():
        for command in commands:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                main(command)
            printed.setdefault(script, []).append(said.getvalue())
    (folder / "printed.json").write_text(json.dumps(printed))
    return folder


def printed(folder: Path, script: str) -> list[str]:
    return json.loads((folder / "printed.json").read_text())[script]


def test_features_are_named_as_the_official_extractor_names_them(folder: Path) -> None:
    assert {path.stem for path in (folder / "data" / "coco" / "b32").iterdir()} == set(TEST_PHOTOS["mscoco"])
    assert {path.stem for path in (folder / "data" / "nocaps" / "b32").iterdir()} == {"0", "1", "2"}


def test_every_training_keeps_its_weights_and_configuration(folder: Path) -> None:
    for name in ("coco-b32", "coco-l14", "flickr30k-b32", "flickr30k-l14"):
        run = folder / "runs" / name
        held = torch.load(run / "epoch-1.pt")
        assert held["config"] == json.loads((run / "config.json").read_text())
        assert held["config"]["id"] == f"pcm-net-{name}"
        assert all(value.dtype == torch.float32 for value in held["model"].values())
    # The number of updates does not depend on the share of the pairs, apart from rounding.
    steps = [torch.load(folder / "runs" / f"share-{share}" / "captioner.ckpt")["step"] for share in (0.8, 0.6, 0.4, 0.2, 0.1)]
    assert steps == [PAIRS // 4] * 5


def test_an_epoch_keeps_its_captions_and_metrics(folder: Path) -> None:
    results = folder / "runs" / "coco-b32" / "results"
    captions = json.loads((results / "epoch-1-captions.json").read_text())
    assert {row["image_id"] for row in captions} == set(TEST_PHOTOS["mscoco"])
    assert all(isinstance(row["caption"], str) for row in captions)
    metrics = json.loads((results / "epoch-1-metrics.json").read_text())
    assert {"BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "CLIPScore"} <= metrics.keys()
    assert ("SPICE" in metrics) != ("SPICE" in metrics.get("missing", {}))


def test_loss_and_learning_rate_go_to_the_log_and_to_tensorboard(folder: Path) -> None:
    # A share of 0.1 is four pairs, so its ten steps are ten passes; the log has every twentieth step and every epoch.
    run = folder / "runs" / "coco-b32"
    rows = [json.loads(line) for line in (run / "captioner.jsonl").read_text().splitlines()]
    (epoch,) = (row for row in rows if "epoch" in row)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    (scalar,) = events.Scalars("epoch/test_METEOR")
    assert (scalar.step, scalar.value) == (1, pytest.approx(epoch["test_METEOR"], rel=1e-4))


def test_the_table_has_the_rows_of_the_released_checkpoints(folder: Path) -> None:
    lines = printed(folder, "final_eval_for_paper.sh")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    computed = [row[:3] for row in rows[1:] if row[3] != "–"]
    assert computed == [
        ["coco-b32", "coco-b32", "10"],
        ["coco-l14", "flickr30k-l14", "6"],
        ["coco-b32", "nocaps-b32", "10"],
        *(["coco-b32", f"nocaps-b32, {domain}", "10"] for domain in DOMAINS),
    ]
    assert len(rows) == 1 + 8 + 2 + len(DOMAINS)
    (cross,) = printed(folder, "eval_cross_example.sh")
    row = next(row for row in rows if row[:2] == ["coco-l14", "flickr30k-l14"])
    assert float(row[7]) == pytest.approx(100 * json.loads(cross)["METEOR"], abs=0.05)


def test_official_names_are_read_until_the_run_has_files_of_its_own(folder: Path, tmp_path: Path) -> None:
    data = folder / "data"
    run = PaperRun(read_config(data / "configs" / "flickr30k-b32.toml"), data)
    assert run.path("train") == data / "flickr_stable_diffusion_vit_B32" / "flickr30k_caption_anno_train.pkl"
    assert run.path("concepts") == data / "PCM-Net" / "data" / "coco400_embeddings_ViT-B32_with_ensemble.pickle"
    assert run.own_path("train") == data / "flickr30k-sd" / "train.pkl"
    own = PaperRun(read_config(data / "configs" / "coco-b32.toml"), data)
    assert own.path("test_features") == data / "coco" / "b32"  # which the command `features` has written
    assert own.path("train_features").name == "img"  # of which there are only splits
    with np.load(own.train_files[1]) as held:
        assert held["features"].shape == (49, 768)


def test_the_checkpoint_of_an_epoch_is_found_under_both_names(folder: Path) -> None:
    released = folder / "data" / "release_models" / "in_domain" / "mscoco" / "vit_b32"
    assert find_checkpoint(released, 10).name == "model_Epoch_00010_Iter_0169499.pth"
    assert find_checkpoint(folder / "runs" / "coco-b32").name == "epoch-1.pt"
    with pytest.raises(FileNotFoundError, match="has no checkpoint of epoch 3; it has epochs: 10"):
        find_checkpoint(released, 3)


@pytest.mark.parametrize("name", ["coco-b32-retrieval", "coco-b32-gated", "coco-b32-cider"])
def test_what_goes_beyond_the_paper_is_off_and_a_short_configuration_turns_it_on(folder: Path, name: str) -> None:
    configs = folder / "data" / "configs"
    plain, beyond = (settings_of(read_config(configs / f"{file}.toml")) for file in ("coco-b32", name))
    changed = {key for key in plain if plain[key] != beyond[key] and key != "id"}
    assert changed
    assert all(key.startswith(("inference.", "self_critical.")) for key in changed)
    assert (plain["inference.gate"], plain["inference.retrieved_captions"], plain["self_critical.steps"]) == (0, 0, 0)
