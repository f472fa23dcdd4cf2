"""Affine and displacement field <-> DICOM registration objects.

Both objects are made in the daily scan's study, and their Frame of Reference, the Registered RCS of the standard, is
the daily scan's. The planning scan's is the Source RCS.

Without a field: Spatial Registration (PS3.3 A.39.1). The matrix of an item takes points of the item's own frame of
reference to the Registered RCS (C.20.2.1.1): the planning item holds the inverse of `affine_daily_to_planning`.

With a field: Deformable Spatial Registration (A.39.2). It runs the other way round, from where to sample to where the
sample is (C.20.3.1.1): source = M_post (M_pre x + d(x)) for a point x of the Registered RCS, d on a grid there. That
is x_planning = A (x_daily + u(x_daily)) word for word, with no M_pre, d = u, and M_post = A.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recontour import __version__
from recontour.dicom.files import read_dataset
from recontour.dicom.references import SeriesIdentity, study_attributes
from recontour.dicom.whole_file import refuse_existing, save_whole
from recontour.errors import InputRefused, OutputRefused
from recontour.geometry.affine import Affine
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.resample import resample_field

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from recontour.dicom.series import CtSeries

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
DEFORMABLE_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.3"
LARGEST_FIELD_MB = 50.0  # what planning systems and archives take without complaint; 12 bytes a vector


@dataclass(frozen=True, eq=False)
class Registration:
    """What a registration object says: daily point x is planning point affine(x + field(x)), mm LPS."""

    daily_frame_of_reference_uid: str
    planning_frame_of_reference_uid: str
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field | None


def write_registration(
    path: Path,
    daily: CtSeries,
    planning: CtSeries,
    affine_daily_to_planning: Affine,
    field: Field | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a Spatial Registration, or with a `field` a Deformable Spatial Registration, in implicit VR little
    endian.

    A field of more than LARGEST_FIELD_MB is written on the finest isotropic grid that stays below it, interpolated
    linearly; the comment of the object gives the spacing. The file is written beside, synced, read back, compared and
    renamed. Raises OutputRefused where the file exists and `overwrite` is not set, or where what was read back is not
    what was meant; then there is no file.
    """
    if not overwrite:
        refuse_existing(path)
    bounded = None if field is None else _right_handed(_bounded(field))
    dataset = _header(daily.identity, SPATIAL_REGISTRATION if bounded is None else DEFORMABLE_REGISTRATION)
    if bounded is None:
        dataset.RegistrationSequence = [
            _matrix_item(daily.identity, Affine.identity()),
            _matrix_item(planning.identity, affine_daily_to_planning.inverse()),
        ]
    else:
        dataset.DeformableRegistrationSequence = [
            _source_item(daily.identity, ""),
            _deformable_item(planning.identity, affine_daily_to_planning, bounded),
        ]
    _refer(dataset, daily.identity, planning.identity)
    meant = Registration(
        daily.identity.frame_of_reference_uid,
        planning.identity.frame_of_reference_uid,
        affine_daily_to_planning,
        bounded,
    )
    save_whole(dataset, path, overwrite, lambda written: _compare(written, meant))


def read_registration(path: Path) -> Registration:
    """The registration in a file of either kind, with two items of which one is the planning scan's.

    Raises InputRefused where the file holds none, or one that begins with a matrix before its field.
    """
    read = read_dataset(path)
    uid = str(read.get("FrameOfReferenceUID", ""))
    if read.get("SOPClassUID") == SPATIAL_REGISTRATION:
        item = read.RegistrationSequence[-1]
        to_daily = _matrix(item.MatrixRegistrationSequence[0].MatrixSequence[0])
        return Registration(uid, str(item.FrameOfReferenceUID), Affine(to_daily).inverse(), None)
    if read.get("SOPClassUID") == DEFORMABLE_REGISTRATION:
        item = read.DeformableRegistrationSequence[-1]
        if "PreDeformationMatrixRegistrationSequence" in item:
            raise InputRefused("a matrix before the field", where=path.name, allowed="a matrix after it, or none")
        after = item.get("PostDeformationMatrixRegistrationSequence")
        affine = Affine(_matrix(after[0])) if after else Affine.identity()
        field = _field(item.DeformableRegistrationGridSequence[0])
        return Registration(uid, str(item.SourceFrameOfReferenceUID), affine, field)
    raise InputRefused("no registration object", where=path.name, allowed="Spatial or Deformable Spatial Registration")


