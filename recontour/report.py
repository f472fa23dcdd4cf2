"""The report of one fraction: a page to look at, a PDF of it, and the PDF in the daily study.

    DIR/report.html    one self-contained page
    DIR/report.pdf     the same on two pages
    DIR/report.dcm     the PDF as DICOM, in the study of the daily scan

What it shows is built here, once, as a qa.fraction.Fraction: from a run's results in memory (study), or from the
files that a run left (finished). How to read it: docs/report.md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recontour.errors import OutputRefused, RecontourError, UsageError
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_level_set, resample_volume
from recontour.geometry.volume import LevelSet, Volume
from recontour.pipeline import HU_RANGE, Stopwatch

if TYPE_CHECKING:
    from recontour.dicom.references import PatientHeader
    from recontour.dicom.series import CtSeries
    from recontour.qa.fraction import DoseReport, Fraction, RoiPicture
    from recontour.qa.manifest import Manifest, RoiRecord
    from recontour.qa.review import ReviewRecord

PAGE, PDF, ENCAPSULATED, RECORD = "report.html", "report.pdf", "report.dcm", "report.json"
WRONG_PATIENT = "The two scans do not name the same patient."
_GREY = (128, 128, 128)  # of an ROI whose plan names no colour
_ROOM_MM = 6.0  # of outside around a planned shape


@dataclass(frozen=True)
class ReportRequest:
    """What is asked of a report.

    folder: where its files go. identify: whether the patient is named on it. dose, plan: RTDOSE and RTPLAN files of
    the planning scan; goals: a TOML file of clinical goals. pseudonym_key: as for qa.pseudonym.pseudonym_key.
    allow_different_patients: whether a dose or a plan that names another patient is shown all the same.
    """

    folder: Path
    identify: bool = False
    dose: Path | None = None
    plan: Path | None = None
    goals: Path | None = None
    pseudonym_key: Path | None = None
    overwrite: bool = False
    allow_different_patients: bool = False

    @property
    def outputs(self) -> tuple[Path, Path, Path, Path]:
        """The page, the PDF, the PDF as DICOM, and what the course page takes from it."""
        return self.folder / PAGE, self.folder / PDF, self.folder / ENCAPSULATED, self.folder / RECORD


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a report is made of, however it came here.

    region: the part of the daily frame that is shown, 1 mm, axial. field_daily_to_planning, fixed, warped: on it;
    field and warped None where they are not at hand. planned: shapes in the planning frame, and daily: in the daily
    one, by ROI name, each on a grid of its own. colours: the plan's, None where it names none. remarks: what the
    reader must know of how it came here.
    """

    planning: CtSeries
    daily: CtSeries
    manifest: Manifest
    region: Grid
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field | None
    fixed: Volume
    warped: Volume | None
    planned: Mapping[str, LevelSet]
    shapes: Mapping[str, LevelSet]
    colours: Mapping[str, tuple[int, int, int] | None]
    same_patient: bool = True
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportResult:
    """The files that were written, and the wall time of each stage."""

    files: tuple[Path, ...]
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def check_request(request: ReportRequest) -> None:
    """Before any work: raises OutputRefused where a report is there or cannot be written, UsageError where a file that
    was named is missing or cannot be meant."""
    from recontour.qa.pseudonym import pseudonym_key

    for path in request.outputs:
        if path.exists() and not request.overwrite:
            raise OutputRefused("this file exists already", where=path.name, allowed="another folder, or --overwrite")
    there = next(
        folder for folder in (request.folder.absolute(), *request.folder.absolute().parents) if folder.exists()
    )
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputRefused("it cannot be written to", where=request.folder.name, allowed="a folder of your own")
    asked = {"--dose": request.dose, "--plan": request.plan, "--goals": request.goals}
    for option, file in asked.items():
        if file is not None and not file.is_file():
            raise UsageError(f"no file {file.name}", where=option, allowed="a file")
        if file is not None and option != "--dose" and request.dose is None:
            raise UsageError(f"{option} without a dose", where=option, allowed=f"{option} together with --dose")
    pseudonym_key(request.pseudonym_key)
    if request.goals is not None:
        from recontour.qa.dose import read_goals

        read_goals(request.goals)


