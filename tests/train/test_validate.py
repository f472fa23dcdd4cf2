"""Scores have the values that balls, shifted and swollen by known lengths, must have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recontour.errors import UsageError
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.network.architectures import Output
from recontour.network.catalogue import ARCHITECTURES
from recontour.network.released import ModelCard, ReleasedModel
from recontour.train.dataset import ScanPair
from recontour.train.validate import (
    LOST_MM,
    PathScore,
    field_score,
    mean_msd_mm,
    validate,
    validate_fields_too,
    validate_settled,
)

SIZE = (52, 64, 58)
RADIUS = 9.0
PROSTATE, BLADDER = (22.0, 26.0, 25.0), (38.0, 45.0, 41.0)  # z, y, x
SHIFT_XYZ = (2.0, 3.0, -1.0)


def distance(centre, size=SIZE):
    return np.linalg.norm(np.moveaxis(np.indices(size), 0, -1) - np.asarray(centre), axis=-1)


def gap_of_shifted_balls(shift_mm: float, radius: float = RADIUS) -> float:
    """The mean over a sphere of its distance to the same sphere `shift_mm` away: cosines are spread evenly."""
    cosine = np.linspace(-1, 1, 20001)
    return float(np.abs(np.sqrt(radius**2 + shift_mm**2 - 2 * radius * shift_mm * cosine) - radius).mean())


class Knows(torch.nn.Module):
    """Answers with one displacement everywhere, and with the prostate where the daily scan is above 0 HU."""

    def __init__(self, shift_xyz=SHIFT_XYZ, heads=("field", "segmentation")) -> None:
        super().__init__()
        self.architecture = ARCHITECTURES["cross-stitch"]
        self.inputs, self.segmentation_inputs = self.architecture.inputs, ()
        self.segment = self.register_field = None
        self.shift_xyz, self.heads = shift_xyz, heads
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, fixed, moving, moving_labels):
        inner = fixed[:, :, 20:-20, 20:-20, 20:-20]
        field = torch.tensor(self.shift_xyz).reshape(1, 3, 1, 1, 1).expand(1, 3, *inner.shape[2:])
        logits = torch.full((1, 5, *inner.shape[2:]), -30.0)
        logits[:, 0], logits[:, 4:] = 0.0, inner * 50
        return Output((field,) * 3 if "field" in self.heads else None, (logits,) * 3 if len(self.heads) > 1 else None)


def model(**options) -> ReleasedModel:
    return ReleasedModel(ModelCard("knows", "cross-stitch", ARCHITECTURES["cross-stitch"].inputs), Knows(**options))


def pair(shift_xyz=SHIFT_XYZ, organs=("bladder", "prostate")) -> ScanPair:
    """Both organs planned `shift_xyz` beside where they are today; the scan shows the prostate swollen by 2 mm all
    around, and two specks, one far away and one 2 mm from it."""
    shift_zyx = np.array(shift_xyz[::-1])
    fixed, moving = np.zeros((2, *SIZE), np.uint8)
    for label, centre in ((1, BLADDER), (4, PROSTATE)):
        fixed[distance(centre) < RADIUS] = label
        moving[distance(np.add(centre, shift_zyx)) < RADIUS] = label
    shown = RADIUS + 2.0 - distance(PROSTATE)
    for speck in ((8.0, 55.0, 8.0), (12.5, 16.5, 15.5)):
        shown = np.maximum(shown, 3.0 - distance(speck))
    hu = np.rint(100 * shown).clip(-900, 900).astype(np.int16)
    return ScanPair(hu, hu, fixed, moving, organs, "7-1")


def by_path(scores: list[PathScore], organ: str) -> dict[str, PathScore]:
    return {score.path: score for score in scores if score.organ == organ}


def test_every_path_has_the_distance_that_it_must_have():
    got = by_path(validate(model(), [pair()], "fp32"), "prostate")
    assert {s.pair for s in got.values()} == {"7-1"} and list(got) == [
        "affine",
        "registration",
        "segmentation",
        "blend",
    ]
    assert got["affine"].msd_mm == pytest.approx(gap_of_shifted_balls(14**0.5), rel=0.07)  # balls of voxels
    assert got["affine"].hd95_mm == pytest.approx(
        0.9 * 14**0.5, rel=0.06
    )  # the cosine is above 0.9 for 5 % of a sphere
    assert got["registration"].msd_mm == pytest.approx(0.0, abs=1e-6) and got["registration"].dice == 1.0
    assert got["segmentation"].msd_mm == pytest.approx(2.0, abs=0.15)  # and nothing for the specks
    assert got["segmentation"].hd95_mm < 3.0
    assert got["segmentation"].dice == pytest.approx(2 * 9**3 / (9**3 + 11**3), rel=0.02)
    assert got["blend"].msd_mm == pytest.approx(1.0, abs=0.15)  # half-way from 0 to 2 mm


def test_surfaces_are_finer_than_voxels():
    half = (0.0, 2.5, 0.0)
    got = by_path(validate(model(shift_xyz=half), [pair(half)], "fp32"), "prostate")
    assert got["registration"].hd95_mm <= 0.5 + 1e-6  # rounded to voxels, half a face's diagonal would be left: 0.71


def test_a_lost_organ_is_infinitely_far():
    got = by_path(validate(model(), [pair()], "fp32"), "bladder")
    assert (got["segmentation"].msd_mm, got["segmentation"].hd95_mm, got["segmentation"].dice) == (np.inf, np.inf, 0.0)
    assert got["registration"].dice == 1.0
    assert got["blend"].msd_mm == pytest.approx(0.0, abs=1e-6)  # `run` falls back to the registration there, too


def test_only_contoured_organs_and_only_paths_that_there_are():
    one = pair(organs=("rectum", "prostate"))  # the rectum is said to be contoured, but lies outside the pair
    assert {s.organ for s in validate(model(), [one], "fp32")} == {"prostate"}
    assert {s.path for s in validate(model(heads=("field",)), [one], "fp32")} == {"affine", "registration"}
    both = validate_fields_too(model(heads=("", "segmentation")), [one, one], "fp32")
    assert [s.path for s in both.scores] == ["affine", "segmentation"] * 2 and both.fields == ()


def test_a_constant_field_changes_no_volume():
    (field,) = validate_fields_too(model(), [pair()], "fp32").fields
    assert field.pair == "7-1" and field.jacobian_sd == pytest.approx(0.0, abs=1e-6) and field.folding == 0.0


def test_the_pull_of_a_network_that_says_always_the_same_does_not_count_where_it_settles():
    always = model(shift_xyz=(4.0, 0.0, 0.0))
    pulled, settled = (by_path(f(always, [pair()], "fp32"), "prostate") for f in (validate, _settled))
    assert pulled["registration"].msd_mm > 1.0
    assert settled["registration"].msd_mm == pytest.approx(settled["affine"].msd_mm, abs=1e-6)
    assert settled["affine"] == pulled["affine"]


def _settled(*given: Any) -> list[PathScore]:
    return list(validate_settled(*given).scores)


def test_a_field_that_folds_in_a_quarter_of_its_region():
    """Along x it stretches by 1.5 on three quarters of the slices, and turns the rest inside out: determinant -0.5."""
    slope = np.where(np.arange(8) < 6, 0.5, -1.5)
    array = np.zeros((3, 8, 5, 6), np.float32)
    array[0] = slope[:, None, None] * np.arange(6)
    got = field_score("a", Field(Grid.of((8, 5, 6), (1, 1, 1), (0, 0, 0)), array))
    assert got.folding == 0.25 and got.jacobian_sd == pytest.approx(2.0 * (0.25 * 0.75) ** 0.5, rel=1e-5)


def test_the_best_checkpoint_is_told_by_the_better_path_of_each_organ():
    def score(organ: str, path: str, *msd_mm: float) -> list[PathScore]:
        return [PathScore(str(k), path, organ, mm, 9.0, 0.5) for k, mm in enumerate(msd_mm)]

    scores = score("bladder", "affine", 0.1, 0.1) + score("prostate", "affine", 0.1, 0.1)
    scores += score("bladder", "registration", 2.0, 4.0) + score("bladder", "segmentation", 1.0, np.inf)
    scores += score("prostate", "registration", 5.0, 1.0) + score("prostate", "segmentation", 1.0, 4.0)
    assert mean_msd_mm(scores) == pytest.approx((3.0 + 2.5) / 2)
    only_lost = score("prostate", "segmentation", 1.0, np.inf)
    assert mean_msd_mm(only_lost) == pytest.approx((1.0 + LOST_MM) / 2)
    assert mean_msd_mm(score("rectum", "segmentation", 54.5)) == LOST_MM  # in the wrong place is no worse than lost
    with pytest.raises(UsageError, match="nothing was scored"):
        mean_msd_mm(score("bladder", "affine", 1.0))


def test_a_network_that_went_to_pieces_loses_its_organs():
    got = by_path(validate(model(shift_xyz=(np.nan, 0.0, 0.0)), [pair()], "fp32"), "prostate")
    assert got["registration"].msd_mm == np.inf and got["segmentation"].msd_mm == pytest.approx(2.0, abs=0.15)
