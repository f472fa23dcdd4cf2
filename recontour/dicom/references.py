"""What belongs to what: patients, series, frames of reference and the images a structure set was drawn on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from recontour.errors import PatientMismatch


@dataclass(frozen=True)
class PatientHeader:
    """DICOM's patient module as it stands in the header. Its repr tells nothing, so that no log can."""

    name: str = field(default="", repr=False)
    identifier: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)


@dataclass(frozen=True)
class SeriesIdentity:
    """What a CT series is called in DICOM, and what other objects need to refer to it.

    sop_instance_uids: one per slice plane, in the order of the planes; for a multi-frame object the same UID each time.
    frame_numbers: one per slice plane, from 1, for a multi-frame object; empty where each slice is an object itself.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    sop_instance_uids: tuple[str, ...] = field(repr=False)
    patient: PatientHeader = field(default_factory=PatientHeader)
    frame_numbers: tuple[int, ...] = ()
    patient_position: str = ""
    series_description: str = ""
    study_description: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    referring_physician: str = field(default="", repr=False)
    position_reference_indicator: str = ""


def study_attributes(identity: SeriesIdentity) -> dict[str, object]:
    """The patient and general study modules (PS3.3 C.7.1.1, C.7.2.1) of a new object in the study of `identity`."""
    return {
        "PatientName": identity.patient.name,
        "PatientID": identity.patient.identifier,
        "PatientBirthDate": identity.patient.birth_date,
        "PatientSex": identity.patient.sex,
        "StudyInstanceUID": identity.study_instance_uid,
        "StudyDate": identity.study_date,
        "StudyTime": identity.study_time,
        "StudyID": identity.study_id,
        "AccessionNumber": identity.accession_number,
        "ReferringPhysicianName": identity.referring_physician,
    }


def scan_key(identity: SeriesIdentity) -> str:
    """What tells a scan from all others and nothing of the patient: the sha256, in hexadecimal, of its series and frame
    of reference UIDs."""
    uids = f"{identity.series_instance_uid} {identity.frame_of_reference_uid}"
    return hashlib.sha256(uids.encode("ascii", "replace")).hexdigest()


def check_same_patient(planning: PatientHeader, daily: PatientHeader, allow_different: bool = False) -> None:
    """Raises PatientMismatch where two headers do not name one patient; the message holds neither's identity.

    The identifiers decide. A birth date that differs under one identifier is refused too, since one of the two is
    wrong. Without identifiers, name and birth date must both be there and agree.
    """
    difference = _difference(planning, daily)
    if difference and not allow_different:
        raise PatientMismatch(
            f"the planning and the daily scan may not be of one patient: {difference}",
            where="patient header",
            allowed="scans of one patient, or --allow-different-patients",
        )


def check_two_scans(planning: SeriesIdentity, daily: SeriesIdentity) -> None:
    """Raises PatientMismatch where the daily scan is the planning scan itself, whole or in part."""
    if planning.series_instance_uid == daily.series_instance_uid:
        found = "the daily and the planning scan are the same series"
    elif set(planning.sop_instance_uids) & set(daily.sop_instance_uids):
        found = "the daily and the planning scan share images"
    else:
        return
    raise PatientMismatch(found, where=f"series {daily.series_instance_uid}", allowed="two different CT series")


def check_structures_belong(frame_of_reference_uid: str, series_uids: tuple[str, ...], series: SeriesIdentity) -> None:
    """Raises PatientMismatch where a structure set was not drawn on `series`.

    frame_of_reference_uid: that of the structure set, or "" where it names none.
    series_uids: the series it refers to, or none where it names none.

    A structure set that names neither is refused; what it does name must agree.
    """
    allowed = "the structure set that was drawn on this scan"
    if frame_of_reference_uid and frame_of_reference_uid != series.frame_of_reference_uid:
        raise PatientMismatch(
            "the contours are in another frame of reference than the scan",
            where=f"frame of reference {frame_of_reference_uid}",
            allowed=f"{allowed}: {series.frame_of_reference_uid}",
        )
    if series_uids and series.series_instance_uid not in series_uids:
        raise PatientMismatch(
            "the contours were drawn on another series than the scan",
            where=f"series {', '.join(series_uids)}",
            allowed=f"{allowed}: {series.series_instance_uid}",
        )
    if not frame_of_reference_uid and not series_uids:
        raise PatientMismatch(
            "the structure set names neither a frame of reference nor a series", where="RTSTRUCT", allowed=allowed
        )


def _difference(a: PatientHeader, b: PatientHeader) -> str:
    """Why the two may not be one patient, in words without identity; "" where they are."""
    dates_differ = bool(a.birth_date and b.birth_date) and a.birth_date.strip() != b.birth_date.strip()
    ids = [p.identifier.strip() for p in (a, b)]
    if all(ids):
        if ids[0] != ids[1]:
            return "their patient IDs differ"
        return "their patient IDs agree but their birth dates differ" if dates_differ else ""
    if any(ids):
        return "one of them has no patient ID"
    if not (a.name.strip() and b.name.strip() and a.birth_date and b.birth_date):
        return "neither has a patient ID, and there is no name with a birth date to go by"
    differ = dates_differ or not _same_name(a, b)
    return "neither has a patient ID, and their names or birth dates differ" if differ else ""


def _same_name(a: PatientHeader, b: PatientHeader) -> bool:
    """Names are padded with trailing spaces and carets by some systems (PS3.5 6.2, PN)."""
    return a.name.strip(" ^").casefold() == b.name.strip(" ^").casefold()
