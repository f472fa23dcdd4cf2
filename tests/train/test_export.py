"""What was trained comes back as a released model; its card says which path is best, what it scores, and its limits."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from recontour.errors import ModelRefused, OutputRefused, UsageError
from recontour.network.architectures import build_network
from recontour.network.released import ModelCard, list_models, open_model, read_card
from recontour.train import export as export_module
from recontour.train.card import Evidence, choose_paths, limits_of, score_rows, worse_than_affine
from recontour.train.card_text import card_text, readme_text
from recontour.train.export import Remarks, export_model, read_run, validation_data, write_model
from recontour.train.seen import seen_in_training
from recontour.train.settings import DataSettings, LossSettings, NetworkSettings, TrainSettings
from recontour.train.validate import FieldScore, PathScore, Validation
from tests.train.made_run import settings_of, write_pairs, write_run

CARD = ModelCard(
    name="first",
    architecture="seg",
    inputs=("fixed",),
    released="2026-02-03",
    summary='quotes " and umlauts ä, a \x7f and a \\ are kept',
    path_per_organ={"bladder": "segmentation", "prostate": "blend"},
    training={"steps": 12, "learning_rate": 1e-3, "seeds": [0, 1]},
    scores=({"organ": "bladder", "dice": 0.91, "far": float("inf")}, {"organ": "prostate", "dice": 0.5}),
    limits=("phantoms only",),
    seen=({"organ": "prostate", "measure": "volume_ml", "low": 21.5, "high": 90.0, "scans": 30},),
)


def made_up(organ: str, **msd_mm: tuple[float, ...]) -> list[PathScore]:
    """One score per pair and path; Dice 0 and HD95 infinite where the organ was lost, else 0.8 and twice the MSD."""
    return [
        PathScore(f"p-{k}", path, organ, mm, 2 * mm, 0.8 if np.isfinite(mm) else 0.0)
        for path, values in msd_mm.items()
        for k, mm in enumerate(values)
    ]


SCORES = [
    *made_up("bladder", affine=(4.0, 6.0), registration=(2.0, 2.0), segmentation=(1.0, 1.4), blend=(1.19, 1.2)),
    *made_up("rectum", affine=(2.0, 2.0), registration=(3.0, 2.0), segmentation=(2.5, 9.0), blend=(2.4, 3.0)),
    *made_up("prostate", affine=(2.0, 3.0), registration=(1.0, 2.0), segmentation=(0.1, np.inf), blend=(1.0, 0.9)),
]
FIELDS = [FieldScore("p-0", 0.1, 0.0), FieldScore("p-1", 0.3, 0.002)]
EVIDENCE = Evidence(
    Validation(tuple(SCORES), tuple(FIELDS)), "2 validation pairs of 1 patient", "float32", "2026-02-03"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_pairs(tmp_path / "data")
    write_run(tmp_path / "run", settings_of(tmp_path / "data"))
    return tmp_path / "run"


def test_each_organ_gets_its_nearest_path_and_a_tie_the_simpler_one():
    # bladder: 1.195 for the blend is no better than 1.2 for the segmentation; rectum: the affine is no path of a card
    assert choose_paths(SCORES) == {"bladder": "segmentation", "rectum": "registration", "prostate": "blend"}
    tie = made_up("prostate", registration=(1.015,), segmentation=(1.0,), blend=(1.01,))
    assert choose_paths(tie) == {"prostate": "registration"}
    assert choose_paths(made_up("prostate", registration=(1.03,), segmentation=(1.0,))) == {"prostate": "segmentation"}
    assert choose_paths(made_up("prostate", registration=(40.0,), segmentation=(0.5, np.inf))) == {
        "prostate": "segmentation"  # (0.5 + 50) / 2 = 25.25
    }


def test_score_rows_by_hand():
    rows = {(row.get("organ"), row.get("path")): row for row in score_rows(EVIDENCE)}
    assert len(rows) == 13
    row = rows["bladder", "affine"]
    assert (row["msd_mm_mean"], row["msd_mm_median"], row["msd_mm_worst"], row["n"], row["lost"]) == (
        5.0,
        5.0,
        6.0,
        2,
        0,
    )
    assert row["msd_mm_sd"] == pytest.approx(2**0.5, abs=1e-4) and row["hd95_mm_mean"] == 10.0
    assert (row["data"], row["precision"], row["date"]) == (EVIDENCE.pairs, "float32", "2026-02-03")
    lost = rows["prostate", "segmentation"]
    assert (lost["lost"], lost["msd_mm_mean"], lost["msd_mm_worst"], lost["dice_worst"]) == (1, 25.05, 50.0, 0.0)
    field = rows[None, None]
    assert (field["jacobian_sd_mean"], field["jacobian_sd_worst"], field["folding_mean"]) == (0.2, 0.3, 0.001)


def a_card(**changes: object) -> ModelCard:
    training = {"steps": 700}
    card = ModelCard("m", "cross-stitch", ("moving", "fixed"), path_per_organ=choose_paths(SCORES), training=training)
    return replace(card, scores=score_rows(EVIDENCE), **changes)


def test_the_card_has_the_ranges_of_the_training_scans(run: Path):
    """Of both scans of both training pairs, by hand from their arrays; nobody contoured bladder and vesicles."""
    rows = {(row["organ"], row["measure"]): row for row in seen_in_training(settings_of(run.parent / "data"), run)}
    assert {organ for organ, _ in rows} == {"rectum", "prostate"}
    medians: list[float] = []
    for pair in sorted((run.parent / "data" / "training").iterdir()):
        for side in ("fixed", "moving"):
            hu, labels = (np.load(pair / f"{side}_{part}.npy") for part in ("hu", "labels"))
            medians.append(float(np.median(hu[labels == 4])))
    row = rows["prostate", "inside_hu"]
    assert (row["low"], row["high"], row["scans"]) == (min(medians), max(medians), 4)
    assert rows["prostate", "volume_ml"]["low"] == pytest.approx(7 * 8 * 9 / 1000, abs=0.1)


def test_only_men_who_are_kept_are_in_the_ranges(tmp_path: Path):
    settings = TrainSettings(data=DataSettings("phantoms", "", training_men=3))
    assert seen_in_training(settings, tmp_path) == ()


def test_a_model_that_harms_says_so():
    assert worse_than_affine(a_card()) == {"rectum": (2.5, 2.0)}
    limits = limits_of(a_card(), settings_of(Path("data")))
    assert [limit for limit in limits if "WORSE THAN AFFINE" in limit] == [limits[0]] and "rectum" in limits[0]
    assert "MSD 2.50 mm, affine alone 2.00 mm" in limits[0]
    assert any("seminal vesicles: contoured in no validation pair" in limit for limit in limits)
    assert any("700 steps of the 900" in limit for limit in limits)
    lossy = limits_of(a_card(path_per_organ={"prostate": "segmentation"}), settings_of(Path("data")))
    assert any("prostate: lost" in limit and "1 of 2" in limit for limit in lossy)


def test_a_blend_with_a_bad_half_and_few_pairs_are_told():
    limits = limits_of(a_card(), settings_of(Path("data")))
    assert any("scores of 2 pairs only" in limit for limit in limits)
    assert [limit for limit in limits if "half of its blend" in limit] == [
        "prostate: half of its blend, the segmentation, is by itself worse than affine alone "
        "(MSD 25.05 mm, affine alone 2.50 mm)"
    ]
    many = [score for k in range(10) for score in made_up("bladder", affine=(4.0,), registration=(1.0 + k / 10,))]
    rows = score_rows(Evidence(Validation(tuple(many), ()), "10 pairs", "float32", "2026-02-03"))
    card = replace(a_card(), scores=rows, path_per_organ={"bladder": "registration"})
    assert not any("pairs only" in limit for limit in limits_of(card, settings_of(Path("data"))))


def test_phantoms_are_never_for_patients():
    phantoms = replace(settings_of(Path("data")), data=DataSettings("phantoms"))
    assert any("never seen a patient" in limit for limit in limits_of(a_card(), phantoms))


def test_a_run_becomes_a_model(run: Path, tmp_path: Path):
    told: list[tuple[int, int]] = []
    remarks = Remarks("A try.", ("not in the snow",))
    card = export_model(run, "try-1", tmp_path / "models", remarks, on_pair=lambda k, n: told.append((k, n)))
    opened = open_model("try-1", tmp_path / "models")
    torch.manual_seed(5)
    want = build_network("reg").state_dict()
    assert all(torch.equal(tensor, want[name]) for name, tensor in opened.network.state_dict().items())
    assert opened.card == card == read_card(tmp_path / "models" / "try-1")
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert (card.name, card.architecture, card.inputs) == ("try-1", "reg", ("fixed", "moving"))
    assert card.hu_window == (-900.0, 800.0) and card.released == date.today().isoformat()
    assert card.path_per_organ == {"rectum": "registration", "prostate": "registration"}
    assert {(row["organ"], row["path"]) for row in card.scores if "path" in row} == {
        (organ, path) for organ in ("rectum", "prostate") for path in ("affine", "registration")
    }
    assert all(row["data"] == "3 validation pairs of 2 patients" for row in card.scores)
    assert card.summary == "A try." and card.limits[-1] == "not in the snow"
    training = card.training
    assert (training["patients"], training["pairs"], training["validation_patients"]) == (1, 2, 2)
    assert (training["steps"], training["seconds"], training["seed"], training["recontour"]) == (700, 120, 11, "0.1.0")
    assert training["chosen_among_validations"] == 3 and training["validation_msd_mm"] == 1.25
    assert "0.0002" in training["optimiser"] and "heads 0.001" in training["optimiser"]
    assert training["losses"] == "1 ncc, 0.5 bending energy"
    whole = "".join(path.read_text() for path in (tmp_path / "models" / "try-1").glob("*.[mt]*"))
    assert not any(name in whole for name in ("ab1", "cd2", "ef3"))  # pseudonyms stay at home


def test_a_model_of_means_says_so(run: Path, tmp_path: Path):
    export_model(run, "try-1", tmp_path)
    scaled = open_model("try-1", tmp_path)
    with torch.no_grad():
        for parameter in scaled.network.parameters():
            parameter.mul_(3.0)
    write_model(scaled.network, replace(scaled.card, name="thrice"), tmp_path / "thrice")
    card = export_model(run, "mean", tmp_path, mean_of=str(tmp_path / "thrice"))
    assert card.training["weights"] == "means of the run's and of those of thrice"
    torch.manual_seed(5)
    want = dict(build_network("reg").named_parameters())
    found = dict(open_model("mean", tmp_path).network.named_parameters())
    assert all(torch.allclose(found[name], 2 * parameter) for name, parameter in want.items())


def test_the_page_says_what_the_card_says(run: Path, tmp_path: Path):
    card = export_model(run, "try-1", tmp_path)
    page = (tmp_path / "try-1" / "README.md").read_text()
    for words in (
        card.summary,
        card.intended_use,
        *card.limits,
        card.weights_sha256,
        *map(str, card.training.values()),
    ):
        assert words in page
    for row in (row for row in card.scores if "path" in row):
        (line,) = [x for x in page.splitlines() if x.startswith(f"| {row['organ'].replace('_', ' ')} | {row['path']}")]
        assert f"{row['msd_mm_mean']:.2f} ± {row['msd_mm_sd']:.2f}" in line and f"{row['dice_mean']:.3f}" in line
        assert ("chosen" in line) == (card.path_per_organ[row["organ"]] == row["path"])


def test_the_card_round_trips(tmp_path: Path):
    bound = write_model(build_network("seg"), CARD, tmp_path / "first")
    assert read_card(tmp_path / "first") == bound and bound.summary == CARD.summary
    assert tomllib.loads(card_text(bound))["scores"][0]["far"] == np.inf
    assert [m.fault for m in list_models(tmp_path)] == [""]
    bare = ModelCard("bare", "seg", ("fixed",), "0" * 64)
    (tmp_path / "card.toml").write_text(card_text(bare))
    assert read_card(tmp_path) == bare and "bare" in readme_text(bare)


def test_a_flipped_byte_is_refused(tmp_path: Path):
    write_model(build_network("seg"), CARD, tmp_path / "first")
    weights = tmp_path / "first" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 4
    weights.write_bytes(content)
    with pytest.raises(ModelRefused, match="not those of the card"):
        open_model("first", tmp_path)


def test_a_model_is_replaced_only_when_asked_and_only_a_model(tmp_path: Path):
    network, folder = build_network("seg"), tmp_path / "first"
    write_model(network, CARD, folder)
    with pytest.raises(OutputRefused, match="a model already"):
        write_model(network, CARD, folder)
    write_model(network, replace(CARD, released="2026-03-01"), folder, overwrite=True)
    assert read_card(folder).released == "2026-03-01" and [p.name for p in tmp_path.iterdir()] == ["first"]
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputRefused, match="something else"):
        write_model(network, CARD, folder, overwrite=True)
    assert (folder / "thesis.tex").exists()


def test_a_failed_write_leaves_the_old_model_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network, folder = build_network("seg"), tmp_path / "first"
    write_model(network, CARD, folder)
    broken = build_network("seg")
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(ModelRefused, match="not finite"):  # read back before it gets its name
        write_model(broken, replace(CARD, released="2026-03-01"), folder, overwrite=True)
    monkeypatch.setattr(export_module, "_write_synced", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputRefused, match="No space left"):
        write_model(network, CARD, folder, overwrite=True)
    assert open_model("first", tmp_path).card.released == "2026-02-03" and [p.name for p in tmp_path.iterdir()] == [
        "first"
    ]


def test_a_model_that_cannot_take_its_place_leaves_the_old_one_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network, folder, rename = build_network("seg"), tmp_path / "first", export_module.os.rename
    write_model(network, CARD, folder)

    def refused(source: Path, target: Path) -> None:
        if source.name.endswith(".part"):
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(export_module.os, "rename", refused)
    with pytest.raises(OutputRefused, match="Permission denied"):
        write_model(network, replace(CARD, released="2026-03-01"), folder, overwrite=True)
    assert read_card(folder).released == "2026-02-03" and [p.name for p in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../up", ".hidden", "Ä"])
def test_names_that_are_no_folder_names(name: str, tmp_path: Path):
    with pytest.raises(UsageError, match="is no name for a model"):
        export_model(tmp_path / "no run is looked for", name, tmp_path)


def test_runs_that_cannot_be_exported(run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no run"):
        export_model(tmp_path / "nowhere", "m", tmp_path)
    best = run / "best.safetensors"
    whole = best.read_bytes()
    best.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelRefused, match="damaged"):
        read_run(run)
    best.unlink()
    with pytest.raises(ModelRefused, match="no validated weights yet"):
        read_run(run)
    other = tmp_path / "other"
    write_run(other, settings_of(tmp_path / "data", "seg"))
    best.write_bytes((other / "best.safetensors").read_bytes())
    with pytest.raises(ModelRefused, match="not those of the run's network"):
        read_run(run)
    best.write_bytes(whole)
    with pytest.raises(UsageError, match="no training pairs"):
        validation_data(settings_of(tmp_path / "moved away"), run)
    assert not (tmp_path / "models").exists()


def test_what_the_card_says_of_phantoms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[Path] = []

    def made(settings: TrainSettings, men: Path):
        asked.append(men)
        return []

    monkeypatch.setattr("recontour.train.phantoms.validation_pairs", made)
    settings = TrainSettings(data=DataSettings("phantoms", training_men=40, validation_men=5, severity=1.5))
    _, data, described = validation_data(settings, tmp_path)
    assert asked == [tmp_path / "men"] and described == "0 validation pairs of 0 phantoms"
    assert (data["men"], data["seeds"], data["severity"], data["validation_seeds"]) == (40, "0-39", 1.5, "10000-10004")


def test_all_terms_of_the_loss_are_named():
    from recontour.train.card import described_losses

    loss = LossSettings("local-ncc", 5, boundary=0.4, boundary_full_at=100, adversarial=0.01, w_bending=0.2)
    assert described_losses(loss, "cross-stitch") == (
        "1 local-ncc in windows of 5 voxels, 1 Dice of the registration, 1 Dice of the segmentation, "
        "0.2 bending energy, 0.4 boundary, in full from step 100, 0.01 adversarial"
    )
    assert described_losses(LossSettings(), NetworkSettings("seg").architecture) == "1 Dice of the segmentation"
