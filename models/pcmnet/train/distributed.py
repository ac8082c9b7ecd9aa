"""Training in several processes, one a GPU, that `torchrun` starts; without it, in a single process."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..model.pcm_net import PCMNet


def start() -> torch.device:
    """Joins the process group if `torchrun` started this process, and returns its device."""
    gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        torch.cuda.set_device(local)
    return torch.device("cuda", local) if gpu else torch.device("cpu")


def rank() -> int:
    """The number of this process, from 0. Process 0 writes files and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Waits until all processes are here."""
    if world_size() > 1:
        dist.barrier()


class TeacherForcing(nn.Module):
    """From features to logits as one module: DistributedDataParallel wraps a single forward pass."""

    def __init__(self, model: PCMNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, grid: Tensor, local: Tensor, image: Tensor, concepts: Tensor, tokens: Tensor) -> Tensor:
        """See `PCMNet.encode` and `PCMNet.forward`  # [B·n, T, V]"""
        return self.model(self.model.encode(grid, local, image, concepts), tokens)


def shared(model: PCMNet) -> nn.Module:
    """`TeacherForcing` whose gradients are averaged over all processes."""
    forced = TeacherForcing(model)
    return DistributedDataParallel(forced, broadcast_buffers=False) if world_size() > 1 else forced
