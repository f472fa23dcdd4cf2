"""One study on disk: read, propagate, write, verify. Outputs appear whole or not at all.

    load -> compute -> finish        run_study is the three of them; a batch has several fractions at different stages

`load` reads files, `compute` holds the processor or the GPU, `finish` writes. Each hands a frozen value to the next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recontour.disk import file_sha256
from recontour.errors import ModelRefused, OutputRefused, PatientMismatch, RecontourError
from recontour.pipeline import PlannedRoi, Propagation, Stopwatch, propagate
from recontour.settings import Settings

if TYPE_CHECKING:
    from recontour.dicom.rtstruct import RoiToWrite
    from recontour.dicom.series import CtSeries
    from recontour.dicom.structures import Roi, StructureSet
    from recontour.geometry.contours import Contour
    from recontour.judged import Judged
    from recontour.network.released import ReleasedModel
    from recontour.qa.manifest import AlignmentRecord, Manifest, ScanRecord
    from recontour.qa.measure import AlignmentFacts
    from recontour.report import Evidence, ReportRequest

_NOT_ASKED = "the network was not asked: none of these ROIs is an organ that it knows"


@dataclass(frozen=True)
class StudyRequest:
    """What is asked for one fraction. Paths are folders, but for `out` and `registration`, which are files to write.

    chosen_rois: organ to ROI name, where several ROIs could be the organ; "none" declares it absent. report: to be
    made of it, if any.
    only, skip: patterns of ROI names. daily_series, planning_series, structures: UIDs, where a folder holds several.
    structures_file: the RTSTRUCT, where it does not lie in `planning`. not_planning, not_daily: files and folders that
    are not looked at when the one scan, or the other, is read.
    """

    planning: Path
    daily: Path
    out: Path
    settings: Settings = field(default_factory=Settings)
    chosen_rois: dict[str, str] = field(default_factory=dict[str, str])
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    daily_series: str | None = None
    planning_series: str | None = None
    structures: str | None = None
    structures_file: Path | None = None
    not_planning: tuple[Path, ...] = ()
    not_daily: tuple[Path, ...] = ()
    registration: Path | None = None
    report: ReportRequest | None = None
    allow_different_patients: bool = False
    overwrite: bool = False

    @property
    def manifest(self) -> Path:
        """Beside the output: rtstruct.dcm -> rtstruct.manifest.json."""
        return self.out.with_name(f"{self.out.stem}.manifest.json")

    @property
    def outputs(self) -> list[Path]:
        """Every file that will be written, the manifest last."""
        return [self.out, *([self.registration] if self.registration else []), self.manifest]


@dataclass(frozen=True)
class ResultRow:
    """One ROI as the command line shows it."""

    name: str
    light: str
    before_ml: float
    after_ml: float
    moved_mm: float
    reasons: list[str]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What came of one fraction. `left_out`: ROI name to the reason why it was not brought over.

    report: its files, where one was asked for and made; report_failure: why it was not. The contours stand all the
    same. seconds: until the contours were in place; what a report takes comes after.
    """

    out: Path
    light: str
    reasons: list[str]
    rows: list[ResultRow]
    left_out: dict[str, str]
    seconds: float
    manifest_json: str
    report: tuple[Path, ...] = ()
    report_failure: RecontourError | None = None


