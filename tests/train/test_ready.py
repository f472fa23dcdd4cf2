"""A training can begin where a model ended, if it is the same network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recontour.errors import ModelRefused, SettingsError
from recontour.network.architectures import build_network
from recontour.network.released import ModelCard
from recontour.train.export import write_model
from recontour.train.ready import make_job, new_training
from recontour.train.settings import NetworkSettings, TrainSettings


def made_model(folder: Path, name: str) -> torch.nn.Module:
    torch.manual_seed(4)
    network = build_network(name)
    write_model(network, ModelCard("start", name, network.inputs), folder)
    return network


def test_it_begins_with_the_weights_of_a_model(tmp_path: Path) -> None:
    given = made_model(tmp_path / "model", "reg").state_dict()
    settings = TrainSettings(device="cpu", network=NetworkSettings("reg", start_from=str(tmp_path / "model")))
    begun = new_training(make_job(settings, tmp_path / "run")).network.state_dict()
    assert all(torch.equal(begun[key], given[key]) for key in given)
    anew = replace(settings, network=NetworkSettings("reg"))
    drawn = new_training(make_job(anew, tmp_path / "run")).network.state_dict()
    assert not torch.equal(drawn["encoder.level0.0.0.weight"], given["encoder.level0.0.0.weight"])


def test_another_network_is_refused(tmp_path: Path) -> None:
    made_model(tmp_path / "model", "reg")
    for chosen in (NetworkSettings("seg"), NetworkSettings("reg", ("fixed", "moving", "moving_labels"))):
        settings = TrainSettings(device="cpu", network=replace(chosen, start_from=str(tmp_path / "model")))
        with pytest.raises(ModelRefused, match="a model of reg from fixed, moving"):
            new_training(make_job(settings, tmp_path / "run"))


def test_with_fixed_norms_it_trains_what_will_predict(tmp_path: Path) -> None:
    model = made_model(tmp_path / "model", "seg")
    chosen = NetworkSettings("seg", start_from=str(tmp_path / "model"), fixed_norms=True)
    job = make_job(TrainSettings(device="cpu", network=chosen), tmp_path / "run")
    network = new_training(job).network
    scan = torch.rand(2, 1, 44, 44, 44, generator=torch.Generator().manual_seed(1))
    trained = network(scan, scan, scan).logits
    with torch.no_grad():
        predicted = model.eval()(scan, scan, scan).logits
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(trained, predicted, strict=True))
    means = {key: value for key, value in network.state_dict().items() if "running" in key}
    assert means and all(torch.equal(value, model.state_dict()[key]) for key, value in means.items())
    (sum(logits.square().mean() for logits in trained)).backward()
    assert network.encoder.level0[0][1].weight.grad.abs().sum() > 0  # its factors still learn


def test_fixed_norms_need_means_that_were_learnt() -> None:
    with pytest.raises(SettingsError, match="start_from"):
        NetworkSettings("seg", fixed_norms=True)
