"""A PDF in the daily study: the bytes that went in, whose study it is, and what dciodvfy says."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import SimpleNamespace

import pydicom
import pytest

from recontour.dicom import encapsulated_pdf
from recontour.dicom.encapsulated_pdf import read_encapsulated_pdf, write_encapsulated_pdf
from recontour.dicom.references import PatientHeader, SeriesIdentity
from recontour.errors import OutputRefused

CT = "1.2.840.10008.5.1.4.1.1.2"
DAILY = SimpleNamespace(
    identity=SeriesIdentity(
        study_instance_uid="2.25.5",
        series_instance_uid="2.25.71",
        frame_of_reference_uid="2.25.72",
        sop_class_uid=CT,
        sop_instance_uids=("2.25.81", "2.25.82", "2.25.82"),
        patient=PatientHeader("Jørgensen^Åse", "id-7", "19500102", "M"),
        study_date="20240229",
        study_time="101112",
        study_id="S1",
        accession_number="ACC",
        referring_physician="Doe^Jane",
    )
)
ODD, EVEN = b"%PDF-1.4 odd!", b"%PDF-1.4 even!"
WRITTEN = "2026-11-20T10:11:12+01:00"


@pytest.mark.parametrize("pdf", [ODD, EVEN, ODD + bytes(3)], ids=["odd", "even", "zeros at its end"])
def test_the_bytes_come_back(tmp_path, pdf):
    path = tmp_path / "report.dcm"
    write_encapsulated_pdf(path, pdf, DAILY, "QA", WRITTEN)
    read = pydicom.dcmread(path)
    assert len(read.EncapsulatedDocument) == len(pdf) + len(pdf) % 2
    assert read.EncapsulatedDocument[: read.EncapsulatedDocumentLength] == pdf
    assert read_encapsulated_pdf(path) == pdf
    assert list(tmp_path.iterdir()) == [path]


def test_it_lies_in_the_daily_study(tmp_path):
    uid = write_encapsulated_pdf(tmp_path / "a", ODD, DAILY, "QA of a fraction, groß", WRITTEN)
    read = pydicom.dcmread(tmp_path / "a")
    assert read.SOPInstanceUID == uid == read.file_meta.MediaStorageSOPInstanceUID
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (read.StudyInstanceUID, read.StudyDate, read.StudyID, read.AccessionNumber) == (
        "2.25.5",
        "20240229",
        "S1",
        "ACC",
    )
    assert (read.PatientName, read.PatientID, read.PatientSex) == ("Jørgensen^Åse", "id-7", "M")
    assert read.SeriesInstanceUID not in ("2.25.71", "2.25.5")
    assert (read.Modality, read.ConversionType, read.MIMETypeOfEncapsulatedDocument) == (
        "DOC",
        "WSD",
        "application/pdf",
    )
    assert (read.ContentDate, read.ContentTime, read.AcquisitionDateTime) == (
        "20261120",
        "101112",
        "20261120101112+0100",
    )
    assert (read.DocumentTitle, read.SeriesDescription) == ("QA of a fraction, groß",) * 2
    assert read.VerificationFlag == "UNVERIFIED"
    assert [item.ReferencedSOPInstanceUID for item in read.SourceInstanceSequence] == ["2.25.81", "2.25.82"]


def test_two_documents_are_two_objects(tmp_path):
    one, two = (write_encapsulated_pdf(tmp_path / name, ODD, DAILY, "QA") for name in "ab")
    assert one != two
    read = [pydicom.dcmread(tmp_path / name).SeriesInstanceUID for name in "ab"]
    assert read[0] != read[1]


@pytest.mark.parametrize(("identified", "said"), [(False, "NO"), (True, "YES")])
def test_it_says_whether_the_sheets_name_the_patient(tmp_path, identified, said):
    write_encapsulated_pdf(tmp_path / "a", ODD, DAILY, "QA", WRITTEN, identified)
    assert pydicom.dcmread(tmp_path / "a").BurnedInAnnotation == said


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "report.dcm"
    path.write_text("mine")
    with pytest.raises(OutputRefused, match=r"already.*report\.dcm"):
        write_encapsulated_pdf(path, ODD, DAILY, "QA")
    assert path.read_text() == "mine"
    write_encapsulated_pdf(path, ODD, DAILY, "QA", overwrite=True)
    assert read_encapsulated_pdf(path) == ODD


def test_what_is_no_pdf_or_no_time_is_refused(tmp_path):
    with pytest.raises(OutputRefused, match="no PDF"):
        write_encapsulated_pdf(tmp_path / "a", b"<html>", DAILY, "QA")
    with pytest.raises(OutputRefused, match="ISO 8601"):
        write_encapsulated_pdf(tmp_path / "a", ODD, DAILY, "QA", "yesterday")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_otherwise_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(encapsulated_pdf, "read_encapsulated_pdf", lambda path: ODD[:-1])
    with pytest.raises(OutputRefused, match="read back"):
        write_encapsulated_pdf(tmp_path / "a", ODD, DAILY, "QA")
    assert list(tmp_path.iterdir()) == []


def test_another_object_holds_no_pdf(tmp_path):
    write_encapsulated_pdf(tmp_path / "a", ODD, DAILY, "QA")
    read = pydicom.dcmread(tmp_path / "a")
    read.SOPClassUID = read.file_meta.MediaStorageSOPClassUID = CT
    read.save_as(tmp_path / "b")
    with pytest.raises(OutputRefused, match="no PDF inside"):
        read_encapsulated_pdf(tmp_path / "b")


def test_dciodvfy_finds_no_error(tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        assert "CI" not in os.environ, "dciodvfy is missing"
        pytest.skip("dciodvfy is not at hand")
    for identified in (False, True):
        path = tmp_path / f"EncapsulatedPDF{identified}"
        write_encapsulated_pdf(path, ODD, DAILY, "recontour QA report", WRITTEN, identified)
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        report = said.stdout + said.stderr
        assert "EncapsulatedPDF" in report
        assert "Error" not in report, report