@dataclass(frozen=True, eq=False)
class Planned:
    """The side of a fraction that all fractions of one plan share. organs: ROI name to organ. left_out: ROI name to
    the reason why it is not brought over; missed: those of them that were asked for by name. shapes: level sets in the
    planning frame, in the order of `rois`."""

    scan: CtSeries
    structures: StructureSet
    rois: tuple[Roi, ...]
    organs: dict[str, str]
    left_out: dict[str, str]
    missed: tuple[str, ...]
    shapes: tuple[PlannedRoi, ...]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A fraction that was read, and found to belong together. notes: what is to be said of the model."""

    request: StudyRequest
    planned: Planned
    daily: CtSeries
    same_patient: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Computed:
    """A fraction whose contours are there, judged and cut on the daily slices, but not written."""

    loaded: Loaded
    result: Propagation
    judged: Judged
    to_write: tuple[RoiToWrite, ...]


def run_study(request: StudyRequest, on_stage: Callable[[str], None] | None = None) -> StudyResult:
    """Reads both scans, propagates, writes request.outputs. Raises RecontourError; then nothing is written.

    A report comes after that. Where it fails the result says why, and what was written stays.
    """
    watch = Stopwatch(on_stage)
    check_outputs(request)
    with ThreadPoolExecutor(1) as background:
        libraries = background.submit(load_libraries, request.settings)
        loaded = load(request, watch)
        with watch.stage("load libraries"):
            libraries.result()
    return finish(compute(loaded, watch), watch)


def load(request: StudyRequest, watch: Stopwatch, planned: Planned | None = None) -> Loaded:
    """Reads both scans and the structure set, and makes sure that they belong together.

    planned: as `load_planned` gives it for a request with the same planning side; None reads it here. Raises
    UsageError, ScanRefused, StructuresRefused, RoiAmbiguous, PatientMismatch, ModelRefused.
    """
    from recontour.dicom.references import check_two_scans

    with watch.stage("read"), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_daily, request)
        side = planned or load_planned(request)
        daily = reading.result()
    same_patient = _same_patient(side.scan, daily, request.allow_different_patients)
    check_two_scans(side.scan.identity, daily.identity)
    return Loaded(request, side, daily, same_patient, _notes_on_model(side.scan, request))


def load_planned(request: StudyRequest) -> Planned:
    """The planning side alone. Raises UsageError, ScanRefused, StructuresRefused, RoiAmbiguous, PatientMismatch."""
    from recontour.dicom.names import match_organs
    from recontour.dicom.selection import select_rois
    from recontour.dicom.series import read_series
    from recontour.dicom.structures import read_structures

    beside = [*_nested(request.daily, request.planning), *request.not_planning]
    scan = read_series(request.planning, request.planning_series, beside)
    place, ignored = (request.structures_file, ()) if request.structures_file else (request.planning, beside)
    structures = read_structures(place, scan, request.structures, ignored, request.allow_different_patients)
    chosen = select_rois(structures.rois, request.only, request.skip)
    by_organ = match_organs([roi.name for roi in chosen.taken], request.chosen_rois)
    organs = {name: str(organ) for organ, name in by_organ.items()}
    rois = tuple(chosen.taken)
    return Planned(scan, structures, rois, organs, chosen.left_out, chosen.missed, _shapes(scan, rois, organs))


def compute(loaded: Loaded, watch: Stopwatch, model: ReleasedModel | None = None) -> Computed:
    """Aligns, deforms, judges and cuts: no file is touched. model: that of the settings, where it is open already.

    Raises AlignmentFailed, ModelRefused, MemoryShort, UsageError (device).
    """
    from recontour.judged import judge_propagation

    settings, planned = loaded.request.settings, loaded.planned
    scans = planned.scan.volume, loaded.daily.volume
    result = propagate(*scans, list(planned.shapes), settings, model, watch)
    with watch.stage("judge"):
        judged = judge_propagation(planned.shapes, result, *scans, settings.qa, loaded.same_patient, planned.missed)
    with watch.stage("cut contours"):
        to_write = _cut(loaded, result)
    return Computed(loaded, result, judged, to_write)


def finish(computed: Computed, watch: Stopwatch) -> StudyResult:
    """Writes request.outputs, whole or not at all, then makes the report. Raises OutputRefused."""
    done, manifest = _write(computed, watch)
    return _reported(done, computed, manifest, watch)


def check_outputs(request: StudyRequest) -> None:
    """Before any work: nothing is overwritten unasked, and every output has a folder to go to."""
    for path in request.outputs:
        if path.is_dir():
            raise OutputRefused("this is a folder", where=path.name, allowed="a file to write")
        if path.exists() and not request.overwrite:
            raise OutputRefused("this file exists already", where=path.name, allowed="another name, or --overwrite")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise OutputRefused("its folder cannot be written to", where=path.name, allowed="a folder of your own")
    outputs = [path.absolute() for path in (*request.outputs, *(request.report.outputs if request.report else ()))]
    if len(set(outputs)) < len(outputs):
        raise OutputRefused("two outputs have one name", where=request.out.name, allowed="different names")
    if request.report:
        from recontour.report import check_request

        check_request(request.report)


def load_libraries(settings: Settings) -> None:
    """torch and elastix take seconds to load: meanwhile the scans are read. Raises UsageError for a missing device."""
    from recontour.align.elastix import load

    load()
    if settings.method not in ("affine", "elastix"):
        from recontour.network import refine  # noqa: F401  # pyright: ignore[reportUnusedImport]
        from recontour.network.device import choose_device

        choose_device(settings.device)


def _read_daily(request: StudyRequest) -> CtSeries:
    from recontour.dicom.series import read_series

    ignored = [*_nested(request.planning, request.daily), *request.not_daily]
    return read_series(request.daily, request.daily_series, ignored)


def _shapes(scan: CtSeries, rois: Sequence[Roi], organs: Mapping[str, str]) -> tuple[PlannedRoi, ...]:
    """Every ROI as a level set on its own tight grid along the planning slices."""
    from recontour.dicom.shapes import level_set_of

    def shape(roi: Roi) -> PlannedRoi:
        return PlannedRoi(roi.name, level_set_of(roi, scan), organs.get(roi.name, ""))

    with ThreadPoolExecutor(2) as pool:
        return tuple(pool.map(shape, rois))


def _notes_on_model(planning: CtSeries, request: StudyRequest) -> tuple[str, ...]:
    """What is to be said of a personalised model. Raises ModelRefused where it is another patient's, unless different
    patients were allowed."""
    if not request.settings.asks_network:
        return ()
    from recontour.dicom.references import scan_key
    from recontour.network.released import folder_of, read_card

    card = read_card(folder_of(request.settings.model))
    if card.patient_key in ("", scan_key(planning.identity)):
        return ()
    found = "this model was personalised for another patient, or for another planning scan"
    if not request.allow_different_patients:
        allowed = "the patient's own model, a released one, or --allow-different-patients"
        raise ModelRefused(found, where=card.name, allowed=allowed)
    return (f"{found}, and was used because different patients were allowed",)


def _nested(inner: Path, outer: Path) -> list[Path]:
    """`inner` where it lies inside `outer`: what is read as the one scan is not the other's."""
    a, b = inner.resolve(), outer.resolve()
    return [inner] if a != b and a.is_relative_to(b) else []


