"""Means of weights, by hand."""

from __future__ import annotations

import pytest
import torch

from recontour.errors import ModelRefused
from recontour.network.architectures import Network, build_network
from recontour.network.released import ModelCard, ReleasedModel
from recontour.train import ready
from recontour.train.mean import mean_with


def filled(name: str, value: float) -> Network:
    network = build_network(name)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)
    return network


def given(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    card = ModelCard("given", network.architecture.name, network.inputs)
    monkeypatch.setattr(ready, "open_model", lambda name: ReleasedModel(card, network))


def test_every_weight_is_the_mean_and_counts_are_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = filled("cross-stitch", 1.0)
    given(monkeypatch, filled("cross-stitch", 4.0))
    found = mean_with(own, "given").state_dict()
    assert {float(t.min()) for t in found.values() if t.is_floating_point()} == {2.5}
    assert {float(t.max()) for t in found.values() if t.is_floating_point()} == {2.5}
    assert {int(t) for name, t in found.items() if name.endswith("num_batches_tracked")} == {1}
    assert float(next(own.parameters()).detach().max()) == 1.0


def test_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, filled("reg", 4.0))
    with pytest.raises(ModelRefused, match="a model of reg"):
        mean_with(filled("cross-stitch", 1.0), "given")
