"""Several processes hold one network: that of the mean gradient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recontour.errors import SettingsError, UsageError
from recontour.network.architectures import build_network
from recontour.train.dataset import read_splits
from recontour.train.folder import LOG
from recontour.train.log import read_rows
from recontour.train.loop import train
from recontour.train.losses import loss_terms
from recontour.train.parallel import Place, average, find_place
from recontour.train.settings import LossSettings, TrainSettings
from recontour.train.sources import PairSource
from tests.train.made_data import tiny_settings, write_pairs

TERMS = ("similarity", "dice_registration", "bending")
STEPS = 3
CPU = torch.device("cpu")


def together(settings: TrainSettings, folder: Path, out: str) -> list[dict[str, torch.Tensor]]:
    """The weights of both processes after a training in `folder`/run."""
    told = folder / "settings.json"
    told.write_text(json.dumps(settings.as_dict()))
    (folder / out).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [Path(__file__).with_name("two_ranks.py"), told, folder / "run", folder / out]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, script)], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return [load_file(folder / out / f"rank{rank}.safetensors") for rank in range(2)]


def by_hand(settings: TrainSettings) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Two patches a step, one after the other, through one network; RAdam with the mean of both gradients."""
    torch.manual_seed(settings.seed)
    network = build_network("jrs-reg").train()
    pairs = read_splits(Path(settings.data.folder))["training"]
    optimiser = torch.optim.RAdam(network.parameters(), lr=settings.optimiser.learning_rate, betas=(0.9, 0.999))
    losses: list[float] = []
    for step in range(settings.steps):
        optimiser.zero_grad()
        total = 0.0
        for rank in range(2):
            batch = PairSource(pairs, settings, CPU, rank).batch(step).both_ways()
            terms = loss_terms(
                network(batch.fixed, batch.moving, batch.moving_labels.float()), batch, settings.loss, TERMS
            )
            loss = terms["similarity"] + terms["dice_registration"] + 0.5 * terms["bending"]
            (loss / 2).backward()
            total += float(loss.detach()) / 2
        optimiser.step()
        losses.append(total)
    return dict(network.named_parameters()), losses


def test_two_processes_train_the_network_of_the_mean_gradient_and_go_on(tmp_path: Path):
    settings = tiny_settings(write_pairs(tmp_path / "data"), "jrs-reg", STEPS)
    together(replace(settings, steps=STEPS - 1), tmp_path, "broken")
    first, second = together(settings, tmp_path, "whole")
    assert all(torch.equal(first[name], second[name]) for name in first if "num_batches" not in name)
    want, losses = by_hand(settings)
    for name, weight in want.items():
        assert torch.allclose(first[name], weight, atol=2e-5), name
    rows = read_rows(tmp_path / "run" / LOG)  # one writer alone
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses, rel=1e-4)
    with pytest.raises(SettingsError, match=r"1, and the run began with 2.*processes"):
        train(settings, tmp_path / "run")


def test_what_dwa_remembers_is_everybodys(tmp_path: Path):
    settings = tiny_settings(write_pairs(tmp_path / "data"), "jrs-reg", 2)
    first, second = together(replace(settings, loss=LossSettings(weighting="dwa")), tmp_path, "out")
    assert torch.equal(first["last"], second["last"]) and torch.equal(first["before"], second["before"])


def test_one_process_has_nobody_to_ask():
    alone = torch.arange(3.0)
    average([alone], Place(0, 1, CPU))
    assert alone.tolist() == [0, 1, 2]


def test_the_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch):
    assert find_place("cpu") == Place(0, 1, CPU)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    place = find_place("cpu")
    assert (place.rank, place.processes, place.first) == (3, 4, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_place("auto").device == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="4 processes"):
        find_place("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    with pytest.raises(UsageError, match="cuda:2"):
        find_place("cuda")
