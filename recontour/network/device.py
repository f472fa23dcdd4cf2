"""Which processor does the arithmetic."""

from __future__ import annotations

import torch

from recontour.errors import UsageError


def choose_device(name: str) -> str:
    """ "cpu", "cuda" or "cuda:N" for what was asked; "auto" takes a GPU where there is one.

    Raises UsageError for a device that this machine does not have.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}", where="device", allowed="auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name!r} here", where="device", allowed=describe_devices())
    return name


def gpu_count() -> int:
    """How many GPUs this process may use."""
    return torch.cuda.device_count()


def describe_devices() -> str:
    """In words: the processor's threads, and every GPU."""
    names = [f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(torch.cuda.device_count())]
    return ", ".join([f"cpu ({torch.get_num_threads()} threads)", *names])
