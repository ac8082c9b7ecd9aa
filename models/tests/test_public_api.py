"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pcmnet


def test_every_public_name_is_there_and_importing_the_package_loads_none() -> None:
    assert set(pcmnet.__all__) <= set(dir(pcmnet))
    for name in pcmnet.__all__:
        assert getattr(pcmnet, name) is not None
    program = "import sys, pcmnet; print(sorted({'torch', 'numpy', 'transformers'} & sys.modules.keys()))"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_version_is_one_of_three_numbers() -> None:
    assert [part.isdigit() for part in pcmnet.__version__.split(".")] == [True] * 3


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pcmnet' has no attribute 'nothing'"):
        _ = pcmnet.nothing
