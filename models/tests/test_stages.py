"""Stages do what a configuration asks for, and nothing more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcmnet.config import read_config
from pcmnet.stages import STAGES
from pcmnet.workspace import Workspace

EMBEDDED = Path(__file__).parents[1] / "configs" / "embedded.toml"


def test_stages_that_a_configuration_does_not_name_are_left_out(tmp_path: Path):
    # Neither the data nor earlier stages are there: a stage that did anything would fail.
    work = Workspace(read_config(EMBEDDED), tmp_path / "data", tmp_path / "run")
    for name in ("domain", "self-critical"):
        assert STAGES[name](work) == {}
    work.config.model.adapt_concepts = False
    assert STAGES["concepts"](work) == {}
    assert list((tmp_path / "run").iterdir()) == []


def test_a_source_without_training_photos_is_refused(tmp_path: Path):
    photos = [{"image": f"{split}.jpg", "source": "mine", "split": split, "captions": ["a dog"]} for split in ("train", "val")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, photos)))
    work = Workspace(read_config(EMBEDDED), tmp_path, tmp_path / "run")
    work.config.domain.sources = ["flickr8k"]
    with pytest.raises(ValueError, match="no training photo is of the sources flickr8k"):
        STAGES["domain"](work)
