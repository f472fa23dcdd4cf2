"""One network, trained on pairs: flat, from top to bottom.

A run is a folder: state.safetensors (weights, optimiser, step), settings.json, log.jsonl. Started again with the same
settings it goes on from its last state.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recontour.errors import SettingsError
from recontour.network.architectures import Network, build_network, output_sizes
from recontour.network.catalogue import LABELS
from recontour.train.dataset import ScanPair
from recontour.train.losses import Batch, LossWeights, joint_loss
from recontour.train.sampling import cut_patch, draw_centre

STATE, LOG, SETTINGS = "state.safetensors", "log.jsonl", "settings.json"


@dataclass(frozen=True)
class TrainSettings:
    """patch_voxels: the input's side; multiples of 4 from 44 on. batch: patches a step, before swapping doubles them.

    learning_rate: the paper's is 1e-4, for 200,000 steps. head_rate: factor on it for the three registration heads:
    they begin at displacements of hundredths of a mm, and a short training has no time to grow them. beta2: how long
    RAdam remembers squared gradients; its steps are small until it has seen about 1 / (1 - beta2) of them.
    """

    architecture: str = "cross-stitch"
    seed: int = 0
    steps: int = 200_000
    patch_voxels: int = 96
    batch: int = 2
    learning_rate: float = 1e-4
    head_rate: float = 1.0
    beta2: float = 0.999
    bf16: bool = False
    hu_window: tuple[float, float] = (-1000.0, 1000.0)
    weights: LossWeights = field(default_factory=LossWeights)
    save_every_s: float = 180.0
    log_every: int = 20

    def __post_init__(self) -> None:
        output_sizes(self.patch_voxels)
        for name in ("steps", "batch", "log_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{getattr(self, name)}", where=f"train.{name}", allowed="at least 1")
        for name in ("learning_rate", "head_rate"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{getattr(self, name)}", where=f"train.{name}", allowed="above 0")


def train(pairs: Sequence[ScanPair], settings: TrainSettings, run: Path, until_s: float = float("inf")) -> Network:
    """Trains to `settings.steps`, or for `until_s` seconds of this call, and saves; returns the network.

    Patches of step k depend on the seed and on k alone, so a run that was broken off sees what it would have seen.
    """
    run.mkdir(parents=True, exist_ok=True)
    (run / SETTINGS).write_text(json.dumps(asdict(settings), indent=1), encoding="utf-8")
    torch.manual_seed(settings.seed)  # pyright: ignore[reportUnknownMemberType]
    network = build_network(settings.architecture).train()
    for parameter in (p for p in network.parameters() if p.dim() == 5):  # channels last: a fifth faster
        parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.RAdam(_groups(network, settings), lr=settings.learning_rate, betas=(0.9, settings.beta2))
    step = load_state(run, network, optimiser)
    began = saved = time.monotonic()

    while step < settings.steps and time.monotonic() - began < until_s:
        batch = draw_batch(pairs, settings, np.random.default_rng((settings.seed, step))).both_ways()
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            output = network(batch.fixed, batch.moving, batch.moving_labels.float())
        loss, terms = joint_loss(output, batch, settings.weights, len(LABELS))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        step += 1
        if step % settings.log_every == 0:
            _log(run, {"step": step, "seconds": time.monotonic() - began, "loss": float(loss.detach()), **terms})
        if time.monotonic() - saved > settings.save_every_s:
            save_state(run, network, optimiser, step)
            saved = time.monotonic()

    save_state(run, network, optimiser, step)
    return network.eval()


def draw_batch(pairs: Sequence[ScanPair], settings: TrainSettings, rng: np.random.Generator) -> Batch:
    """`settings.batch` patches, each from a pair drawn at random."""
    side = settings.patch_voxels
    parts: list[list[NDArray[np.generic]]] = [[], [], [], []]
    for _ in range(settings.batch):
        pair = pairs[int(rng.integers(len(pairs)))]
        centre = draw_centre(pair.fixed_labels, pair.fixed_hu, rng)
        for part, f in zip(parts, fields(pair), strict=True):
            part.append(cut_patch(getattr(pair, f.name), centre, side))
    fixed, moving, fixed_labels, moving_labels = (np.stack(part)[:, None] for part in parts)
    low, high = settings.hu_window
    scans = [torch.as_tensor(hu, dtype=torch.float32).clamp(low, high) / 1000.0 for hu in (fixed, moving)]
    labels = [torch.as_tensor(array, dtype=torch.int64) for array in (fixed_labels, moving_labels)]
    return Batch(*scans, *labels)


def save_state(run: Path, network: Network, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Weights, optimiser and step into one file, written beside and renamed: a broken write leaves the last one."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in state.items()}
    tensors["step"] = torch.tensor(step)
    beside = run / f"{STATE}.new"
    beside.write_bytes(save(tensors))
    os.replace(beside, run / STATE)


def load_state(run: Path, network: Network, optimiser: torch.optim.Optimizer | None = None) -> int:
    """Puts the run's last state into the network, and the optimiser; returns its step, 0 where there is none yet."""
    from safetensors.torch import load

    if not (run / STATE).exists():
        return 0
    tensors = load((run / STATE).read_bytes())
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    if optimiser is not None:
        whole = optimiser.state_dict()
        for key in (k for k in tensors if k.startswith("optimiser.")):
            _, index, name = key.split(".")
            whole["state"].setdefault(int(index), {})[name] = tensors[key]
        optimiser.load_state_dict(whole)
    return int(tensors["step"])


def _groups(network: Network, settings: TrainSettings) -> list[dict[str, object]]:
    heads = list(network.register_field.parameters()) if network.register_field is not None else []
    known = {id(p) for p in heads}
    rest = [p for p in network.parameters() if id(p) not in known]
    groups: list[dict[str, object]] = [{"params": rest}]
    return [*groups, {"params": heads, "lr": settings.learning_rate * settings.head_rate}] if heads else groups


def _log(run: Path, row: dict[str, float]) -> None:
    with (run / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({k: round(v, 5) for k, v in row.items()}) + "\n")
