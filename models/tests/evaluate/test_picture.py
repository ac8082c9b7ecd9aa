"""The picture of salient patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from pcmnet.cli import main
from pcmnet.evaluate.picture import draw, salient_concepts

EMBEDDED = Path(__file__).parents[2] / "default"


def test_salient_patches_are_those_of_the_largest_cells_under_their_best_concept() -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.3], [0.8, 0.85], [0.0, 0.1]], np.float32)
    assert salient_concepts(scores, 3) == {0: 1, 2: 1}
    assert salient_concepts(scores, 4) == {0: 1, 2: 1, 1: 1}


def test_patches_are_framed_where_they_are_and_named() -> None:
    manifest = {"grid": {"rows": 2, "columns": 3}}
    figure = draw(manifest, np.zeros((60, 60, 3), np.uint8), ["cat", "hat"], {4: 1}, "A cat")
    axes = figure.axes[0]
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert frame.get_xy() == (19.5, 29.5)
    assert (frame.get_width(), frame.get_height()) == (20, 30)
    assert [text.get_text() for text in axes.texts] == ["hat"]
    assert axes.get_title() == "A cat"
    assert axes.get_xlabel() == "concepts: cat, hat"


def test_the_command_draws_a_bundles_view_of_a_photo(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    main(["picture", str(EMBEDDED), str(tmp_path / "photo.png"), "--out", str(tmp_path / "out.png")])
    drawn = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert drawn.shape == (792, 720, 3)
    assert drawn.std() > 20


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"bundle\.json"):
        main(["picture", str(tmp_path), str(tmp_path / "photo.png"), "--out", str(tmp_path / "out.png")])
