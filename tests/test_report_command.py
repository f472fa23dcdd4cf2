"""`recontour run --report` and `recontour report` as a user meets them: files, exit codes, no name anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from recontour.dicom.encapsulated_pdf import read_encapsulated_pdf


def recontour(*arguments: object, key: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own; `code` runs in it first."""
    start = ["-c", f"{code}\nfrom recontour.cli import main\nmain()"] if code else ["-m", "recontour"]
    environment = os.environ | {"RECONTOUR_PSEUDONYM_KEY": str(key)}
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_bytes(b"0123456789abcdef")
    return file


def dose_of(phantom: Path, file: Path) -> Path:
    """60 Gy everywhere around the planned contours."""
    plan = pydicom.dcmread(phantom / "planning" / "rtstruct.dcm")
    points = [np.array(c.ContourData, float).reshape(-1, 3) for r in plan.ROIContourSequence for c in r.ContourSequence]
    low, high = (f(np.concatenate(points), axis=0) for f in (np.min, np.max))
    size = np.ceil((high - low) / 5.0).astype(int) + 5
    image = pydicom.dcmread(_image(phantom), stop_before_pixels=True)
    dose = Dataset()
    dose.file_meta = FileMetaDataset()
    dose.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    values = dict(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2", SOPInstanceUID="1.2.826.0.1.99", Modality="RTDOSE",
        PatientID=image.PatientID, FrameOfReferenceUID=image.FrameOfReferenceUID,
        ImagePositionPatient=[f"{v:.3f}" for v in low - 10.0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[5, 5], NumberOfFrames=int(size[2]), Rows=int(size[1]), Columns=int(size[0]), SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
        DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN", DoseGridScaling="0.01",
        GridFrameOffsetVector=[5.0 * k for k in range(size[2])],
        PixelData=np.full(size[::-1], 6000, "<u2").tobytes(),
    )  # fmt: skip
    for keyword, value in values.items():
        setattr(dose, keyword, value)
    dose.save_as(file, enforce_file_format=True)
    return file


def _image(phantom: Path) -> Path:
    return next(f for f in (phantom / "planning").rglob("*.dcm") if f.name != "rtstruct.dcm")


@pytest.fixture(scope="module")
def run_once(phantom: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("command")
    done = recontour(
        "run", phantom / "planning", phantom / "daily", "-o", out / "rt.dcm", "--method", "affine", "--only",
        "Prostate", "--only", "Bladder", "--report", out / "report", key=key,
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    assert re.search(r"report: .*report\.html", done.stdout.replace("\n", ""))
    return out


def test_the_three_files_are_there_and_name_nobody(run_once: Path, phantom: Path) -> None:
    folder = run_once / "report"
    assert {p.name for p in folder.iterdir()} == {"report.html", "report.pdf", "report.dcm", "report.json"}
    page = (folder / "report.html").read_text()
    assert "PHANTOM" not in page and re.search(r"P-[0-9a-f]{8}", page)
    assert "Bladder" in page and len(page) < 15e6
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert b"PHANTOM" not in (folder / "report.pdf").read_bytes()
    held = pydicom.dcmread(folder / "report.dcm")
    daily = pydicom.dcmread(next((phantom / "daily").glob("*.dcm")), stop_before_pixels=True)
    assert held.StudyInstanceUID == daily.StudyInstanceUID
    assert read_encapsulated_pdf(folder / "report.dcm") == (folder / "report.pdf").read_bytes()


def test_the_report_again_with_dose_and_name(run_once: Path, phantom: Path, key: Path, tmp_path: Path) -> None:
    goals = tmp_path / "goals.toml"
    aims = (("Bladder", "V50Gy < 15 %"), ("Prostate", "D95 > 95 %"))
    tables = "".join(f'[[goal]]\nroi = "{roi}"\naim = "{aim}"\n' for roi, aim in aims)
    goals.write_text(f"prescription_gy = 60.0\n{tables}")
    dose = dose_of(phantom, tmp_path / "dose.dcm")
    done = recontour(
        "report", run_once / "rt.dcm", "--planning", phantom / "planning", "--daily", phantom / "daily", "-o",
        tmp_path / "again", "--dose", dose, "--goals", goals, "--identify", key=key,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = [Path(line).name for line in done.stdout.split()]
    assert written == ["report.html", "report.pdf", "report.dcm", "report.json"]
    page = (tmp_path / "again" / "report.html").read_text()
    assert "PHANTOM" in page and "V50Gy" in page and "not computed anew" in page
    assert "PHANTOM" not in done.stdout + done.stderr
    assert pydicom.dcmread(tmp_path / "again" / "report.dcm").BurnedInAnnotation == "YES"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--identify",), 2, "--report DIR as well"),
        (("--report", "{out}", "--goals", "nowhere.toml"), 2, "nowhere.toml"),
        (("--report", "{out}", "--pseudonym-key", "nowhere.key"), 2, "nowhere.key"),
        (("--report", "{out}", "--plan", "plan.dcm"), 2, "plan.dcm"),
    ],
)
def test_a_report_asked_wrongly(
    arguments: tuple[str, ...], code: int, says: str, phantom: Path, key: Path, tmp_path: Path
) -> None:
    given = [argument.format(out=tmp_path / "report") for argument in arguments]
    out = tmp_path / "rt.dcm"
    folders = phantom / "planning", phantom / "daily"
    done = recontour("run", *folders, "-o", out, "--method", "affine", "-q", *given, key=key)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "refused before any work"


def test_a_failing_report_leaves_the_contours_and_says_so(phantom: Path, key: Path, tmp_path: Path) -> None:
    spoil = "import recontour.report\ndef fail(*_): raise RuntimeError('DOE^JOHN')\nrecontour.report._pdf = fail"
    done = recontour(
        "run", phantom / "planning", phantom / "daily", "-o", tmp_path / "rt.dcm", "--method", "affine", "--only",
        "Femur*", "-q", "--report", tmp_path / "report", key=key, code=spoil,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "THE REPORT WAS NOT MADE" in done.stderr and "contours" in done.stderr
    assert "DOE" not in done.stderr and "Traceback" not in done.stderr
    assert pydicom.dcmread(tmp_path / "rt.dcm").ApprovalStatus == "UNAPPROVED"
    assert (tmp_path / "rt.manifest.json").exists() and not list((tmp_path / "report").glob("*"))


def test_screenshots_without_a_browser_name_what_to_install(
    run_once: Path, phantom: Path, key: Path, tmp_path: Path
) -> None:
    without = "import recontour.screenshots\nrecontour.screenshots.BROWSERS = ('no-such-browser',)"
    done = recontour(
        "report", run_once / "rt.dcm", "--planning", phantom / "planning", "--daily", phantom / "daily", "-o",
        tmp_path / "again", "--screenshots", key=key, code=without,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no-such-browser" in done.stderr and not (tmp_path / "again").exists()
