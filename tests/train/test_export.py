"""What was trained comes back as a released model, and its scores are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recontour.errors import OutputRefused
from recontour.network.architectures import Output, build_network
from recontour.network.catalogue import ARCHITECTURES
from recontour.network.released import ModelCard, ReleasedModel, list_models, open_model, read_card
from recontour.train.dataset import ScanPair
from recontour.train.export import card_text, export
from recontour.train.validate import dice_per_organ, validate, warped_labels

CARD = ModelCard(
    name="first",
    architecture="seg",
    inputs=("fixed",),
    released="2026-02-03",
    summary='quotes " and umlauts ä are kept',
    path_per_organ={"bladder": "segmentation", "prostate": "blend"},
    training={"steps": 12, "learning_rate": 1e-3, "seeds": [0, 1]},
    scores=({"organ": "bladder", "dice": 0.91}, {"organ": "prostate", "dice": 0.5}),
    limits=("phantoms only",),
)


def test_an_exported_network_opens_with_the_same_weights_and_card(tmp_path: Path):
    torch.manual_seed(1)
    network = build_network("seg")
    bound = export(network, CARD, tmp_path / "first")
    opened = open_model("first", tmp_path)
    assert opened.card == bound == read_card(tmp_path / "first") and bound.summary == CARD.summary
    want = network.state_dict()
    assert all(torch.equal(tensor, want[name]) for name, tensor in opened.network.state_dict().items())
    assert [m.fault for m in list_models(tmp_path)] == [""]


def test_a_model_is_not_overwritten_unasked(tmp_path: Path):
    network = build_network("seg")
    export(network, CARD, tmp_path)
    with pytest.raises(OutputRefused, match="a model already"):
        export(network, CARD, tmp_path)
    export(network, CARD, tmp_path, overwrite=True)


def test_a_card_without_scores_is_toml_too(tmp_path: Path):
    (tmp_path / "card.toml").write_text(card_text(ModelCard("bare", "seg", ("fixed",), "0" * 64)))
    assert read_card(tmp_path) == ModelCard("bare", "seg", ("fixed",), "0" * 64)


def test_dice_by_hand():
    a = np.array([0, 1, 1, 1, 2, 4], np.uint8)
    b = np.array([1, 1, 1, 0, 4, 4], np.uint8)
    got = dice_per_organ(a, b)
    assert got["bladder"] == pytest.approx(4 / 6) and got["rectum"] == 0.0 and got["prostate"] == pytest.approx(2 / 3)
    assert np.isnan(got["seminal_vesicles"])


def test_labels_are_taken_from_where_the_field_points():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 4] = 3
    field = np.zeros((3, 4, 5, 6), np.float32)
    field[0], field[2] = 2.0, -1.0  # looks 2 mm further along x and 1 mm back along z
    moved = warped_labels(labels, field)
    assert np.argwhere(moved).tolist() == [[2, 2, 2]] and moved[2, 2, 2] == 3


class Knows(torch.nn.Module):
    """Answers with a field of 3 mm along y, and segments nothing but bladder."""

    def __init__(self) -> None:
        super().__init__()
        self.architecture, self.inputs = ARCHITECTURES["cross-stitch"], ARCHITECTURES["cross-stitch"].inputs
        self.segment = self.register_field = None
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, fixed, moving, moving_labels):
        size = tuple(n - 40 for n in fixed.shape[2:])
        field, logits = torch.zeros(1, 3, *size), torch.zeros(1, 5, *size)
        field[:, 1], logits[:, 1] = 3.0, 9.0
        return Output((field,) * 3, (logits,) * 3)


def test_validation_tells_the_three_ways_apart():
    fixed, moving = np.zeros((2, 12, 14, 16), np.uint8)
    fixed[2:8, 3:8, 4:9] = 4
    moving[2:8, 6:11, 4:9] = 4
    hu = np.zeros(fixed.shape, np.int16)
    model = ReleasedModel(ModelCard("knows", "cross-stitch", ARCHITECTURES["cross-stitch"].inputs), Knows())
    scores = validate(model, [ScanPair(hu, hu, fixed, moving)])
    assert scores["affine"]["prostate"] == [pytest.approx(2 / 5)]  # 2 of 5 rows shared
    assert scores["registration"]["prostate"] == [1.0]
    assert scores["segmentation"]["prostate"] == [0.0] and scores["segmentation"]["bladder"] == [0.0]