def make_report(
    evidence: Evidence, request: ReportRequest, rtstruct: Path, watch: Stopwatch | None = None
) -> ReportResult:
    """Builds what is shown, draws it, and writes it: each file whole or not at all, the page last.

    rtstruct: the result that the report speaks of; reviews of it that lie beside it are shown. Raises OutputRefused
    where a file exists and was not to be replaced, or cannot be written; and what reading the dose raises.
    """
    watch = watch or Stopwatch()
    with watch.stage("report: compare"):
        fraction = fraction_of(evidence, request)
    with watch.stage("report: draw"), ThreadPoolExecutor(2) as pool:
        drawn_page = pool.submit(_page, fraction, rtstruct)
        drawn_pdf = pool.submit(_pdf, fraction)
        page, pdf = drawn_page.result(), drawn_pdf.result()
    with watch.stage("report: write"):
        _write(page, pdf, fraction, evidence.daily, request)
    return ReportResult(request.outputs, dict(watch.seconds))


def failure_of(error: Exception) -> RecontourError:
    """The error of a report that failed, in our words. One that nobody foresaw is named by its kind and place alone:
    its text might hold a patient's name."""
    if isinstance(error, RecontourError):
        return error
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    found = f"an error that should not happen ({type(error).__name__} at {Path(last.filename).name}:{last.lineno})"
    return OutputRefused(found, where="report", allowed="please report this line")


def fraction_of(evidence: Evidence, request: ReportRequest) -> Fraction:
    """All that the report shows. Raises UsageError or OutputRefused for the key of pseudonyms, and what reading the
    dose raises."""
    from recontour.qa.fraction import Fraction

    affine, region = evidence.affine_daily_to_planning, evidence.region
    manifest = _told_of_patient(evidence)
    patient = evidence.daily.identity.patient
    with ThreadPoolExecutor(2) as pool:
        placed = pool.submit(resample_volume, evidence.planning.volume, region, affine)
        rois = tuple(pool.map(partial(_picture, evidence), manifest.rois))
        rigid = Volume(region, np.clip(placed.result().array, *HU_RANGE))
    fraction = Fraction(
        pseudonym=_pseudonym(evidence, request),
        manifest=manifest,
        region=region,
        fixed=evidence.fixed,
        rigid=rigid,
        warped=evidence.warped or rigid,
        field_daily_to_planning=evidence.field_daily_to_planning,
        rois=rois,
        identity=_identity(patient) if request.identify else "",
        planned_on=_day(evidence.planning.identity.study_date),
        treated_on=_day(evidence.daily.identity.study_date),
        remarks=evidence.remarks,
    )
    return replace(fraction, dose=_dose(evidence, request, request.dose, rois)) if request.dose else fraction


def placed_on(region: Grid, shape: LevelSet, affine: Affine) -> LevelSet:
    """A shape on the part of `region` around it; `affine` takes points of the region to the shape's own frame. Empty
    where it lies beside the region."""
    from recontour.geometry.boxes import bounding_box

    box = bounding_box(shape.array, 1)
    if box is None:
        return LevelSet(region.crop((0, 0, 0), (2, 2, 2)), np.full((2, 2, 2), -_ROOM_MM, np.float32))
    ends = np.array([[part.start for part in box], [part.stop - 1 for part in box]])
    corners = np.array([[ends[i >> 2 & 1, 0], ends[i >> 1 & 1, 1], ends[i & 1, 2]] for i in range(8)])
    index = region.index_at(affine.inverse().apply(shape.grid.points_at(corners)))
    room = _ROOM_MM / np.asarray(region.spacing_mm)
    size = np.asarray(region.size)
    first = np.clip(np.floor(index.min(axis=0) - room), 0, size - 2).astype(int)
    last = np.clip(np.ceil(index.max(axis=0) + room) + 1, first + 2, size).astype(int)
    part = region.crop((int(first[0]), int(first[1]), int(first[2])), (int(last[0]), int(last[1]), int(last[2])))
    return resample_level_set(shape, part, affine)


def _picture(evidence: Evidence, record: RoiRecord) -> RoiPicture:
    from recontour.qa.change import surface_change
    from recontour.qa.fraction import RoiPicture

    planned = placed_on(evidence.region, evidence.planned[record.name], evidence.affine_daily_to_planning)
    daily = evidence.shapes[record.name]
    return RoiPicture(
        record, evidence.colours.get(record.name) or _GREY, planned, daily, surface_change(planned, daily)
    )


def _told_of_patient(evidence: Evidence) -> Manifest:
    """The manifest; where the scans do not name one patient it is rejected and says so first, whatever was recorded."""
    manifest = evidence.manifest
    if evidence.same_patient:
        return manifest
    others = tuple(reason for reason in manifest.reasons if reason != WRONG_PATIENT)
    return replace(manifest, light="reject", reasons=(WRONG_PATIENT, *others))


