"""A network made to settle: pulls and leftovers that are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network.architectures import Network, Output
from recontour.network.catalogue import ARCHITECTURES, LABELS
from recontour.network.released import ModelCard, ReleasedModel
from recontour.network.settled import predict_settled

GRID = Grid.of((72, 72, 80), (1, 1, 1), (3.0, -7.0, 11.0))
ORGAN = (slice(30, 40), slice(30, 40), slice(30, 45))
PULL_MM = (1.5, -2.0, 0.5)
RAMP_HU = 20.0  # per mm along x, in all scans: what lies 5 mm further is 100 HU brighter


class Pulled(Network):
    """Sees along x by how far the ramps differ, answers with a share of it, and pulls on whatever it is shown."""

    share = 1.0
    pull_mm = PULL_MM

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor, moving_labels: torch.Tensor) -> Output:
        inner = (..., *(slice(20, -20),) * 3)
        pull = torch.tensor(self.pull_mm).view(1, 3, 1, 1, 1)
        seen = self.share * (fixed - moving)[inner].float() / (RAMP_HU / 1000.0)
        field = pull + torch.cat([seen, 0 * seen, 0 * seen], dim=1)
        return Output((field, field, field), None)


def settled_at(
    share: float, pull_mm: tuple[float, float, float], moved_mm: float, size: tuple[int, int, int] = GRID.size
) -> np.ndarray:
    """(3,) mm: the mean of the field in the organ, where the day shows everything `moved_mm` further along x."""
    grid = Grid.of(size, GRID.spacing_mm, GRID.origin_mm)
    row = ARCHITECTURES["reg"]
    network = Pulled(row, row.inputs)
    network.share, network.pull_mm = share, pull_mm
    network.register_parameter("here", torch.nn.Parameter(torch.zeros(1)))
    labels = np.zeros(size, np.uint8)
    labels[ORGAN] = LABELS.index("prostate")
    ramp = np.tile(np.float32(RAMP_HU) * (np.arange(size[2], dtype=np.float32) - 40.0), (*size[:2], 1))
    model = ReleasedModel(ModelCard("pulled", "reg", row.inputs), network)
    scans = Volume(grid, ramp + np.float32(RAMP_HU * moved_mm)), Volume(grid, ramp)
    found = predict_settled(model, *scans, labels, "cpu", "fp32")
    assert found.field is not None and found.probabilities is None and found.field.grid.same_as(grid)
    inside = found.field.array[:, *ORGAN].reshape(3, -1)
    assert inside.std(axis=1).max() < 1e-2
    return inside.mean(axis=1)


def test_a_pull_that_is_there_when_nothing_moved_is_taken_away():
    assert settled_at(1.0, PULL_MM, 0.0) == pytest.approx((0.0, 0.0, 0.0), abs=1e-3)
    assert settled_at(1.0, PULL_MM, 6.0) == pytest.approx((6.0, 0.0, 0.0), abs=1e-2)


def test_what_was_left_of_a_motion_is_seen_when_asked_again():
    """Of 6 mm half is found at first, then half of the 3 mm that are left, then half of 1.5 mm: 5.25."""
    assert settled_at(0.5, (0.0, 0.0, 0.0), 6.0) == pytest.approx((5.25, 0.0, 0.0), abs=1e-2)
    assert settled_at(0.5, PULL_MM, 6.0) == pytest.approx((5.25, 0.0, 0.0), abs=1e-2)


def test_a_region_may_be_far_larger_than_the_organs():
    assert settled_at(0.5, PULL_MM, 6.0, (72, 120, 170)) == pytest.approx((5.25, 0.0, 0.0), abs=1e-2)
