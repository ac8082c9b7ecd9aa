"""Packed parts start a run where the packed one ended."""

from __future__ import annotations

from pathlib import Path

import torch

from pcmnet.embedded.checkpoints import PARTS, pack, unpack


def test_parts_come_back_to_half_precision(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    states = {part: {"weight": torch.randn(3, 4), "steps": torch.tensor(7)} for part in PARTS}
    for part, state in states.items():
        torch.save(state, run / f"{part}.pt")
    (run / "vocabulary.txt").write_text("a\ndog\nUNK\n")
    assert pack(run, tmp_path / "packed") < 3 * 1000
    unpack(tmp_path / "packed", tmp_path / "again")
    for part, state in states.items():
        found = torch.load(tmp_path / "again" / f"{part}.pt", weights_only=True)
        assert torch.equal(found["weight"], state["weight"].half().float())
        assert found["steps"] == 7
    assert (tmp_path / "again" / "vocabulary.txt").read_text() == "a\ndog\nUNK\n"
