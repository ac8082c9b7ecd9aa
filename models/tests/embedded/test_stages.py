"""Stages do what a configuration asks for, and nothing more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcmnet.config import STAGE_NAMES, Config
from pcmnet.embedded.stages import STAGES
from pcmnet.embedded.workspace import Workspace


def test_stages_that_a_configuration_does_not_name_are_left_out(tmp_path: Path):
    # Neither the data nor earlier stages are there: a stage that did anything would fail.
    config = Config()
    config.model.adapt_concepts = False
    work = Workspace(config, tmp_path / "data", tmp_path / "run")
    for name in ("refine", "self-critical", "concepts"):
        assert STAGES[name](work) == {}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_source_without_training_photos_is_refused(tmp_path: Path):
    photos = [{"image": f"{split}.jpg", "source": "mine", "split": split, "captions": ["a dog"]} for split in ("train", "val")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, photos)))
    work = Workspace(Config(), tmp_path, tmp_path / "run")
    work.config.self_critical.steps, work.config.self_critical.sources = 1, ["flickr8k"]
    with pytest.raises(ValueError, match="no training photo is of the sources flickr8k"):
        STAGES["self-critical"](work)


def test_stages_run_in_the_order_that_the_command_line_lists() -> None:
    assert tuple(STAGES) == STAGE_NAMES
