"""One process a GPU, started by `torchrun`; a process by itself without it."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .model import PCMNet


def start() -> torch.device:
    """Joins the processes that `torchrun` started, if it did, and returns the device of this one."""
    gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        torch.cuda.set_device(local)
    return torch.device("cuda", local) if gpu else torch.device("cpu")


def number() -> int:
    """Of this process; 0 writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """For all processes to come here."""
    if count() > 1:
        dist.barrier()


class TeacherForcing(nn.Module):
    """The whole way from features to logits as one module, which is what several processes share."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, grid: Tensor, local: Tensor, image: Tensor, concepts: Tensor, tokens: Tensor) -> Tensor:
        """See `PCMNet.encode` and `PCMNet.forward`  # [B·n, T, V]"""
        return self.model(self.model.encode(grid, local, image, concepts), tokens)


def shared(model: PCMNet) -> nn.Module:
    """`TeacherForcing`, its gradients the mean of those of all processes."""
    forced = TeacherForcing(model)
    return DistributedDataParallel(forced, broadcast_buffers=False) if count() > 1 else forced
