"""What belongs to what, and that no message says who."""

from __future__ import annotations

import pytest

from recontour.dicom.references import (
    PatientHeader,
    SeriesIdentity,
    check_same_patient,
    check_structures_belong,
    check_two_scans,
)
from recontour.errors import PatientMismatch

JANSEN = PatientHeader("Jansen^Piet", "4711", "19500102", "M")


def series(uid="1.2.1", images=("1.2.1.1", "1.2.1.2"), frame="1.2.7"):
    return SeriesIdentity("1.2", uid, frame, "1.2.840", images, JANSEN, accession_number="A-99")


SAME = {
    "itself": (JANSEN, JANSEN),
    "padded": (JANSEN, PatientHeader("Jansen^Piet^^", "4711 ", "19500102")),
    "renamed": (JANSEN, PatientHeader("Jansen-de Vries^P", "4711", "")),
    "no ids": (PatientHeader("JANSEN^Piet", "", "19500102"), PatientHeader("Jansen^Piet", " ", "19500102")),
}
DIFFERENT = {
    "patient IDs differ": (JANSEN, PatientHeader("Jansen^Piet", "4712", "19500102")),
    "birth dates differ": (JANSEN, PatientHeader("Jansen^Piet", "4711", "19500201")),
    "one of them has no patient ID": (JANSEN, PatientHeader("Jansen^Piet", "", "19500102")),
    "no name with a birth date": (PatientHeader(), PatientHeader()),
    "names or birth dates differ": (PatientHeader("A^B", "", "19500102"), PatientHeader("A^C", "", "19500102")),
}


@pytest.mark.parametrize("case", SAME)
def test_same_patient(case):
    check_same_patient(*SAME[case])


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_patients_without_naming_them(case):
    with pytest.raises(PatientMismatch, match=case) as refused:
        check_same_patient(*DIFFERENT[case])
    for secret in ("Jansen", "471", "1950", "A^"):
        assert secret not in str(refused.value)
    check_same_patient(*DIFFERENT[case], allow_different=True)


def test_repr_holds_no_identity():
    text = repr(series()) + repr(JANSEN)
    assert not any(secret in text for secret in ("Jansen", "4711", "1950", "A-99"))


def test_two_scans():
    check_two_scans(series(), series("1.2.2", ("1.2.2.1",)))
    with pytest.raises(PatientMismatch, match="same series"):
        check_two_scans(series(), series(images=("1.2.9",)))
    with pytest.raises(PatientMismatch, match="share images"):
        check_two_scans(series(), series("1.2.2", ("1.2.2.1", "1.2.1.2")))


@pytest.mark.parametrize(
    ("frame", "uids", "belongs"),
    [
        ("1.2.7", ("1.2.1",), True),
        ("1.2.7", ("1.2.5", "1.2.1"), True),
        ("1.2.7", (), True),
        ("", ("1.2.1",), True),
        ("1.2.7", ("1.2.5",), False),
        ("1.2.8", ("1.2.1",), False),
        ("1.2.8", (), False),
        ("", ("1.2.5",), False),
        ("", (), False),
    ],
)
def test_structures_belong(frame, uids, belongs):
    if belongs:
        check_structures_belong(frame, uids, series())
        return
    with pytest.raises(PatientMismatch):
        check_structures_belong(frame, uids, series())
