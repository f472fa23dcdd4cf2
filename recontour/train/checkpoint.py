"""Everything that a training needs to go on as if it had never stopped, in one file that notices its own damage.

What is kept: the network (weights and the running means of batch norm), the weighting of the losses (what it has
learnt or seen), the critic, both optimisers' moments and step counts, how far and how good the training is, and
torch's random state. Nothing else changes from step to step: batches and the critic's random numbers are functions of
(seed, step, rank), the learning rate is fixed, and with several processes all of them hold the same of everything, so
that the first one's copy is everybody's. Therefore a training that goes on from a checkpoint, newer or older, comes to
the same weights bit for bit; on a GPU only as far as the GPU repeats itself (docs/training.md).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import recontour
from recontour.errors import ModelRefused, OutputRefused, UsageError
from recontour.network.architectures import Network
from recontour.train.folder import BEST, CHECKPOINT, PREVIOUS, SET_ASIDE, put_in_place, write_beside, write_whole
from recontour.train.weighting import Weighting

SHA = "sha256"
Tensors = dict[str, Tensor]
About = dict[str, str]


@dataclass
class Training:
    """All that changes while a network learns. step: done so far. seconds: spent in all. best_msd_mm, last_msd_mm: of
    validations; validated: the step of the last one."""

    network: Network
    weighting: Weighting
    optimiser: Optimizer
    critic: nn.Module | None = None
    critic_optimiser: Optimizer | None = None
    step: int = 0
    seconds: float = 0.0
    best_msd_mm: float = math.inf
    last_msd_mm: float = math.nan
    validated: int = 0

    def modules(self) -> dict[str, nn.Module]:
        """Those that are there, by name."""
        all_of_them: dict[str, nn.Module | None] = {
            "network": self.network,
            "weighting": self.weighting,
            "critic": self.critic,
        }
        return {name: module for name, module in all_of_them.items() if module is not None}

    def optimisers(self) -> dict[str, Optimizer]:
        """Those that are there, by name."""
        both = {"optimiser": self.optimiser, "critic_optimiser": self.critic_optimiser}
        return {name: optimiser for name, optimiser in both.items() if optimiser is not None}


NUMBERS = {"step": int, "seconds": float, "best_msd_mm": float, "last_msd_mm": float, "validated": int}


def save_checkpoint(run: Path, training: Training) -> None:
    """The checkpoint becomes the previous one, and the training's state the checkpoint.

    At any moment one of both is whole. Raises OutputRefused where it cannot be written (a full disk): both old ones
    are then as they were.
    """
    about = {name: repr(getattr(training, name)) for name in NUMBERS}
    try:
        beside = write_beside(run / CHECKPOINT, to_bytes(_tensors(training), about))
        moves = [(beside, run / CHECKPOINT)]
        put_in_place(*([(run / CHECKPOINT, run / PREVIOUS), *moves] if (run / CHECKPOINT).exists() else moves))
    except OSError as error:
        found = f"the checkpoint of step {training.step} cannot be written: {error.strerror}"
        allowed = f"make room; {_standing(run)}"
        raise OutputRefused(found, where=f"{run.name}/{CHECKPOINT}", allowed=allowed) from error


def load_checkpoint(run: Path, training: Training) -> None:
    """Puts the run's last state into `training`; where there is none yet, leaves it as it is.

    Raises ModelRefused for a file that is not what was written, and says what to do.
    """
    path = run / CHECKPOINT
    if not path.exists():  # the process died between two renames, or the checkpoint was set aside
        path = run / PREVIOUS
    if not path.exists():
        return
    try:
        _restore(training, *read_state(path))
    except ModelRefused as damage:
        raise ModelRefused(damage.found, where=f"{run.name}/{path.name}", allowed=_way_out(run, path)) from damage


def set_checkpoint_aside(run: Path) -> None:
    """The previous checkpoint is the next one to be loaded. Raises UsageError where there is none, ModelRefused where
    it is damaged too."""
    if not (run / PREVIOUS).exists():
        raise UsageError("no previous checkpoint", where=run.name, allowed="a run that has saved twice")
    read_state(run / PREVIOUS)
    if (run / CHECKPOINT).exists():
        put_in_place((run / CHECKPOINT, run / SET_ASIDE))


def save_best(run: Path, training: Training) -> None:
    """The network's weights alone, with the step and the validation MSD. Raises OutputRefused."""
    about = {"step": str(training.step), "validation_msd_mm": repr(training.last_msd_mm)}
    write_whole(run / BEST, to_bytes(_own(training.network.state_dict()), about))