def _same_patient(planning: CtSeries, daily: CtSeries, allow_different: bool) -> bool:
    """Raises PatientMismatch where the scans are of two patients, unless that was allowed."""
    from recontour.dicom.references import check_same_patient

    try:
        check_same_patient(planning.identity.patient, daily.identity.patient)
    except PatientMismatch:
        if not allow_different:
            raise
        return False
    return True


def _cut(loaded: Loaded, result: Propagation) -> tuple[RoiToWrite, ...]:
    """Contours of every ROI on the daily slices; numbers, names, types and colours are the plan's."""
    from recontour.dicom.rtstruct import RoiToWrite, names_to_write
    from recontour.geometry.contours import contours_from_level_set

    rois = loaded.planned.rois

    def cut_one(roi: Roi) -> list[list[Contour]]:
        return contours_from_level_set(result.level_sets[roi.name], loaded.daily.planes)

    with ThreadPoolExecutor(2) as pool:
        cut = list(pool.map(cut_one, rois))
    names = names_to_write([roi.name for roi in rois])
    return tuple(
        RoiToWrite(roi.number, name, contours, roi.colour, roi.interpreted_type)
        for roi, name, contours in zip(rois, names, cut, strict=True)
    )


def _write(computed: Computed, watch: Stopwatch) -> tuple[StudyResult, Manifest]:
    """Everything into a hidden folder beside the output, verified there, then renamed into place, manifest last."""
    from recontour.qa.manifest import write_manifest

    request = computed.loaded.request
    with _staging(request) as staged:
        with watch.stage("write and verify"):
            _write_dicom(computed, staged)
        manifest = _manifest(computed, staged, watch.seconds)
        write_manifest(manifest, staged[request.manifest])
        _into_place(staged)
    rows = [
        ResultRow(r.name, r.light, r.before_ml, r.after_ml, float(np.linalg.norm(r.shift_mm)), list(r.reasons))
        for r in manifest.rois
    ]
    done = StudyResult(
        out=request.out,
        light=manifest.light,
        reasons=list(manifest.reasons),
        rows=rows,
        left_out=computed.loaded.planned.left_out,
        seconds=sum(watch.seconds.values()),
        manifest_json=manifest.as_json(),
    )
    return done, manifest


def _reported(done: StudyResult, computed: Computed, manifest: Manifest, watch: Stopwatch) -> StudyResult:
    """The result with its report, or with the reason why there is none: the contours are in place and stay."""
    request = computed.loaded.request
    if request.report is None:
        return done
    from recontour.report import failure_of, make_report

    try:
        made = make_report(_evidence(computed, manifest), request.report, request.out, watch)
    except Exception as error:  # whatever it was: a report must never cost the contours
        return replace(done, report_failure=failure_of(error))
    return replace(done, report=made.files)


