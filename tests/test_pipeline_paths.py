"""Two paths of a network through the pipeline: which of them is the contour, and how far apart they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from recontour.errors import UsageError
from recontour.evaluate import cases
from recontour.evaluate.cases import Pair, Task, own_method, run_accuracy
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.judged import judge_propagation
from recontour.network.architectures import Network, Output
from recontour.network.catalogue import ARCHITECTURES, LABELS
from recontour.network.released import ModelCard, ReleasedModel
from recontour.phantom.move import MovedScan
from recontour.pipeline import PlannedRoi, propagate_from
from recontour.qa.metrics import surface_distances
from recontour.settings import Settings

RADIUS_MM, MOVED_MM = 14.0, 6.0
SCAN = Grid.around([-60, -60, -60], [60, 60, 60], 1.0)


class Bright(Network):
    """Finds that nothing moved, and that whatever is brighter than water on the day is bladder."""

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor, moving_labels: torch.Tensor) -> Output:
        seen = fixed[(..., *(slice(20, -20),) * 3)].float()
        field = torch.zeros_like(seen).repeat(1, 3, 1, 1, 1)
        logits = torch.full((1, len(LABELS), *seen.shape[2:]), -20.0)
        logits[:, 0] = 0.0
        logits[:, LABELS.index("bladder")] = 1000.0 * seen[:, 0]
        return Output((field, field, field), (logits, logits, logits))


def ball(centre_x: float) -> np.ndarray:
    return RADIUS_MM - np.linalg.norm(SCAN.points() - [centre_x, 0, 0], axis=-1)


def scan(centre_x: float) -> Volume:
    return Volume(SCAN, np.clip(40.0 * ball(centre_x), -60, 60).astype(np.float32))


def level_set(weight: float) -> LevelSet:
    """The planned ball, the day's, or what lies between: the ellipsoid as far from both."""
    distance = (1 - weight) * ball(0.0) + weight * ball(MOVED_MM)
    return LevelSet(SCAN, distance.clip(-10, 10).astype(np.float32))


@pytest.mark.parametrize(("path", "weight"), [("registration", 0.0), ("segmentation", 1.0), ("blend", 0.5)])
@pytest.mark.parametrize("method", ["network", "network+refine"])
def test_the_path_that_is_not_the_contour_is_a_second_opinion(
    method: Literal["network", "network+refine"], path: str, weight: float
) -> None:
    """The surfaces of two like spheres, d apart, are d / 2 apart on average: |d cos| over a sphere."""
    row = ARCHITECTURES["cross-stitch"]
    network = Bright(row, row.inputs)
    network.register_parameter("here", torch.nn.Parameter(torch.zeros(1)))
    model = ReleasedModel(ModelCard("bright", "cross-stitch", row.inputs, path_per_organ={"bladder": path}), network)
    rois = [PlannedRoi("Bladder", level_set(0.0), "bladder"), PlannedRoi("Ring", level_set(0.0))]
    settings = Settings(method=method, model="bright", device="cpu", precision="fp32")
    found = propagate_from(Affine.identity(), scan(0.0), scan(MOVED_MM), rois, settings, model)
    assert list(found.segmented) == ["Bladder"]
    assert surface_distances(found.segmented["Bladder"], level_set(1.0)).msd_mm < 0.1
    facts = judge_propagation(rois, found, scan(0.0), scan(MOVED_MM), settings.qa).facts
    assert facts["Ring"].disagreement_mm is None
    if method == "network":
        assert surface_distances(found.level_sets["Bladder"], level_set(weight)).msd_mm < 0.15
        assert facts["Bladder"].disagreement_mm == pytest.approx(MOVED_MM / 2, abs=0.15)
    else:  # what the refinement makes of the scans, it follows the day's ball, whichever path the card names
        assert surface_distances(found.level_sets["Bladder"], level_set(1.0)).msd_mm < 0.3
        assert facts["Bladder"].disagreement_mm < 0.3


class OnlySegments(Bright):
    """The same, and has no field."""

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor, moving_labels: torch.Tensor) -> Output:
        return Output(None, super().forward(fixed, moving, moving_labels).logits)


@pytest.fixture
def only_segments() -> ReleasedModel:
    row = ARCHITECTURES["seg"]
    network = OnlySegments(row, row.inputs)
    network.register_parameter("here", torch.nn.Parameter(torch.zeros(1)))
    return ReleasedModel(ModelCard("bright", "seg", row.inputs, path_per_organ={"bladder": "segmentation"}), network)


def test_what_a_network_without_a_field_does_not_draw_is_refused(only_segments: ReleasedModel) -> None:
    """It would stay where the alignment puts it, 6 mm off, and nobody would be told."""
    model, settings = only_segments, Settings(method="network", model="bright", device="cpu", precision="fp32")
    bladder, ring = PlannedRoi("Bladder", level_set(0.0), "bladder"), PlannedRoi("Ring", level_set(0.0))
    found = propagate_from(Affine.identity(), scan(0.0), scan(MOVED_MM), [bladder], settings, model)
    assert surface_distances(found.level_sets["Bladder"], level_set(1.0)).msd_mm < 0.15
    with pytest.raises(UsageError, match="Ring: the network only segments"):
        propagate_from(Affine.identity(), scan(0.0), scan(MOVED_MM), [bladder, ring], settings, model)


@pytest.mark.parametrize(("method", "scored"), [("network", ["Bladder"]), ("network+refine", ["Bladder", "Ring"])])
def test_a_network_without_a_field_is_scored_on_what_it_draws(
    method: Literal["network", "network+refine"],
    scored: list[str],
    only_segments: ReleasedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refined, it brings the ring over as well: that needs no network."""
    monkeypatch.setattr(cases, "align_scans", lambda daily, planning: Affine.identity())
    shapes = {name: level_set(0.0) for name in ("Bladder", "Ring")}
    truth = MovedScan(scan(MOVED_MM), dict.fromkeys(shapes, level_set(1.0)), Affine.identity(), Field.zero(SCAN))
    pair = Pair("balls", scan(0.0), shapes, {"Bladder": "bladder", "Ring": "Ring"}, truth)
    settings = Settings(method=method, model="bright", device="cpu", precision="fp32")
    tasks = {"p": Task(lambda: pair, {"ours": own_method(settings, lambda: only_segments)})}
    outcome = run_accuracy(tasks, tmp_path / "a.jsonl")[0]
    assert (outcome.error, [organ.roi for organ in outcome.organs]) == ("", scored)
    assert outcome.organs[0].score.msd_mm < 0.3
