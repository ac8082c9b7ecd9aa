"""Settings that make no sense or have no effect are errors; those of the README are neither."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from pcmnet.cli import main
from pcmnet.config import read_config
from pcmnet.paper.run import PaperRun

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_ablation_of_the_readme_is_a_configuration() -> None:
    readme = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    _, _, table = readme.partition("| ablation | `--set` |")
    rows = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ") and "---" not in line]
    alternatives = [part for row in rows for part in row.split("|")[2].split(", or ")]
    for alternative in alternatives:
        changes = re.findall(r"`([a-z_.0-9]+=[^`]+)`", alternative)
        assert changes, alternative
        assert PaperRun(read_config(CONFIGS / "coco-b32.toml", changes), Path())
    assert len(alternatives) >= 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("model.k2=0", "model.k2 must be a share between 0 and 1, or 1 to 245 whole cells, got 0.0"),
        ("model.k2=-1", "model.k2 must be"),
        ("model.k2=2.5", "model.k2 must be"),
        ("model.mode='most'", "model.mode must be one of top, random, all, off"),
        ("model.mode='random'", "model.k2 must be the probability of a patch, below 1, in mode random, got 5.0"),
        ("model.temperature=0", "model.temperature must be above 0"),
        ("captioner.learning_rate=1e-3", "captioner.learning_rate has no effect: adam follows Noam's schedule"),
        ("captioner.warmup_steps=0", "captioner.warmup_steps must be at least 1 for adam"),
        ("captioner.focal='all'", "captioner.focal must be one of"),
        ("captioner.betas=[0.9]", "captioner.betas must be two"),
        ("data.share=0", "data.share must be above 0"),
        ("refine.epochs=2", "refine.epochs has no effect here: only the embedded model's path reads it"),
        ("captioner.teacher=true", "captioner.teacher has no effect here"),
        ("inference.gate=1.0", "inference.gate must be at least 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense_or_have_no_effect_are_errors(change: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        main(["paper", "train", str(CONFIGS / "coco-b32.toml"), "--data", str(tmp_path), "--run", str(tmp_path), "--set", change])
    assert says in str(error.value)


def test_a_setting_that_a_mode_leaves_without_effect_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"model\.k2 has no effect: mode all does not choose patches"):
        read_config(CONFIGS / "coco-b32.toml", ["model.mode='all'", "model.k2=0.3"])
    with pytest.raises(ValueError, match=r"captioner\.noam_factor has no effect: only adam"):
        read_config(CONFIGS / "embedded.toml", ["captioner.noam_factor=2"])


def test_the_page_on_the_paper_has_every_official_name() -> None:
    page = (CONFIGS.parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")
    table = page.partition("### Official names and ours")[2]
    for name in ("coco-b32", "coco-l14", "flickr30k-b32", "flickr30k-l14"):
        config = read_config(CONFIGS / f"{name}.toml")
        tower = name[-3:].upper()
        for key, official in asdict(config.released).items():
            assert official.replace(tower, "TOWER") in table, (name, key)
        for row in ("train", "train_features", "test", "test_features", "vocabulary"):
            assert getattr(config.data, row).replace("l14", "b32") in table, (name, row)
