"""A tuning that was packed goes on elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_tuning import run_toy_tuning

from pcmnet.embedded.progress import pack_progress, unpack_progress
from pcmnet.embedded.tune_stage import CHECKPOINT
from pcmnet.train.loop import Checkpoint


def test_a_packed_tuning_goes_on_from_its_step_with_its_average(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_toy_tuning(tmp_path / "here", stop=True)
    size = pack_progress(tmp_path / "here", tmp_path / "packed")
    assert size < (tmp_path / "here" / CHECKPOINT).stat().st_size / 4
    unpack_progress(tmp_path / "packed", tmp_path / "there")
    before = Checkpoint(tmp_path / "here" / CHECKPOINT).load()
    after = Checkpoint(tmp_path / "there" / CHECKPOINT).load()
    assert before is not None
    assert after is not None
    assert after["step"] == before["step"] == 2
    for part in ("model", "average"):
        assert after[part].keys() == before[part].keys()
        for name, value in before[part].items():
            assert torch.allclose(after[part][name].float(), value.float(), rtol=1e-3, atol=1e-6), name
    run_toy_tuning(tmp_path / "there")
    ended = Checkpoint(tmp_path / "there" / CHECKPOINT).load()
    assert ended is not None
    assert (ended["step"], ended["rewarmed"]) == (6, 2)


def test_a_run_keeps_its_own_state(tmp_path: Path) -> None:
    own = Checkpoint(tmp_path / "run" / CHECKPOINT)
    own.save({"model": {"weight": torch.ones(2)}, "average": {"weight": torch.ones(2)}, "step": 9})
    pack_progress(tmp_path / "run", tmp_path / "packed")
    own.save({"model": {}, "average": {}, "step": 10})
    unpack_progress(tmp_path / "packed", tmp_path / "run")
    state = own.load()
    assert state is not None
    assert state["step"] == 10


def test_without_a_tuning_there_is_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no tune\.ckpt"):
        pack_progress(tmp_path, tmp_path / "packed")
    unpack_progress(tmp_path / "packed", tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))
