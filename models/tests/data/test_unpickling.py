"""Files of other people: what is read, and what is refused before it runs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcmnet.data.concepts import read_concepts
from pcmnet.data.records import read_rows
from pcmnet.data.unpickling import load_pickle, load_tensors, state_dict_in
from pcmnet.model.clip import read_openai


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class Hides:
    """Brings a pickle of its own, which `torch.storage._load_from_bytes` would load without any restriction."""

    def __init__(self, inner: bytes) -> None:
        self.inner = inner

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.inner,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_arrays_and_containers_are_read(protocol: int, tmp_path: Path) -> None:
    held = (["a", "b"], torch.randn(2, 3).half(), {"x": np.arange(4.0), "y": np.float32(2.5)}, OrderedDict(z=(1, None, True)))
    (tmp_path / "p").write_bytes(pickle.dumps(held, protocol))
    words, tensor, arrays, ordered = load_pickle(tmp_path / "p")
    assert words == ["a", "b"]
    assert torch.equal(tensor, held[1])
    assert np.array_equal(arrays["x"], held[2]["x"])
    assert arrays["y"] == 2.5
    assert ordered == held[3]


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Runs(mark)))
    assert mark.exists(), "the attack works where nothing restricts it"
    mark.unlink()
    torch.save({"model": Runs(mark)}, tmp_path / "inner")
    for held in ((["a"], Runs(mark)), [Hides((tmp_path / "inner").read_bytes())]):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(held))
        for load in (load_pickle, read_concepts, read_rows):
            with pytest.raises(ValueError, match="was not read"):
                load(tmp_path / "p.pkl")
    torch.save({"model": {"w": torch.ones(2)}, "trainer": Runs(mark)}, tmp_path / "checkpoint")
    for load in (load_tensors, state_dict_in, read_openai):
        with pytest.raises(ValueError, match="was not read") as refused:
            load(tmp_path / "checkpoint")
        assert "weights_only" not in str(refused.value)
    assert not mark.exists()


def test_what_is_no_pickle_or_no_state_dict_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for load in (load_pickle, load_tensors):
        with pytest.raises(ValueError, match="was not read"):
            load(tmp_path / "text")
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(ValueError, match="holds a list"):
        load_tensors(tmp_path / "list")
    torch.save({"model": {"w": 3}}, tmp_path / "numbers")
    with pytest.raises(ValueError, match="no state dict"):
        state_dict_in(tmp_path / "numbers")


def test_weights_are_found_under_model_and_without_their_prefix(tmp_path: Path) -> None:
    weights = {"module.a.weight": torch.ones(2), "module.b": torch.zeros(1)}
    trainer = {"iteration": 7, "lr": np.float64(0.1), "optimizer": {"state": {}, "param_groups": [{"params": [0]}]}}
    torch.save({"model": weights, "trainer": trainer}, tmp_path / "checkpoint")
    assert list(state_dict_in(tmp_path / "checkpoint")) == ["a.weight", "b"]
    torch.save(OrderedDict(weights), tmp_path / "plain")
    assert list(state_dict_in(tmp_path / "plain")) == ["a.weight", "b"]
