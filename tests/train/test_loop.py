"""A training that is broken off and taken up again is the same training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recontour.errors import SettingsError, UsageError
from recontour.train.dataset import ScanPair
from recontour.train.loop import STATE, TrainSettings, draw_batch, load_state, train

SETTINGS = TrainSettings(steps=7, patch_voxels=44, batch=1, learning_rate=1e-3, log_every=2, seed=5)


def pair(seed: int) -> ScanPair:
    rng = np.random.default_rng(seed)
    size = (40, 44, 48)
    scans = [rng.integers(-1500, 1500, size).astype(np.int16) for _ in range(2)]
    return ScanPair(*scans, *(rng.integers(0, 5, size).astype(np.uint8) for _ in range(2)))


def test_taken_up_again_it_ends_where_it_would_have_ended(tmp_path: Path):
    pairs = [pair(1), pair(2)]
    straight = train(pairs, SETTINGS, tmp_path / "straight").state_dict()
    train(pairs, replace(SETTINGS, steps=6), tmp_path / "broken")  # past RAdam's five first steps, which differ
    torch.rand(3)  # whatever else was drawn meanwhile
    again = train(pairs, SETTINGS, tmp_path / "broken").state_dict()
    assert all(torch.allclose(straight[k], again[k], atol=1e-6) for k in straight)
    assert load_state(tmp_path / "broken", train(pairs, SETTINGS, tmp_path / "broken")) == 7
    rows = [json.loads(line) for line in (tmp_path / "straight" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6] and all(np.isfinite(row["loss"]) for row in rows)


def test_time_being_up_saves_and_stops(tmp_path: Path):
    train([pair(1)], SETTINGS, tmp_path, until_s=0.0)
    assert (tmp_path / STATE).is_file() and not (tmp_path / "log.jsonl").exists()


def test_a_batch_is_scaled_clipped_and_repeatable():
    draws = [draw_batch([pair(1)], SETTINGS, np.random.default_rng(9)) for _ in range(2)]
    assert torch.equal(draws[0].fixed, draws[1].fixed) and draws[0].fixed.shape == (1, 1, 44, 44, 44)
    assert float(draws[0].fixed.min()) == -1.0 and float(draws[0].moving.max()) == 1.0
    assert draws[0].moving_labels.dtype == torch.int64 and int(draws[0].moving_labels.max()) == 4


def test_all_four_parts_of_a_batch_are_the_same_place():
    line = np.broadcast_to(np.arange(48, dtype=np.int16), (40, 44, 48))
    same = ScanPair(line, line + 1, line.astype(np.uint8), line.astype(np.uint8))
    batch = draw_batch([same], SETTINGS, np.random.default_rng(1))
    assert torch.allclose(batch.fixed * 1000, batch.fixed_labels.float(), atol=1e-3)
    assert torch.equal(batch.fixed_labels, batch.moving_labels)
    assert torch.allclose(batch.moving * 1000, batch.moving_labels + 1.0, atol=1e-3)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match="multiples of 4"):
        TrainSettings(patch_voxels=70)
    with pytest.raises(SettingsError, match=r"train\.batch"):
        TrainSettings(batch=0)
    with pytest.raises(SettingsError, match=r"train\.learning_rate"):
        TrainSettings(learning_rate=0.0)
