"""The documented commands make the embedded model as its card says, and nothing more."""

from __future__ import annotations

from pathlib import Path

from pcmnet.config import read_config
from pcmnet.stages import STAGES
from pcmnet.workspace import Workspace

EMBEDDED = Path(__file__).parents[1] / "configs" / "embedded.toml"


def test_stages_that_the_embedded_model_was_not_trained_with_are_left_out(tmp_path: Path):
    # Neither the data nor earlier stages are there: a stage that did anything would fail.
    work = Workspace(read_config(EMBEDDED), tmp_path / "data", tmp_path / "run")
    for name in ("concepts", "self-critical"):
        assert STAGES[name](work) == {}
    assert list((tmp_path / "run").iterdir()) == []