def _evidence(computed: Computed, manifest: Manifest) -> Evidence:
    from recontour.report import Evidence

    loaded, result = computed.loaded, computed.result
    return Evidence(
        planning=loaded.planned.scan,
        daily=loaded.daily,
        manifest=manifest,
        region=result.region,
        affine_daily_to_planning=result.affine_daily_to_planning,
        field_daily_to_planning=result.field_daily_to_planning,
        fixed=result.fixed,
        warped=result.warped,
        planned={roi.name: roi.level_set for roi in loaded.planned.shapes},
        shapes=result.level_sets,
        colours={roi.name: roi.colour for roi in loaded.planned.rois},
        same_patient=loaded.same_patient,
    )


def _write_dicom(computed: Computed, staged: dict[Path, Path]) -> None:
    from recontour.dicom.registration import write_registration
    from recontour.dicom.rtstruct import Provenance, write_rtstruct

    loaded, result = computed.loaded, computed.result
    request = loaded.request
    family = "artificial intelligence" if result.model else "deformable models"
    about = Provenance(
        algorithm_name=f"recontour {request.settings.method}",
        family=family,
        predecessor_uid=loaded.planned.structures.sop_instance_uid,
    )
    write_rtstruct(staged[request.out], loaded.daily, computed.to_write, about)
    if request.registration:
        field = None if request.settings.method == "affine" else result.field_daily_to_planning
        write_registration(
            staged[request.registration], loaded.daily, loaded.planned.scan, result.affine_daily_to_planning, field
        )


def _manifest(computed: Computed, staged: dict[Path, Path], seconds: dict[str, float]) -> Manifest:
    from recontour.qa.manifest import (
        Manifest,
        ModelRecord,
        OutputRecord,
        RoiRecord,
        versions_here,
    )

    loaded, judged, result = computed.loaded, computed.judged, computed.result
    request, planned = loaded.request, loaded.planned
    written = [path for path in request.outputs if path != request.manifest]
    return Manifest(
        written=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions=versions_here(),
        settings=request.settings.as_dict(),
        planning=_scan_record(planned.scan),
        daily=_scan_record(loaded.daily),
        structures_uid=planned.structures.sop_instance_uid,
        outputs=tuple(OutputRecord(path.name, file_sha256(staged[path])) for path in written),
        alignment=_alignment_record(judged.alignment, result),
        rois=tuple(RoiRecord.of(fact, judged.verdicts[name]) for name, fact in judged.facts.items()),
        light=judged.verdict.light,
        reasons=judged.verdict.reasons,
        left_out=planned.left_out,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        model=ModelRecord(*result.model) if result.model else None,
        notes=(
            *planned.scan.notes,
            *loaded.daily.notes,
            *planned.structures.notes,
            *loaded.notes,
            *([_NOT_ASKED] if request.settings.asks_network and not result.model else []),
        ),
    )


def _alignment_record(moved: AlignmentFacts, result: Propagation) -> AlignmentRecord:
    from recontour.qa.manifest import AlignmentRecord

    numbers = tuple(float(v) for v in result.affine_daily_to_planning.matrix.ravel())
    return AlignmentRecord(moved.shift_mm, moved.rotation_degrees, moved.scale, result.alignment_match, matrix=numbers)


def _scan_record(series: CtSeries) -> ScanRecord:
    from recontour.qa.manifest import ScanRecord

    identity = series.identity
    return ScanRecord(
        identity.study_instance_uid, identity.series_instance_uid, identity.frame_of_reference_uid, len(series.planes)
    )


@contextmanager
def _staging(request: StudyRequest) -> Generator[dict[Path, Path]]:
    """Final path -> path to write to, in hidden folders on the same disk, which are gone afterwards."""
    folders: dict[Path, Path] = {}
    try:
        for parent in {path.parent for path in request.outputs}:
            parent.mkdir(parents=True, exist_ok=True)
            folders[parent] = Path(tempfile.mkdtemp(dir=parent, prefix=".recontour-"))
        yield {path: folders[path.parent] / path.name for path in request.outputs}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(
            f"cannot be written: {reason}", where=request.out.name, allowed="a folder with room that may be written to"
        ) from error
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def _into_place(staged: dict[Path, Path]) -> None:
    """All files are complete and on disk before the first gets its name; the manifest, which names them, is last."""
    for source in staged.values():
        with source.open("rb") as file:
            os.fsync(file.fileno())
    for target, source in staged.items():
        os.replace(source, target)