def _pseudonym(evidence: Evidence, request: ReportRequest) -> str:
    from recontour.qa.pseudonym import known_by, pseudonym, pseudonym_key

    patient, plan = evidence.daily.identity.patient, evidence.planning.identity.series_instance_uid
    known = known_by(patient.identifier, patient.name, patient.birth_date, plan)
    return pseudonym(pseudonym_key(request.pseudonym_key), known)


def _identity(patient: PatientHeader) -> str:
    """ "DOE, JOHN; ID 123; born 1950-01-02": what the daily scan's header says."""
    name = ", ".join(part for part in patient.name.split("^") if part.strip())
    born = _day(patient.birth_date)
    parts = [name, f"ID {patient.identifier}" * bool(patient.identifier), f"born {born}" * bool(born)]
    return "; ".join(part for part in parts if part) or "no name in the scan"


def _day(date: str) -> str:
    """DICOM's DA "20261120" as "2026-11-20"; "" where it is none."""
    digits = date.strip()
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdigit() else ""


def _dose(evidence: Evidence, request: ReportRequest, file: Path, rois: Sequence[RoiPicture]) -> DoseReport:
    """The planning dose on the daily anatomy."""
    from recontour.dicom.dose import read_dose, read_prescription
    from recontour.qa.dose import make_dose_report, read_goals

    identity, anyone = evidence.planning.identity, request.allow_different_patients
    dose = read_dose(file, identity, anyone)
    plan = read_prescription(request.plan, identity, dose, anyone) if request.plan else None
    made = make_dose_report(
        dose.volume,
        evidence.affine_daily_to_planning,
        evidence.region,
        rois,
        evidence.planned,
        read_goals(request.goals) if request.goals else None,
        plan.dose_gy if plan else None,
    )
    said = (f"The prescription is {plan.source}.",) if plan else ()
    return replace(made, remarks=(*made.remarks, *said, *dose.notes))


def _page(fraction: Fraction, rtstruct: Path) -> bytes:
    from recontour.qa.report.page import fraction_page

    return fraction_page(fraction, _reviews(rtstruct)).encode("utf-8")


def _reviews(rtstruct: Path) -> Sequence[ReviewRecord]:
    """What was recorded beside the RTSTRUCT; the page marks what speaks of another one that lay there before."""
    from recontour.qa.review import read_reviews, review_file

    return read_reviews(review_file(rtstruct))


def _pdf(fraction: Fraction) -> bytes:
    from recontour.qa.report.pdf import fraction_pdf

    return fraction_pdf(fraction)


def _encapsulate(path: Path, pdf: bytes, daily: CtSeries, fraction: Fraction) -> None:
    from recontour.dicom.encapsulated_pdf import write_encapsulated_pdf

    written, identified = fraction.manifest.written, bool(fraction.identity)
    write_encapsulated_pdf(path, pdf, daily, "recontour QA report", written, identified)


def _record(fraction: Fraction) -> bytes:
    from recontour.qa.report.course_record import as_json, course_record

    return as_json(course_record(fraction, PAGE)).encode()


def _write(page: bytes, pdf: bytes, fraction: Fraction, daily: CtSeries, request: ReportRequest) -> None:
    """All into a hidden folder, synced, then each by its name: the page, which is looked at first, last."""
    for_page, for_pdf, for_dicom, for_record = request.outputs
    with _staging(request.folder) as staged:
        _encapsulate(staged / for_dicom.name, pdf, daily, fraction)
        for target, content in ((for_record, _record(fraction)), (for_pdf, pdf), (for_page, page)):
            (staged / target.name).write_bytes(content)
        in_order = (for_dicom, for_record, for_pdf, for_page)
        for target in in_order:
            with (staged / target.name).open("rb+") as file:
                os.fsync(file.fileno())
        for target in in_order:
            if target.exists() and not request.overwrite:
                raise OutputRefused("this file exists already", where=target.name, allowed="--overwrite")
            os.replace(staged / target.name, target)


@contextmanager
def _staging(folder: Path) -> Generator[Path]:
    """A hidden folder inside `folder`, gone afterwards. Raises OutputRefused where anything cannot be written."""
    staged: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=folder, prefix=".recontour-"))
        yield staged
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(
            f"the report cannot be written: {reason}", where=folder.name, allowed="a folder with room of your own"
        ) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
