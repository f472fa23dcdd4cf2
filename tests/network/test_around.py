"""Networks that answer with what they are to show: where they were asked, and what stands where they were not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network import around
from recontour.network.architectures import Network, Output
from recontour.network.around import FADE_MM, MARGIN_VOXELS, predict_around_organs
from recontour.network.catalogue import ARCHITECTURES, LABELS
from recontour.network.released import ModelCard, ReleasedModel

SIZE = (92, 96, 100)
ORGAN = (slice(40, 52), slice(44, 50), slice(30, 44))  # 24, 28, 14 voxels from the box to the region's low sides
BOX = tuple(slice(part.start - MARGIN_VOXELS, part.stop + MARGIN_VOXELS) for part in ORGAN)
GRID = Grid.of(SIZE, (1, 1, 1), (3.0, -7.0, 11.0))


class Fake(Network):
    """A constant field, and an organ where the daily scan is bright."""

    shift_mm = (0.0, 0.0, 0.0)

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor, moving_labels: torch.Tensor) -> Output:
        inner = (..., *(slice(20, -20),) * 3)
        fine = fixed[inner].float()
        field = torch.tensor(self.shift_mm).reshape(1, 3, 1, 1, 1).expand(-1, -1, *fine.shape[2:])
        logits = torch.cat([0.0 * fine, 60.0 * (fine - 0.5), *(0.0 * fine - 30.0,) * 3], dim=1)
        return Output((field,) * 3, (logits,) * 3)


def model(shift_mm: tuple[float, float, float]) -> ReleasedModel:
    row = ARCHITECTURES["dense"]
    network = Fake(row, row.inputs)
    network.register_parameter("here", torch.nn.Parameter(torch.zeros(1)))
    network.shift_mm = shift_mm
    return ReleasedModel(ModelCard("fake", "dense", row.inputs), network)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Grid]:
    """The regions that the network is asked for."""
    regions: list[Grid] = []
    real: Callable[..., object] = around.predict

    def noted(model: object, fixed: object, moving: object, labels: object, region: Grid, *rest: object) -> object:
        regions.append(region)
        return real(model, fixed, moving, labels, region, *rest)

    monkeypatch.setattr(around, "predict", noted)
    return regions


def scene(bright: tuple[slice, ...] = ORGAN) -> tuple[Volume, Volume, np.ndarray]:
    labels = np.zeros(SIZE, np.uint8)
    labels[ORGAN] = LABELS.index("bladder")
    hu = np.zeros(SIZE, np.float32)
    hu[bright] = 1000.0
    return Volume(GRID, hu), Volume(GRID, np.zeros(SIZE, np.float32)), labels


def test_the_network_is_asked_around_the_organs_alone_and_the_field_fades(asked: list[Grid]):
    found = predict_around_organs(model((2.0, -3.0, 1.0)), *scene(), "cpu", "fp32")
    assert [region.size for region in asked] == [tuple(p.stop - max(0, p.start) for p in BOX)]
    field = found.field
    assert field is not None and field.grid.same_as(GRID)
    assert np.allclose(field.array[:, 45, 47, 35], (2.0, -3.0, 1.0))
    inside = tuple(slice(max(0, p.start), p.stop) for p in BOX)
    assert np.allclose(field.array[(0, *inside)], 2.0)
    assert field.array[1, BOX[0].start - 5, 47, 35] == pytest.approx(-3.0 * (1 - 5 / FADE_MM))
    assert field.array[1, 45, BOX[1].stop - 1 + 7, 35] == pytest.approx(-3.0 * (1 - 7 / FADE_MM))
    assert field.array[2, 45, 47, BOX[2].stop - 1 + 25] == 0.0
    assert found.probabilities is not None and found.part is not None
    assert found.part.size == asked[0].size and np.allclose(found.probabilities.sum(axis=0), 1.0)
    shown = found.probability(1, GRID)
    assert shown is not None and np.array_equal(shown > 0.5, scene()[2] > 0)


@pytest.mark.parametrize("axis", range(3))
def test_a_segmented_organ_that_grows_out_of_the_part_is_looked_for_everywhere(asked: list[Grid], axis: int):
    grown = tuple(slice(p.start, p.stop + MARGIN_VOXELS + 4) if k == axis else p for k, p in enumerate(ORGAN))
    found = predict_around_organs(model((0.0, 0.0, 0.0)), *scene(grown), "cpu", "fp32")
    assert [region.size for region in asked][1:] == [SIZE]
    probability, shown = found.probability(1, GRID), np.zeros(SIZE, bool)
    shown[grown] = True
    assert probability is not None and np.array_equal(probability > 0.5, shown)


def test_a_registered_organ_that_leaves_the_part_is_looked_for_everywhere(asked: list[Grid]):
    stays = MARGIN_VOXELS - 2.0  # to the rim, not into it
    predict_around_organs(model((0.0, 0.0, -stays)), *scene(), "cpu", "fp32")
    assert len(asked) == 1
    predict_around_organs(model((0.0, 0.0, -stays - 1.0)), *scene(), "cpu", "fp32")
    assert len(asked) == 3 and asked[-1].size == SIZE


def test_without_organs_the_network_is_asked_for_everything(asked: list[Grid]):
    fixed, moving, labels = scene()
    predict_around_organs(model((0.0, 0.0, 0.0)), fixed, moving, 0 * labels, "cpu", "fp32")
    assert [region.size for region in asked] == [SIZE]
