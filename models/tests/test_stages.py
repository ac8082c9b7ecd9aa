"""The documented commands make the embedded model as its card says, and nothing more."""

from __future__ import annotations

from pathlib import Path

from pcmnet.config import read_config
from pcmnet.stages import STAGES
from pcmnet.workspace import Workspace

EMBEDDED = Path(__file__).parents[1] / "configs" / "embedded.toml"


def test_stages_that_a_configuration_does_not_name_are_left_out(tmp_path: Path):
    # Neither the data nor earlier stages are there: a stage that did anything would fail.
    work = Workspace(read_config(EMBEDDED), tmp_path / "data", tmp_path / "run")
    assert STAGES["self-critical"](work) == {}
    work.config.model.adapt_concepts = False
    work.config.domain.sources = []
    for name in ("concepts", "domain"):
        assert STAGES[name](work) == {}
    assert list((tmp_path / "run").iterdir()) == []
