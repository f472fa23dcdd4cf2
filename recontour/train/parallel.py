"""Several processes train one network: who this one is, and how they come to the same weights.

torchrun starts the processes and says in the environment which is which. Each draws its own patches and computes its
own gradients; before every step all of them take the mean. The networks hold 3 MB: one message a step carries all,
and there is nothing to gain from sending parts of it while the rest is still being computed.

Batch norm takes the statistics of each device's own patches, as in the paper with one device. The running means that
prediction uses are averaged with the gradients, so that at any time all processes hold the same network.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from recontour.errors import SettingsError
from recontour.network.device import choose_device

PATIENCE = timedelta(hours=2)  # how long the others wait while the first validates or makes its phantoms


@dataclass(frozen=True)
class Place:
    """Which process this is: `rank` of `processes`, computing on `device`. The first alone writes and says anything."""

    rank: int
    processes: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


def find_place(device: str) -> Place:
    """From the environment that torchrun sets, and the settings' device: auto, cpu, cuda or cuda:N.

    Raises SettingsError for one GPU asked for by several processes, UsageError for a device that is not here.
    """
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if processes > 1 and chosen.startswith("cuda"):
        if ":" in chosen:
            raise SettingsError(f"{device!r} for {processes} processes", where="device", allowed="auto, cpu or cuda")
        chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return Place(rank, processes, torch.device(chosen))


@contextmanager
def together(place: Place) -> Generator[None]:
    """The processes find each other, and part in the end. A single one has nobody to find."""
    if place.processes == 1:
        yield
        return
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    dist.init_process_group("nccl" if place.device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_goes_first(place: Place) -> Generator[None]:
    """The first process does what is inside alone; the others do it once he is through."""
    if not place.first:
        _wait_for_all(place)
    yield
    if place.first:
        _wait_for_all(place)


def average(tensors: Sequence[Tensor], place: Place) -> None:
    """Each tensor becomes its mean over all processes, in place; all of them in one message."""
    if place.processes == 1:
        return
    with torch.no_grad():
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)  # pyright: ignore[reportUnknownMemberType]
        flat /= place.processes
        begin = 0
        for tensor in tensors:
            tensor.copy_(flat[begin : begin + tensor.numel()].reshape(tensor.shape))
            begin += tensor.numel()


def anyone(wish: object, place: Place) -> bool:
    """Whether any of the processes wishes it: all of them must stop at the same step."""
    if place.processes == 1:
        return bool(wish)
    flag = torch.tensor([1.0 if wish else 0.0], device=place.device)
    average([flag], place)
    return float(flag) > 0


def _wait_for_all(place: Place) -> None:
    if place.processes > 1:
        dist.barrier()  # pyright: ignore[reportUnknownMemberType]