def to_bytes(tensors: Tensors, about: About) -> bytes:
    """A safetensors file with the sha256 of its content among what it says about itself."""
    from safetensors.torch import save

    about = {**about, "recontour": recontour.__version__}
    return save(tensors, {**about, SHA: _digest(tensors, about)})


def read_state(path: Path) -> tuple[Tensors, About]:
    """What `to_bytes` was given. Raises ModelRefused where a single bit of it has changed."""
    from safetensors import SafetensorError, safe_open

    try:
        opened: Any = safe_open(path, "pt")
        with opened as file:
            about: About = dict(file.metadata() or {})
            tensors: Tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError) as error:
        raise ModelRefused("the file is damaged: it cannot be read", where=path.name) from error
    if about.pop(SHA, "") != _digest(tensors, about):
        raise ModelRefused("the file is damaged: its content is not what was written", where=path.name)
    return tensors, about


def last_weights(run: Path) -> Tensors:
    """The network's weights at the last checkpoint of a run. Raises ModelRefused where it is damaged."""
    tensors, _ = read_state(run / CHECKPOINT)
    prefix = "network."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _tensors(training: Training) -> Tensors:
    tensors: Tensors = {"random": torch.get_rng_state()}
    for name, module in training.modules().items():
        tensors |= _own(module.state_dict(), f"{name}.")
    for name, optimiser in training.optimisers().items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= _own(state, f"{name}.{index}.")
    return tensors


def _own(tensors: Tensors, prefix: str = "") -> Tensors:
    return {f"{prefix}{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _restore(training: Training, tensors: Tensors, about: About) -> None:
    try:
        for name, module in training.modules().items():
            module.load_state_dict(_part(tensors, f"{name}."))
        for name, optimiser in training.optimisers().items():
            _restore_optimiser(optimiser, _part(tensors, f"{name}."))
        for name, kind in NUMBERS.items():
            setattr(training, name, kind(about[name]))
        torch.set_rng_state(tensors["random"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelRefused("the file is whole, but of another network or version") from error


def _restore_optimiser(optimiser: Optimizer, tensors: Tensors) -> None:
    """Moments take the memory layout of their parameters, as they had it: another order of summing would show."""
    parameters: list[Tensor] = [p for group in optimiser.param_groups for p in group["params"]]
    whole = optimiser.state_dict()
    for key, value in tensors.items():
        index, name = key.split(".")
        own = parameters[int(index)]
        laid_out = torch.empty_like(own, device="cpu").copy_(value) if value.shape == own.shape else value
        whole["state"].setdefault(int(index), {})[name] = laid_out
    optimiser.load_state_dict(whole)


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Tensors, about: About) -> str:
    sha = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _step_if_whole(path: Path) -> str:
    try:
        return read_state(path)[1]["step"]
    except (ModelRefused, KeyError):
        return ""


def _standing(run: Path) -> str:
    """Which checkpoints are whole, in words."""
    steps = {name: _step_if_whole(run / name) for name in (CHECKPOINT, PREVIOUS)}
    whole = [f"{name} stands at step {step}" for name, step in steps.items() if step]
    return f"{', '.join(whole)}: the same command goes on from there" if whole else "no step was saved yet"


def _way_out(run: Path, damaged: Path) -> str:
    step = _step_if_whole(run / PREVIOUS) if damaged.name == CHECKPOINT else ""
    if step:
        return f"{PREVIOUS} is whole, at step {step}: `recontour train CONFIG --out {run.name} --from-previous`"
    best = _step_if_whole(run / BEST)
    kept = f"{BEST} is whole, of step {best}; " if best else ""
    return f"{kept}a copy of the file, or train again in another folder"
