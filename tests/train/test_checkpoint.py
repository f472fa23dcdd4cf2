"""A checkpoint gives back what it was given, and a damaged, missing or unwritable one loses nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recontour.errors import ModelRefused, OutputRefused, UsageError
from recontour.network.architectures import build_network
from recontour.train.checkpoint import (
    Training,
    load_checkpoint,
    read_state,
    save_best,
    save_checkpoint,
    set_checkpoint_aside,
)
from recontour.train.folder import BEST, CHECKPOINT, PREVIOUS, SET_ASIDE
from recontour.train.settings import LossSettings
from recontour.train.weighting import make_weighting

NAMES = ("similarity", "dice_registration", "dice_segmentation", "bending")


def training(seed: int, step: int = 0) -> Training:
    """A network with moments in its optimiser, drawn from `seed`."""
    torch.manual_seed(seed)
    network = build_network("seg")
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        parameter.grad = torch.randn_like(parameter)
    weighting = make_weighting(LossSettings(weighting="homoscedastic"), NAMES)
    weighting.log_sigma.grad = torch.randn(3)
    optimiser = torch.optim.RAdam([*network.parameters(), *weighting.parameters()], lr=1e-3)
    for _ in range(6):  # RAdam's first five steps know no second moment
        optimiser.step()
    return Training(network, weighting, optimiser, step=step, seconds=0.1 + 0.2, best_msd_mm=1 / 3, validated=2)


def everything(of: Training) -> dict[str, torch.Tensor]:
    state = of.optimiser.state_dict()["state"]
    moments = {f"{index}.{name}": value for index, row in state.items() for name, value in row.items()}
    return {**of.network.state_dict(), **of.weighting.state_dict(), **moments}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, some = tmp_path_factory.mktemp("saved"), training(1)
    for some.step in (10, 20):
        save_checkpoint(folder, some)
    return folder


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    """Saved at steps 10 and 20."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture(scope="module")
def any_training() -> Training:
    """For what does not look at the content."""
    return training(3)


def flip_a_bit(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def test_everything_comes_back_bit_for_bit(tmp_path: Path):
    one, other = training(1, 7), training(2)
    save_checkpoint(tmp_path, one)
    drawn = torch.rand(5)
    load_checkpoint(tmp_path, other)
    want, got = everything(one), everything(other)
    assert len(want) > 150 and all(torch.equal(want[name], got[name]) for name in want)
    assert (other.step, other.seconds, other.best_msd_mm, other.validated) == (7, 0.1 + 0.2, 1 / 3, 2)
    assert other.last_msd_mm != other.last_msd_mm  # not a number, as it was
    assert torch.equal(torch.rand(5), drawn)
    for parameter in (p for p in other.network.parameters() if p.dim() == 5):
        assert other.optimiser.state[parameter]["exp_avg"].stride() == parameter.stride()


def test_without_a_checkpoint_nothing_changes(tmp_path: Path, any_training: Training):
    load_checkpoint(tmp_path, any_training)
    assert any_training.step == 0


def test_the_checkpoint_before_is_kept_and_is_taken_where_the_newer_is_missing(run: Path):
    assert read_state(run / PREVIOUS)[1]["step"] == "10"
    (run / CHECKPOINT).unlink()  # as after a death between two renames
    late = training(3)
    load_checkpoint(run, late)
    assert late.step == 10
    save_checkpoint(run, late)
    assert {p.name for p in run.iterdir()} == {CHECKPOINT, PREVIOUS}


@pytest.mark.parametrize("at", [0.0, 0.0001, 0.001, 0.5, 1.0])
def test_a_flipped_bit_anywhere_is_noticed_and_the_way_out_is_said(run: Path, at: float, any_training: Training):
    flip_a_bit(run / CHECKPOINT, at)
    with pytest.raises(ModelRefused, match=r"checkpoint.safetensors.*step 10.*--from-previous") as refused:
        load_checkpoint(run, any_training)
    assert "damaged" in refused.value.found


def test_a_file_that_was_cut_short_is_noticed(run: Path, any_training: Training):
    content = (run / CHECKPOINT).read_bytes()
    for length in (0, 5, 3000, len(content) - 1):
        (run / CHECKPOINT).write_bytes(content[:length])
        with pytest.raises(ModelRefused, match="damaged"):
            load_checkpoint(run, any_training)


def test_going_on_from_the_previous_one_keeps_the_damaged_one_to_look_at(run: Path):
    flip_a_bit(run / CHECKPOINT, 0.5)
    damaged = (run / CHECKPOINT).read_bytes()
    set_checkpoint_aside(run)
    back = training(3)
    load_checkpoint(run, back)
    assert back.step == 10 and (run / SET_ASIDE).read_bytes() == damaged
    save_checkpoint(run, back)
    assert read_state(run / PREVIOUS)[1]["step"] == "10"


def test_two_damaged_ones_are_said_and_stay_where_they_are(run: Path, any_training: Training):
    save_best(run, replace(any_training, step=9))
    for name in (CHECKPOINT, PREVIOUS):
        flip_a_bit(run / name, 0.5)
    with pytest.raises(ModelRefused, match=r"best.safetensors is whole, of step 9"):
        load_checkpoint(run, any_training)
    with pytest.raises(ModelRefused, match="previous"):
        set_checkpoint_aside(run)
    assert (run / CHECKPOINT).exists() and (run / PREVIOUS).exists()


def test_there_is_no_going_back_before_the_first(tmp_path: Path, any_training: Training):
    save_checkpoint(tmp_path, any_training)
    with pytest.raises(UsageError, match="no previous"):
        set_checkpoint_aside(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_leaves_both_old_ones_and_says_at_which_step_they_stand(run: Path, any_training: Training):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    (run / f"{CHECKPOINT}.new").symlink_to("/dev/full")  # every write to it fails as on a full disk
    with pytest.raises(OutputRefused, match=r"step 30.*No space left.*checkpoint.*20.*previous.*10"):
        save_checkpoint(run, replace(any_training, step=30))
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_weights_of_another_network_are_refused(run: Path, any_training: Training):
    other = replace(any_training, network=build_network("reg"))
    with pytest.raises(ModelRefused, match="another network"):
        load_checkpoint(run, other)


def test_the_best_holds_the_network_alone_and_what_it_scored(tmp_path: Path, any_training: Training):
    one = replace(any_training, step=12, last_msd_mm=1.25)
    save_best(tmp_path, one)
    tensors, about = read_state(tmp_path / BEST)
    build_network("seg").load_state_dict(tensors)
    assert (about["step"], float(about["validation_msd_mm"])) == ("12", 1.25)


def test_renames_come_after_the_content_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_training: Training
):
    """What happens to files and folder, in order: synced, then renamed, then the folder synced."""
    done: list[str] = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), real_sync(file)))
    monkeypatch.setattr(
        os, "replace", lambda a, b: (done.append(f"{Path(a).name} > {Path(b).name}"), real_replace(a, b))
    )
    save_checkpoint(tmp_path, any_training)
    save_checkpoint(tmp_path, any_training)
    new = f"{CHECKPOINT}.new > {CHECKPOINT}"
    assert done == ["sync", new, "sync", "sync", f"{CHECKPOINT} > {PREVIOUS}", new, "sync"]
