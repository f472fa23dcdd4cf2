"""Patients are split, never pairs; and never moved from one split to another."""

from __future__ import annotations

import pytest

from recontour.errors import SettingsError
from recontour.prepare.splits import Place, assign_splits, read_split_file

MEN = [f"man {k}" for k in range(40)]


def counts(splits: dict[str, str]) -> list[int]:
    return [list(splits.values()).count(name) for name in ("training", "validation", "test")]


@pytest.mark.parametrize(
    ("number", "shares", "expected"),
    [
        (40, (0.7, 0.15, 0.15), [28, 6, 6]),
        (10, (0.8, 0.1, 0.1), [8, 1, 1]),
        (4, (0.5, 0.25, 0.25), [2, 1, 1]),
        (7, (1.0, 0.0, 0.0), [7, 0, 0]),
        (3, (0.8, 0.0, 0.2), [2, 0, 1]),
        (2, (0.7, 0.15, 0.15), [1, 1, 0]),
        (0, (0.7, 0.15, 0.15), [0, 0, 0]),
    ],
)
def test_shares(number, shares, expected):
    assert counts(assign_splits(MEN[:number], {}, shares, 3)) == expected


def test_the_seed_decides_and_the_order_does_not():
    shares = (0.5, 0.25, 0.25)
    first = assign_splits(MEN, {}, shares, 1)
    assert assign_splits(reversed(MEN), {}, shares, 1) == first
    assert assign_splits(MEN, {}, shares, 2) != first


def test_nobody_moves_when_the_cohort_grows():
    before = assign_splits(MEN[:20], {}, (0.5, 0.25, 0.25), 1)
    after = assign_splits(MEN, before, (0.5, 0.25, 0.25), 1)
    assert {man: after[man] for man in before} == before
    assert counts(after) == [20, 10, 10]


def test_new_patients_go_where_most_are_wanting():
    known = dict.fromkeys(MEN[:4], "training")
    grown = assign_splits(MEN[:8], known, (0.5, 0.25, 0.25), 0)
    assert counts(grown) == [4, 2, 2]


def test_a_split_file(tmp_path):
    file = tmp_path / "split.toml"
    file.write_text('training = ["a", " b "]\ntest = ["c"]\n')
    assert read_split_file(file) == {"a": Place("training", 1), "b": Place("training", 2), "c": Place("test", 1)}


def test_a_patient_in_two_splits_is_told_by_his_place(tmp_path):
    file = tmp_path / "split.toml"
    file.write_text('training = ["a", "MRN-77"]\nvalidation = ["b", "c", "MRN-77"]\n')
    with pytest.raises(SettingsError) as caught:
        read_split_file(file)
    assert "the 2nd of training and the 3rd of validation" in str(caught.value)
    assert "MRN-77" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('train = ["a"]', "unknown split"),
        ('training = "a"', "not of PatientIDs"),
        ("training = [1]", "not of PatientIDs"),
        ('training = [""]', "not of PatientIDs"),
        ("training = [", "no TOML"),
    ],
)
def test_other_files_are_refused(tmp_path, text, found):
    file = tmp_path / "split.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=found):
        read_split_file(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_split_file(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"),
     (112, "112th"), (122, "122nd")],
)  # fmt: skip
def test_ordinals(number, words):
    assert str(Place("test", number)) == f"the {words} of test"
