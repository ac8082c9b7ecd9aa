"""What a run reads and writes: its folder, checkpoints, features, metrics and records."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import SHORT, run_of

from pcmnet.cli import main
from pcmnet.data.clip_pixels import decode_for_clip
from pcmnet.data.records import id_of_image
from pcmnet.model.checkpoint import write_checkpoint
from pcmnet.paper.evaluate import measure
from pcmnet.paper.prepare import prepare
from pcmnet.paper.run import PaperRun

CONFIGS = Path(__file__).parents[2] / "configs"


def paper(prepared: Path, command: str, *options: str) -> None:
    changes = [part for change in (*SHORT, "captioner.epochs=1", "data.test=''") for part in ("--set", change)]
    main(["paper", command, str(prepared / "tiny.toml"), "--data", str(prepared / "data"), *changes, *options])


def test_a_runs_folder_refuses_another_configuration_and_names_the_differences(prepared: Path, tmp_path: Path) -> None:
    run = ("--run", str(tmp_path / "run"))
    paper(prepared, "train", *run)
    before = (tmp_path / "run" / "epoch-1.pt").read_bytes()
    with pytest.raises(SystemExit, match=r"another configuration: captioner\.focal is 'none', not 'batch'\. Name another folder"):
        paper(prepared, "train", *run, "--resume", "--set", "captioner.focal='none'")
    with pytest.raises(SystemExit, match="holds a run of this configuration: continue it by --resume"):
        paper(prepared, "train", *run)
    assert (tmp_path / "run" / "epoch-1.pt").read_bytes() == before
    paper(prepared, "train", *run, "--resume", "--set", "captioner.workers=0")  # which changes no result
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(SystemExit, match="does not say of which configuration it is"):
        paper(prepared, "train", *run, "--resume")


def test_one_corrupt_image_is_listed_and_the_others_have_features(prepared: Path, tmp_path: Path) -> None:
    images = tmp_path / "data" / "photos"
    images.mkdir(parents=True)
    for name in ("COCO_val2014_000000000042.png", "b.png"):
        Image.new("RGB", (60, 60), "red").save(images / name)
    (images / "cut.png").write_bytes((images / "b.png").read_bytes()[:60])
    (images / "empty.jpg").write_bytes(b"")
    for name in ("clip.pt", "merges.txt", "vocabulary.txt"):
        (tmp_path / "data" / name).symlink_to(prepared / "data" / name)
    places = {"images": "photos", "features": "out"}
    changes = [f"data.{kind}_{what}='{place}'" for kind in ("train", "test") for what, place in places.items()]
    arguments = ["paper", "features", str(prepared / "tiny.toml"), "--data", str(tmp_path / "data")]
    with pytest.raises(SystemExit) as error:
        main([*arguments, *(part for change in changes for part in ("--set", change))])
    listed = str(error.value).splitlines()
    assert listed[0].endswith("2 files are no whole images and have no features:")
    assert [Path(line.partition(":")[0]).name for line in listed[1:]] == ["cut.png", "empty.jpg"]
    assert sorted(path.name for path in (tmp_path / "data" / "out").iterdir()) == ["42.npz", "b.npz"]


def test_metrics_stand_alone_and_a_missing_one_says_why(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(prepared, tmp_path, "data.clip='nowhere.pt'")
    captions = [image.captions[0] for image in run.test]
    found = measure(captions, run, tmp_path / "metrics.json")
    assert found["BLEU-4"] == pytest.approx(1, abs=1e-6)
    assert found["METEOR"] > 0.9
    assert "CLIPScore" not in found
    assert "nowhere.pt" in found["missing"]["CLIPScore"]
    assert "CLIPScore is left out" in capsys.readouterr().err
    assert json.loads((tmp_path / "metrics.json").read_text()) == found

    monkeypatch.setenv("PATH", str(tmp_path))  # where Java is not
    run = run_of(prepared, tmp_path)
    found = measure(captions, run, tmp_path / "metrics.json")
    assert isinstance(found["CLIPScore"], float)
    assert found["missing"]["BLEU"] == "Java is not installed, and caption metrics need it"
    assert {"BLEU", "METEOR", "ROUGE-L", "CIDEr", "SPICE"} == found["missing"].keys()


def test_a_checkpoint_is_evaluated_in_its_own_configuration(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path, "model.mode='all'")
    write_checkpoint(tmp_path / "epoch-1.pt", run.model(), run.config)
    plain = run_of(prepared, tmp_path)
    assert plain.config.model.mode == "top"
    assert plain.model(plain.checkpoint()).config.mode == "all"
    changed = PaperRun(plain.config, plain.data, tmp_path, ["model.threshold=0.2"])
    assert (changed.model(changed.checkpoint()).config.mode, changed.model(changed.checkpoint()).config.threshold) == ("all", 0.2)


def test_records_are_written_in_the_released_types(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path, "data.train='typed.pkl'")
    run.prepare(synthetic=False)
    run.score_pairs()
    for row in pickle.loads((prepared / "data" / "typed.pkl").read_bytes()):
        assert isinstance(row["image_id"], str)
        assert isinstance(row["tokens_ids"], np.ndarray)
        assert row["tokens_ids"].shape == row["target_ids"].shape == (1, 21)
        assert isinstance(row["clipscore"], float)


def test_coco_photos_are_named_by_their_number() -> None:
    names = ["COCO_val2014_000000391895.jpg", "000000391895.jpg", "1007129816.jpg", "a_000000000005.jpg", "0000000.jpg"]
    assert [id_of_image(name) for name in names] == ["391895", "391895", "1007129816", "a_000000000005", "0000000"]
    assert (
        prepare([{"image": "train2014/COCO_train2014_000000000009.jpg", "captions": ["a"]}], False, 1, 5)[1][0]["image_id"] == "9"
    )


def test_pixels_ignore_the_orientation_as_the_released_extractor_does(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5).resize((64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "plain.png")
    assert np.array_equal(decode_for_clip(tmp_path / "turned.png", 56), decode_for_clip(tmp_path / "plain.png", 56))


def test_features_are_read_ahead_by_other_processes(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(prepared, tmp_path)
    features = run.features(run.model(), run.train_files)
    plan = [np.array([3, 1]), np.array([0, 2]), np.array([5, 4])]
    read = [features.ahead(iter(plan), workers=2)]
    for rows in plan:
        for one, other in zip(read[0].batch(rows), features.batch(rows), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(ValueError, match="not the next of the plan"):
        features.ahead(iter(plan), workers=1).batch(plan[1])

    monkeypatch.setattr("pcmnet.data.clip_features._unit", lambda _: np.array([os.getpid()], np.float64))
    process = features.ahead(iter(plan), workers=1).batch(plan[0])[2][0].item()
    assert process != os.getpid()
    (tmp_path / "cut.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cut\.npz holds no features"):
        run.features(run.model(), [tmp_path / "cut.npz"]).ahead(iter([np.array([0])]), workers=1).batch(np.array([0]))