def _bounded(field: Field) -> Field:
    """The field, on a grid so coarse that it stays below LARGEST_FIELD_MB."""
    limit = LARGEST_FIELD_MB * 1e6 / 12
    if np.prod(field.grid.size) <= limit:
        return field
    extent = (np.asarray(field.grid.size) - 1) * np.asarray(field.grid.spacing_mm)
    spacing = float((np.prod(extent) / limit) ** (1 / 3))
    while np.prod(np.floor(extent / spacing) + 1) > limit:
        spacing *= 1.02
    return resample_field(field, field.grid.with_spacing(spacing))


def _right_handed(field: Field) -> Field:
    """The same vectors on a grid whose planes follow row direction x column direction, as the standard has them."""
    z, y, x = np.asarray(field.grid.direction, float).T
    if np.dot(np.cross(x, y), z) > 0:
        return field
    last = field.grid.points_at([field.grid.size[0] - 1, 0, 0])
    grid = Grid.of(field.grid.size, field.grid.spacing_mm, last, np.column_stack([-z, y, x]))
    return Field(grid, np.ascontiguousarray(field.array[:, ::-1]))


def _header(identity: SeriesIdentity, sop_class_uid: str) -> Dataset:
    """Patient, study, series, equipment and content identification (PS3.3 C.7, C.20.1, 10.9)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out.file_meta.ImplementationVersionName = f"RECONTOUR {__version__}"[:16]
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class_uid,
        "SOPInstanceUID": generate_uid(prefix=None),
        **study_attributes(identity),
        "Modality": "REG",
        "Laterality": "",
        "SeriesInstanceUID": generate_uid(prefix=None),
        "SeriesNumber": 1,
        "SeriesDate": date,
        "SeriesTime": time,
        "SeriesDescription": "recontour: daily to planning",
        "FrameOfReferenceUID": identity.frame_of_reference_uid,
        "PositionReferenceIndicator": identity.position_reference_indicator,
        "Manufacturer": "recontour",
        "ManufacturerModelName": "recontour",
        "DeviceSerialNumber": "0",
        "SoftwareVersions": __version__,
        "InstanceNumber": 1,
        "ContentDate": date,
        "ContentTime": time,
        "ContentLabel": "RECONTOUR",
        "ContentDescription": "registration of the daily and the planning scan",
        "ContentCreatorName": "",
    }
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


def _matrix_item(identity: SeriesIdentity, affine_to_registered: Affine) -> Dataset:
    """Registration Sequence (C.20.2): from the item's frame of reference to the Registered RCS."""
    from pydicom.dataset import Dataset

    registration = Dataset()
    registration.MatrixSequence = [_matrix_dataset(affine_to_registered)]
    registration.RegistrationTypeCodeSequence = [_image_based()]
    item = Dataset()
    item.FrameOfReferenceUID = identity.frame_of_reference_uid
    item.ReferencedImageSequence = _images(identity)
    item.MatrixRegistrationSequence = [registration]
    return item


