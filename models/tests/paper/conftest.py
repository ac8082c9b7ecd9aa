"""The tiny run that tests of the paper's path share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import write_tiny_run

from pcmnet.cli import main


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, and data up to the features."""
    folder = tmp_path_factory.mktemp("tiny")
    config = write_tiny_run(folder)
    for command in ("prepare", "concepts", "features"):
        main(["paper", command, str(config), "--data", str(folder / "data")])
    return folder
