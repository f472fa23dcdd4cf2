"""Released models are what their cards say, or are refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from recontour.errors import ModelRefused
from recontour.network.architectures import build_network
from recontour.network.released import folder_of, list_models, models_folder, open_model, read_card
from recontour.settings import Settings

CARD = """
name = "{name}"
architecture = "seg"
inputs = ["fixed"]
weights_sha256 = "{sha}"
hu_window = [-1000, 1000]
released = "2026-01-05"
[path_per_organ]
bladder = "segmentation"
"""


def put_model(home: Path, name: str = "first", seed: int = 0, **tensors: torch.Tensor):
    torch.manual_seed(seed)
    content = save(build_network("seg").state_dict() | tensors)
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    (folder / "card.toml").write_text(CARD.format(name=name, sha=sha))
    return folder


def test_a_model_opens_by_name_and_by_folder_with_its_weights(tmp_path: Path):
    folder = put_model(tmp_path, seed=4)
    torch.manual_seed(4)
    want = build_network("seg").state_dict()
    for model in (open_model("first", tmp_path), open_model(folder)):
        got = model.network.state_dict()
        assert got.keys() == want.keys() and all(torch.equal(got[k], want[k]) for k in want)
        assert model.card.hu_window == (-1000, 1000) and model.card.path_per_organ == {"bladder": "segmentation"}
        assert not model.network.training


def test_none_is_chosen_without_a_name(tmp_path: Path):
    put_model(tmp_path)
    with pytest.raises(ModelRefused, match=r"no model ''.*first"):
        open_model("", tmp_path)


def test_the_model_that_is_used_where_none_is_asked_for_is_released():
    card = read_card(folder_of(Settings().model))
    assert (card.architecture, card.patient_key) == ("cross-stitch", "")


def test_one_changed_bit_is_refused_and_listed(tmp_path: Path):
    folder = put_model(tmp_path)
    put_model(tmp_path, "second")
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelRefused, match="not those of the card"):
        open_model("first", tmp_path)
    first, second = list_models(tmp_path)
    assert (first.name, first.fault) == ("first", "the weights are not those of the card")
    assert (second.name, second.fault) == ("second", "") and second.card is not None


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ModelRefused, match=r"no model 'first'.*a folder with a card.toml"):
        open_model("first", tmp_path)
    folder = put_model(tmp_path)
    with pytest.raises(ModelRefused, match=r"no model .second.*first"):
        open_model("second", tmp_path)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelRefused, match="weights are missing"):
        open_model("first", tmp_path)


@pytest.mark.parametrize(
    "line, words",
    [
        ('architecture = "unet"', "architecture: 'unet'"),
        ('labels = ["background", "prostate"]', "labels"),
        ("spacing_mm = 3.0", "spacing_mm: 3.0"),
        ("hu_window = [300, -150]", "hu_window"),
        ("nonsense = 1", "nonsense"),
        ('path_per_organ = {bladder = "both"}', "'both'"),
        ('path_per_organ = {heart = "blend"}', "'heart'"),
        ("name = ", "cannot be read"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, line: str, words: str):
    folder = put_model(tmp_path)
    card = folder / "card.toml"
    kept = [row for row in card.read_text().splitlines() if row.split("=")[0].strip() != line.split("=")[0].strip()]
    if line.startswith("path"):
        kept = [row for row in kept if row != "[path_per_organ]" and not row.startswith("bladder")]
    card.write_text("\n".join([line, *kept]))
    with pytest.raises(ModelRefused, match=words):
        read_card(folder)


SEEN = {"organ": '"prostate"', "measure": '"inside_hu"', "low": "20.0", "high": "55", "scans": "12"}


def with_seen(folder: Path, **changes: str) -> Path:
    rows = [f"{key} = {value}" for key, value in {**SEEN, **changes}.items()]
    with (folder / "card.toml").open("a") as card:
        card.write("\n".join(["", "[[seen]]", *rows, ""]))
    return folder


def test_ranges_of_the_training_are_read_and_older_cards_have_none(tmp_path: Path):
    assert read_card(put_model(tmp_path)).seen == ()
    (row,) = read_card(with_seen(put_model(tmp_path, "second"))).seen
    assert (row["organ"], row["measure"], row["low"], row["high"], row["scans"]) == (
        "prostate", "inside_hu", 20.0, 55, 12,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"organ": '"liver"'}, {"measure": '"noise"'}, {"low": '"a"'}, {"low": "56"}, {"low": "nan"}, {"extra": "1"}],
)
def test_ranges_that_are_none_are_refused(tmp_path: Path, changes: dict[str, str]):
    with pytest.raises(ModelRefused, match="seen"):
        read_card(with_seen(put_model(tmp_path), **changes))


def test_a_card_without_a_sum_is_refused(tmp_path: Path):
    folder = put_model(tmp_path)
    rows = (folder / "card.toml").read_text().splitlines()
    (folder / "card.toml").write_text("\n".join(row for row in rows if not row.startswith("weights_sha256")))
    with pytest.raises(ModelRefused, match="no weights_sha256"):
        open_model(folder)


def test_weights_of_another_network_or_not_finite_are_refused(tmp_path: Path):
    put_model(tmp_path, "broken", **{"segment.fine.bias": torch.tensor([0.0, float("nan"), 0, 0, 0])})
    with pytest.raises(ModelRefused, match="not finite"):
        open_model("broken", tmp_path)
    put_model(tmp_path, "other", **{"segment.fine.bias": torch.zeros(3)})
    with pytest.raises(ModelRefused, match="do not fit the network"):
        open_model("other", tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path):
    folder = put_model(tmp_path)
    torch.save(build_network("seg").state_dict(), folder / "weights.safetensors")
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "card.toml").write_text(
        CARD.format(name="first", sha=hashlib.sha256(content).hexdigest(), released="2026-01-05")
    )
    with pytest.raises(ModelRefused, match="do not fit"):
        open_model("first", tmp_path)


def test_listing_needs_no_torch(tmp_path: Path):
    put_model(tmp_path)
    code = f"""
import sys
from pathlib import Path
from recontour.network.released import list_models
assert [m.fault for m in list_models(Path({str(tmp_path)!r}))] == [""]
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_released_model_is_whole():
    for listed in list_models():
        assert listed.fault == "" and listed.name == listed.folder.name
        assert (listed.folder / "README.md").is_file()
        assert open_model(listed.name).card == listed.card
    assert models_folder().is_dir()


@pytest.mark.parametrize("line", ["hu_window = 3", 'path_per_organ = "blend"'])
def test_a_value_of_the_wrong_kind_is_a_fault_and_no_crash(tmp_path: Path, line: str):
    folder = put_model(tmp_path)
    rows = (folder / "card.toml").read_text().splitlines()
    kept = [r for r in rows if not r.startswith(("hu_window", "[path", "bladder"))]
    (folder / "card.toml").write_text("\n".join([line, *kept]))
    (listed,) = list_models(tmp_path)
    assert listed.fault == "a value of the wrong kind"


def test_the_models_in_the_repository_are_what_their_cards_say():
    assert [m.name for m in list_models() if m.fault] == [] and len(list_models()) > 0
