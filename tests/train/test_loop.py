"""A training that is broken off and taken up again is the same training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recontour.train.checkpoint import read_state
from recontour.train.folder import CHECKPOINT
from recontour.train.loop import train
from tests.train.made_data import tiny_settings, write_pairs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    tensors, about = read_state(run / CHECKPOINT)
    assert about["step"] == "4"
    return tensors


def test_taken_up_again_it_ends_bit_for_bit_where_it_would_have_ended(data: Path, tmp_path: Path):
    settings = tiny_settings(data)
    train(settings, tmp_path / "straight")
    for steps in (1, 3, 4):
        torch.rand(3)  # whatever else was drawn meanwhile
        assert train(replace(settings, steps=steps), tmp_path / "broken").step == steps
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert straight.keys() == broken.keys() and len(straight) > 200
    assert all(torch.equal(straight[name], broken[name]) for name in straight)
