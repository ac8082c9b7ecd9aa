"""Reads untrusted pickles without running code in them: only tensors, arrays and plain containers are allowed."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy._core import multiarray, numeric
from torch import Tensor


def _load_storage(data: bytes) -> Any:
    """Replaces `torch.storage._load_from_bytes`, which a pickled tensor calls and which would unpickle without restriction."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


# The functions that rebuild arrays moved between versions of numpy; a pickle names the module of the version that wrote it.
_NUMPY = {
    (module, name): getattr(core, name)
    for module, core, names in (("multiarray", multiarray, ("_reconstruct", "scalar")), ("numeric", numeric, ("_frombuffer",)))
    for name in names
}
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.{module}", name): made for core in ("core", "_core") for (module, name), made in _NUMPY.items()},
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is no tensor, array or plain container") from None


def _unpickle(file: BinaryIO) -> Any:
    return _Restricted(file).load()


def load_pickle(path: Path) -> Any:
    """Reads a file of `pickle.dump`. Raises ValueError for anything but tensors, arrays, numbers, strings and plain
    containers."""
    try:
        with path.open("rb") as file:
            return _unpickle(file)
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} was not read: {error}") from error


def load_tensors(path: Path) -> dict[str, Any]:
    """Reads a dictionary that `torch.save` wrote, to the CPU. Raises ValueError for the same reasons as `load_pickle`."""
    allowed = [*_NUMPY.values(), np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in np.sctypeDict.values())]
    try:
        with torch.serialization.safe_globals(allowed):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, RuntimeError) as error:
        # Only the refused name is kept of PyTorch's message, which advises to load without the restriction.
        refused = str(error).partition("GLOBAL ")[2].split(" was not")[0]
        raise ValueError(f"{path} was not read: " + (f"it holds {refused}" if refused else "it is no PyTorch file")) from None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors")
    return state


def state_dict_in(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a training checkpoint. Raises ValueError if it holds none."""
    return state_dict_of(load_tensors(path), path)


def state_dict_of(held: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, under `model` or at the top, without the prefix `module.` of their names. Raises ValueError if
    it holds none."""
    state = held.get("model", held)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}
