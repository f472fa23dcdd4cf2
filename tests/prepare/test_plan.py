"""What is told before any work: what is missing, who is in which split, and that nothing is written."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest

from recontour.errors import OutputRefused, SettingsError, UsageError
from recontour.prepare.plan import PreparePlan, plan_cohort
from recontour.prepare.record import CohortRecord, PatientRecord, read_record, write_record
from recontour.prepare.request import PrepareRequest
from tests.prepare.made_cohort import ONE, SECRETS, TWO, write_day

SALT = "0b" * 32


def planned(cohort: Path, out: Path, **options: Any) -> PreparePlan:
    return plan_cohort(PrepareRequest(cohort, out, **options))


def reasons(plan: PreparePlan) -> Counter[str]:
    return Counter(item.reason for item in plan.record.left_out)


def split_file(folder: Path, **lists: list[str]) -> Path:
    file = folder / "split.toml"
    file.write_text("\n".join(f"{name} = {json.dumps(ids)}" for name, ids in lists.items()))
    return file


def test_fractions_are_numbered_by_date(cohort, tmp_path):
    plan = planned(cohort, tmp_path / "data")
    one = plan.record.pseudonym(SECRETS[0])
    days = {pair.name: pair.daily.scanned[:8] for pair in plan.pairs if pair.patient == one}
    assert days == {f"{one}-f01": "20240118", f"{one}-f02": "20240119"}  # in folders c and b
    assert all(pair.planning.scanned[:8] in ("20240110", "20230110") for pair in plan.pairs)
    assert reasons(plan) == {"a CT without a structure set": 1}
    assert not (tmp_path / "data").exists()


def test_a_required_organ_that_is_missing_is_told_before_any_work(cohort, tmp_path):
    plan = planned(cohort, tmp_path / "data", require=("prostate",))
    assert len(plan.pairs) == 2
    assert reasons(plan)["no prostate contoured in the daily scan"] == 1


def test_a_patient_of_one_scan(tmp_path):
    write_day(tmp_path / "in", ONE, "20240101", z_mm=(0, 10))
    plan = planned(tmp_path / "in", tmp_path / "data")
    assert not plan.pairs and reasons(plan) == {"no daily CT after the planning CT": 1}


def test_an_ambiguous_organ_says_which(tmp_path):
    write_day(tmp_path / "in" / "a", ONE, "20240101", ("Bladder", "Bladder_DL"), z_mm=(0, 50))
    write_day(tmp_path / "in" / "b", ONE, "20240102", z_mm=(0, 50))
    (reason,) = reasons(planned(tmp_path / "in", tmp_path / "data"))
    assert reason.startswith("planning scan: several ROIs could be the bladder") and "Bladder_DL" in reason
    chosen = planned(tmp_path / "in", tmp_path / "data", chosen_rois={"bladder": "bladder_dl"})
    assert len(chosen.pairs) == 1 and not chosen.record.left_out


def test_an_roi_that_nobody_has(cohort, tmp_path):
    with pytest.raises(UsageError, match="no structure set has an ROI Vescica"):
        planned(cohort, tmp_path / "data", chosen_rois={"bladder": "Vescica"})
    assert planned(cohort, tmp_path / "data", chosen_rois={"bladder": "none"}).pairs


def test_contours_of_another_frame_of_reference(tmp_path):
    write_day(tmp_path / "in" / "a", ONE, "20240101", z_mm=(0, 50))
    write_day(tmp_path / "in" / "b", ONE, "20240102", z_mm=(0, 50))
    file = tmp_path / "in" / "b" / f"{SECRETS[0]}.dcm"
    drawn = pydicom.dcmread(file)
    drawn.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    for item in drawn.StructureSetROISequence:
        item.ReferencedFrameOfReferenceUID = "1.2.3"
    drawn.save_as(file)
    plan = planned(tmp_path / "in", tmp_path / "data")
    assert not plan.pairs
    assert reasons(plan)["its contours are in another frame of reference than its CT"] == 1


def test_a_split_by_file(cohort, tmp_path):
    file = split_file(tmp_path, training=["nobody", SECRETS[1]], test=[SECRETS[0]])
    plan = planned(cohort, tmp_path / "data", split_file=file)
    one, two = (plan.record.pseudonym(secret) for secret in SECRETS[:2])
    assert {pair.patient: pair.split for pair in plan.pairs} == {one: "test", two: "training"}
    unmatched = [item.what for item in plan.record.left_out if "no patient of this ID" in item.reason]
    assert unmatched == ["split file, the 1st of training"]


def test_a_patient_in_no_list_is_left_out(cohort, tmp_path):
    plan = planned(cohort, tmp_path / "data", split_file=split_file(tmp_path, validation=[SECRETS[1]]))
    assert {pair.split for pair in plan.pairs} == {"validation"}
    left = [item for item in plan.record.left_out if item.reason == "in no list of the split file"]
    assert [item.patient for item in left] == [plan.record.pseudonym(SECRETS[0])]


def known_cohort(data: Path, settings: dict[str, Any], split: str) -> CohortRecord:
    """A cohort.json that knows the first patient."""
    empty = CohortRecord(SALT, settings)
    patients = {empty.pseudonym(SECRETS[0]): PatientRecord(split, "1.2", {"1.3": 4})}
    record = CohortRecord(SALT, settings, patients)
    write_record(data, record)
    return record


def test_nobody_changes_splits_and_it_is_told_before_the_folders_are_read(tmp_path):
    file = split_file(tmp_path, training=["x", SECRETS[0]])
    request = PrepareRequest(tmp_path / "nowhere", tmp_path / "data", split_file=file)
    known_cohort(request.out, request.settings, "test")
    with pytest.raises(SettingsError, match="the 2nd of training is in test") as caught:
        plan_cohort(request)
    assert SECRETS[0] not in str(caught.value)


def test_a_known_patient_keeps_his_split_and_his_numbers(cohort, tmp_path):
    request = PrepareRequest(cohort, tmp_path / "data", shares=(1, 0, 0))
    record = known_cohort(request.out, request.settings, "test")
    plan = plan_cohort(request)
    one, two = (record.pseudonym(secret) for secret in SECRETS[:2])
    assert {pair.name: pair.split for pair in plan.pairs} == {
        f"{one}-f05": "test", f"{one}-f06": "test", f"{two}-f01": "training"
    }  # fmt: skip


def test_a_known_patient_whom_the_split_file_forgets_keeps_his_split(cohort, tmp_path):
    file = split_file(tmp_path, validation=[SECRETS[1]])
    request = PrepareRequest(cohort, tmp_path / "data", split_file=file)
    record = known_cohort(request.out, request.settings, "test")
    splits = {pair.patient: pair.split for pair in plan_cohort(request).pairs}
    assert splits == {record.pseudonym(SECRETS[0]): "test", record.pseudonym(SECRETS[1]): "validation"}


def test_other_settings_than_before(cohort, tmp_path):
    request = PrepareRequest(cohort, tmp_path / "data")
    known_cohort(request.out, request.settings, "test")
    with pytest.raises(SettingsError, match=r"margin_mm 30\.0, but .* 60\.0"):
        planned(cohort, request.out, margin_mm=30)
    with pytest.raises(SettingsError, match="require"):
        planned(cohort, request.out, require=("rectum",))


def test_a_folder_that_is_not_of_this_command(cohort, tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(OutputRefused, match="not empty"):
        planned(cohort, tmp_path)
    with pytest.raises(OutputRefused, match="cannot be written"):
        planned(cohort, tmp_path / "thesis.docx")
    with pytest.raises(SettingsError, match="among the scans"):
        planned(cohort, cohort)


def test_what_a_killed_first_call_leaves_is_no_obstacle(cohort, tmp_path):
    (tmp_path / ".cohort.json.part").write_text("{")
    assert planned(cohort, tmp_path).pairs


def test_what_lies_in_the_folder_of_pairs_is_no_part_of_the_cohort(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "in")
    request = PrepareRequest(tmp_path / "in", tmp_path / "in" / "data")
    known_cohort(request.out, request.settings, "test")
    write_day(request.out / "training" / "stray", TWO, "20230112", z_mm=(0, 10))
    assert len(plan_cohort(request).pairs) == 3


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 2}', '{"format": 1, "salt": "zz"}', "[]"])
def test_a_damaged_record(cohort, tmp_path, text):
    (tmp_path / "cohort.json").write_text(text)
    with pytest.raises(SettingsError, match=r"cannot be read|format 2"):
        planned(cohort, tmp_path)


def test_a_record_reads_back(tmp_path):
    record = known_cohort(tmp_path, {"margin_mm": 60.0}, "test")
    assert read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.json"]


def test_a_pseudonym():
    """HMAC-SHA256 by its definition (RFC 2104), with a 32-byte key: hash(key ^ opad | hash(key ^ ipad | text))."""
    import hashlib

    key = bytes.fromhex(SALT).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + b"MRN-1").digest()
    expected = hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).hexdigest()[:8]
    assert CohortRecord(SALT, {}).pseudonym(" MRN-1") == f"p{expected}"
    assert CohortRecord("0c" * 32, {}).pseudonym("MRN-1") != f"p{expected}"


@pytest.mark.parametrize(
    "options",
    [
        dict(margin_mm=5), dict(margin_mm=500), dict(shares=(0.5, 0.5, 0.5)), dict(shares=(1.5, -0.5, 0)),
        dict(shares=(0.5, 0.5)), dict(require=("liver",)),
    ],
)  # fmt: skip
def test_settings_out_of_range(tmp_path, options):
    with pytest.raises(SettingsError):
        PrepareRequest(tmp_path, tmp_path / "data", **options)
