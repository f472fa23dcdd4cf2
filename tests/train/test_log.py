"""What a training leaves to read survives crashes: no row twice, none torn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recontour.errors import OutputRefused
from recontour.network.architectures import build_network
from recontour.train.folder import LOG, TENSORBOARD, VALIDATION
from recontour.train.log import RunLog, drop_rows_after, read_rows, stitch_means
from recontour.train.validate import PathScore


def row(step: int) -> dict[str, float]:
    return {"step": step, "seconds": 1.5 * step, "loss": 1 / step, "w_bending": 0.5, "stitch_up0_diagonal": 0.25}


def test_rows_beyond_the_checkpoint_and_torn_rows_are_dropped(tmp_path: Path):
    log = RunLog(tmp_path, 0, 0)
    for step in (1, 2, 3):
        log.step(row(step))
    log.close()
    with (tmp_path / LOG).open("a") as file:
        file.write("2,9.")
    log = RunLog(tmp_path, 2, 0)
    log.step(row(3))
    log.close()
    assert (tmp_path / LOG).read_text().splitlines() == [
        "step,seconds,loss,w_bending,stitch_up0_diagonal",
        "1,1.5,1,0.5,0.25",
        "2,3,0.5,0.5,0.25",
        "3,4.5,0.333333,0.5,0.25",
    ]


@pytest.mark.parametrize("torn", ["", "st", "step,loss", "step,loss\n", "step,loss\n1", "step,loss\n1,0.5"])
def test_a_log_without_a_whole_row_begins_anew(tmp_path: Path, torn: str):
    (tmp_path / LOG).write_text(torn)
    drop_rows_after(tmp_path / LOG, 5)
    assert read_rows(tmp_path / LOG) == []


def test_a_validation_counts_from_its_checkpoint_on(tmp_path: Path):
    score = PathScore("anna, the first-1", "registration", "bladder", 1.25, float("inf"), 0.0)
    for validated in (0, 0, 4):  # the second time as after a death between validation and checkpoint
        log = RunLog(tmp_path, 4, validated)
        if not validated:
            log.validation(4, [score, score], 1.25)
        log.close()
    rows = read_rows(tmp_path / VALIDATION)
    assert [row["pair"] for row in rows] == ["anna, the first-1"] * 2
    assert rows[0] == {
        "step": "4", "pair": "anna, the first-1", "path": "registration", "organ": "bladder", "msd_mm": "1.25",
        "hd95_mm": "inf", "dice": "0",
    }  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said(tmp_path: Path):
    log = RunLog(tmp_path, 0, 0)
    (tmp_path / LOG).symlink_to("/dev/full")
    with pytest.raises(OutputRefused, match=r"No space left.*log.csv.*checkpoints stand"):
        log.step(row(1))
    log.close()


def test_the_same_is_written_as_events(tmp_path: Path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path, 0, 0)
    for step in (2, 4):
        log.step(row(step))
    log.validation(4, [], 0.75)
    log.close()
    read = events.EventAccumulator(str(tmp_path / TENSORBOARD))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("training/loss")] == [(2, 0.5), (4, 0.25)]
    assert {"weights/bending", "cross-stitch/up0_diagonal", "training/validation_msd_mm"} <= set(read.Tags()["scalars"])


def test_means_of_cross_stitch_units():
    network = build_network("cross-stitch")
    unit = network.stitch_up0
    assert isinstance(unit, torch.nn.Module)
    with torch.no_grad():
        unit.weight.copy_(torch.tensor([[0.9, 0.1], [0.3, 0.7]]).expand_as(unit.weight))
        unit.weight[0] = torch.tensor([[0.1, 0.9], [0.7, 0.3]])  # one of 64 channels the other way round
    means = stitch_means(network)
    assert means["stitch_up0_diagonal"] == pytest.approx((63 * 0.8 + 0.2) / 64, rel=1e-5)
    assert means["stitch_up0_off_diagonal"] == pytest.approx((63 * 0.2 + 0.8) / 64, rel=1e-5)
    assert len(means) == 8 and stitch_means(build_network("seg")) == {}