def _source_item(identity: SeriesIdentity, comment: str) -> Dataset:
    """Deformable Registration Sequence (C.20.3): images whose frame of reference is a Source RCS."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.SourceFrameOfReferenceUID = identity.frame_of_reference_uid
    item.ReferencedImageSequence = _images(identity)
    if comment:
        item.FrameOfReferenceTransformationComment = comment
    item.RegistrationTypeCodeSequence = [_image_based()]
    return item


def _deformable_item(identity: SeriesIdentity, affine: Affine, field: Field) -> Dataset:
    from pydicom.dataset import Dataset

    _, y, x = np.asarray(field.grid.direction, float).T
    grid = Dataset()
    grid.ImageOrientationPatient = _decimals([*x, *y])
    grid.ImagePositionPatient = _decimals(field.grid.origin_mm)
    grid.GridDimensions = [int(n) for n in field.grid.size[::-1]]
    grid.GridResolution = [float(s) for s in field.grid.spacing_mm[::-1]]
    # x, y, z of each vector; vectors along the rows first, then the columns, then the planes (C.20.3.1.3)
    grid.VectorGridData = np.moveaxis(field.array, 0, -1).astype("<f4").tobytes()
    spacing = " x ".join(f"{s:.2f}" for s in field.grid.spacing_mm[::-1])
    item = _source_item(identity, f"vectors every {spacing} mm")
    item.PostDeformationMatrixRegistrationSequence = [_matrix_dataset(affine)]
    item.DeformableRegistrationGridSequence = [grid]
    return item


def _matrix_dataset(affine: Affine) -> Dataset:
    from pydicom.dataset import Dataset

    linear = affine.matrix[:3, :3]
    rigid = np.allclose(linear.T @ linear, np.eye(3), atol=1e-6) and np.linalg.det(linear) > 0
    item = Dataset()
    item.FrameOfReferenceTransformationMatrix = _decimals(affine.matrix.ravel())
    item.FrameOfReferenceTransformationMatrixType = "RIGID" if rigid else "AFFINE"
    return item


def _image_based() -> Dataset:
    """CID 7100, RCS Registration Method Type (PS3.16)."""
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue = "125024"
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = "Image Content-based Alignment"
    return code


def _images(identity: SeriesIdentity) -> list[Dataset]:
    """A reference to every image of a series; a multi-frame one once."""
    from pydicom.dataset import Dataset

    out: list[Dataset] = []
    for uid in dict.fromkeys(identity.sop_instance_uids):
        item = Dataset()
        item.ReferencedSOPClassUID = identity.sop_class_uid
        item.ReferencedSOPInstanceUID = uid
        out.append(item)
    return out


def _refer(dataset: Dataset, daily: SeriesIdentity, planning: SeriesIdentity) -> None:
    """Common Instance Reference (C.12.2): series of this study, and other studies with theirs."""
    from pydicom.dataset import Dataset

    here: list[Dataset] = []
    elsewhere: list[Dataset] = []
    for identity in (daily, planning):
        series = Dataset()
        series.SeriesInstanceUID = identity.series_instance_uid
        series.ReferencedInstanceSequence = _images(identity)
        if identity.study_instance_uid == daily.study_instance_uid:
            here.append(series)
            continue
        study = Dataset()
        study.StudyInstanceUID = identity.study_instance_uid
        study.ReferencedSeriesSequence = [series]
        elsewhere.append(study)
    dataset.ReferencedSeriesSequence = here
    if elsewhere:
        dataset.StudiesContainingOtherReferencedInstancesSequence = elsewhere


def _decimals(values: NDArray[np.float64] | list[float] | tuple[float, ...]) -> list[str]:
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(v) + 0.0) for v in values]


def _matrix(item: Dataset) -> NDArray[np.float64]:
    return np.array([float(v) for v in item.FrameOfReferenceTransformationMatrix]).reshape(4, 4)


def _field(item: Dataset) -> Field:
    """The vectors of a Deformable Registration Grid Sequence item, as (3, D, H, W)."""
    row, column = np.array([float(v) for v in item.ImageOrientationPatient]).reshape(2, 3)
    size = [int(n) for n in item.GridDimensions][::-1]
    spacing = [float(s) for s in item.GridResolution][::-1]
    origin = [float(v) for v in item.ImagePositionPatient]
    grid = Grid.of(size, spacing, origin, np.column_stack([np.cross(row, column), column, row]))
    vectors = np.frombuffer(item.VectorGridData, "<f4").reshape(*size, 3)
    return Field(grid, np.moveaxis(vectors, -1, 0).astype(np.float32))


def _compare(path: Path, meant: Registration) -> None:
    """Raises OutputRefused where the file does not map points as was meant."""
    wrong = OutputRefused("the file does not read back as it was meant", where="registration", allowed="report this")
    try:
        read = read_registration(path)
    except (AttributeError, KeyError, ValueError, IndexError) as error:
        raise wrong from error
    frames = (read.daily_frame_of_reference_uid, read.planning_frame_of_reference_uid)
    if frames != (meant.daily_frame_of_reference_uid, meant.planning_frame_of_reference_uid):
        raise wrong
    probes = np.concatenate([np.zeros((1, 3)), 500.0 * np.eye(3)])
    moved = read.affine_daily_to_planning.apply(probes) - meant.affine_daily_to_planning.apply(probes)
    there, here = read.field_daily_to_planning, meant.field_daily_to_planning
    if np.abs(moved).max() > 1e-3 or (there is None) != (here is None):
        raise wrong
    if there and here and not (there.grid.same_as(here.grid) and np.array_equal(there.array, here.array)):
        raise wrong
