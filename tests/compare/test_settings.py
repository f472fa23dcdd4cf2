from __future__ import annotations

import tomllib
from typing import Any

import pytest

from recontour.compare.settings import CompareSettings, compare_settings_from, toml_of
from recontour.errors import SettingsError
from recontour.train.settings import TrainSettings, train_settings_from


def test_what_is_not_named_is_the_paper_s() -> None:
    settings = compare_settings_from({"tables": [3, 4], "train": {"steps": 30, "loss": {"similarity": "mind"}}})
    assert settings.tables == (3, 4)
    assert settings.train.loss.similarity == "mind"
    assert settings.train.loss.w_bending == 0.5
    assert settings.networks == ("seg", "reg", "jrs-reg", "dense", "sedd", "cross-stitch")
    assert settings.homoscedastic == ("jrs-reg", "dense", "sedd")


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"tables": [6]}, "tables"),
        ({"figures": [3]}, "figures"),
        ({"tables": [], "figures": []}, "tables, figures"),
        ({"networks": ["unet"]}, "networks"),
        ({"weightings": ["gradnorm"]}, "weightings"),
        ({"rivals": ["demons"]}, "rivals"),
        ({"homoscedastic": ["seg"]}, "homoscedastic"),
        ({"hybrid_network": "reg"}, "hybrid_network"),
        ({"devices": []}, "devices"),
        ({"devices": ["tpu"]}, "devices"),
        ({"devices": ["cuda"]}, "devices"),
        ({"adversarial": 0.0}, "adversarial"),
        ({"bending_weights": [0.5, 0.0]}, "bending_weights"),
        ({"test": {"men": 0}}, "test.men"),
        ({"test": {"days": 0}}, "test.days"),
        ({"test": {"severity": -1.0}}, "test.severity"),
        ({"train": {"device": "cpu"}}, "train.device"),
        ({"train": {"steps": 0}}, "steps"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(raw: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        compare_settings_from(raw)
    assert refusal.value.where == where


def test_training_settings_survive_toml() -> None:
    settings = train_settings_from(
        {
            "steps": 7,
            "network": {"architecture": "cross-stitch", "segmentation_inputs": ["fixed", "moving_labels"]},
            "optimiser": {"learning_rate": 1e-5},
            "data": {"source": "prepared", "folder": 'a "b" \\ c'},
        }
    )
    assert train_settings_from(tomllib.loads(toml_of(settings.as_dict()))) == settings
    assert train_settings_from(tomllib.loads(toml_of(TrainSettings().as_dict()))) == TrainSettings()


def test_the_default_is_whole() -> None:
    assert compare_settings_from({}) == CompareSettings()
