"""From captioned photos to the service's captions, with a random CLIP: prepare, train, evaluate, convert, serve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from served import compile_service, service
from tiny_run import DATA, TEST, TRAIN, write_tiny_run

from pcmnet.cli import main
from pcmnet.config import PRECISIONS


def test_captioned_photos_become_a_served_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compile_service()
    config, data, run = write_tiny_run(tmp_path), tmp_path / "data", tmp_path / "run"

    def pcmnet(name: str, *options: str) -> str:
        main(["paper", name, str(config), "--data", str(data), *options])
        return capsys.readouterr().out

    assert f"{TRAIN} training pairs, {TEST} test images" in pcmnet("prepare")
    assert "concepts" in pcmnet("concepts")
    assert pcmnet("features") == f"features of {TRAIN + TEST} images written\n"
    assert f"{TRAIN} pairs scored" in pcmnet("clipscore")

    pcmnet("train", "--run", str(run), "--set", "data.test=''")
    log = [json.loads(line) for line in (run / "captioner.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < losses[0] / 2

    def captions_in(file: Path) -> list[str]:
        return [json.loads(line)["caption"] for line in file.read_text().splitlines()]

    papers = tmp_path / "paper.jsonl"
    trained = json.loads(pcmnet("evaluate", "--run", str(run), "--captions", str(papers)))
    assert {"BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "CLIPScore"} <= trained.keys()

    files = {"clip": "clip.pt", "concepts": "concepts.pkl", "vocabulary": "vocabulary.txt", "merges": "merges.txt"}
    options = [part for name, file in files.items() for part in (f"--{name}", str(data / file))]
    bundle = tmp_path / "bundle"
    options += ["--precisions", *PRECISIONS, "--photos", str(data / "images")]
    main(["convert", str(run / "epoch-60.pt"), *options, "--out", str(bundle)])
    assert "w8: " in capsys.readouterr().out

    for precision in PRECISIONS:
        with service(bundle, precision) as (url, _):
            out = tmp_path / f"{precision}.jsonl"
            options = ["--url", url, "--bundle", str(bundle), "--precision", precision, "--captions", str(out)]
            served = json.loads(pcmnet("evaluate", *options))
        captions = captions_in(out)
        assert served["equalCaptions"] == 1, precision
        if precision == "fp32":
            # From the files that training reads, by the paper's search, in PyTorch.
            assert [caption.lower() for caption in captions] == captions_in(papers)
        assert len(set(captions)) > (TEST // 2 if DATA.exists() else TEST // 3)
        assert not any(caption.endswith(".") or caption != caption.strip() for caption in captions)
        # Photos through PyTorch, the graphs and the service: the metrics tell whether all three wrote the same. Of drawings CIDEr
        # is near 5, where a word more or less counts for more.
        tolerance = 0.02 if DATA.exists() else 0.1
        assert served["CIDEr"] == pytest.approx(trained["CIDEr"], abs=tolerance), precision
