"""Two processes that share every batch train as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from tiny_run import write_tiny_run

from pcmnet.cli import main
from pcmnet.config import read_config
from pcmnet.paper.run import PaperRun

ROOT = Path(__file__).parents[2]
# All captions cut to six words, so that each process averages over as many tokens; nothing is drawn but the order.
SAME = {
    "data.test": "''",
    "model.max_words": "5",
    "model.noise_variance": "0.0",
    "captioner.focal": "'none'",
    "captioner.epochs": "1",
}


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    config, data = write_tiny_run(tmp_path), tmp_path / "data"
    changes = [part for name, value in SAME.items() for part in ("--set", f"{name}={value}")]
    common = [str(config), "--data", str(data), *changes]
    for command in ("prepare", "concepts", "features"):
        main(["paper", command, *common])
    main(["paper", "train", *common, "--run", str(tmp_path / "one")])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "--",
        "pcmnet",
        "paper",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, "train", *common, "--run", str(tmp_path / "two")], cwd=ROOT, env=environment, check=True)
    start = PaperRun(read_config(config, list(changes[1::2])), data).model().state_dict()
    one, two = (torch.load(tmp_path / name / "epoch-1.pt")["model"] for name in ("one", "two"))
    change, difference = (
        torch.cat([(of[name] - other[name]).flatten() for name in start]).norm() for of, other in ((one, start), (one, two))
    )
    # Adam takes the sign of gradients that are next to nothing, and these add up in another order.
    assert 0 < difference < 0.02 * change
    assert torch.load(tmp_path / "two" / "captioner.ckpt")["step"] == 4
