"""Pairs of scans with known truth, in memory and as DICOM folders.

    OUT/planning/   CT series and RTSTRUCT
    OUT/daily/      CT series: its own frame of reference, UIDs, grid and range of heights
    OUT/truth/      rtstruct.dcm, the contours of the daily scan; field.npz and registration.dcm, whence its points came

field.npz: affine_daily_to_planning (4, 4) float64, LPS mm; field_mm (3, D, H, W) float32, displacements u along x, y
and z; field_spacing_mm (z, y, x) and field_origin_mm (x, y, z) of its LPS-axial lattice. The daily point y shows
planning point A(y + u(y)), with u linear between voxels and, outside, that of the nearest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from recontour.dicom.names import organ_of
from recontour.dicom.references import PatientHeader
from recontour.dicom.registration import write_registration
from recontour.dicom.rtstruct import Provenance, RoiToWrite, write_rtstruct
from recontour.dicom.scan_writer import ScanToWrite, write_series
from recontour.dicom.series import CtSeries, read_series
from recontour.dicom.structures import Roi, read_structures
from recontour.errors import OutputRefused
from recontour.geometry.contours import contours_from_level_set, level_set_from_contours, organ_grid
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.anatomy import ROI_NAMES, make_anatomy
from recontour.phantom.motion import Motion
from recontour.phantom.movable import prepare
from recontour.phantom.move import MovedScan, move_prepared, set_up

FRAME_OFFSET_MM = 150.0
_DAILY_SLICES_MM = (1.5, 2.0, 2.0, 2.5, 2.5, 3.0, 3.0, 4.0, 5.0)
_LARGE_MM3 = 6e6  # shapes with a larger box are held at 3 mm

_COLOURS = {
    "Prostate": (255, 0, 0), "SeminalVes": (255, 0, 255), "Bladder": (255, 255, 0), "Rectum": (165, 90, 40),
    "Femur_Head_L": (0, 200, 255), "Femur_Head_R": (0, 130, 255), "CTV": (255, 140, 0), "EXTERNAL": (0, 255, 0),
}  # fmt: skip
_TYPES = {"CTV": "CTV", "EXTERNAL": "EXTERNAL"}

Pair = tuple[Volume, dict[str, LevelSet], MovedScan]


def phantom_pair(
    seed: int, severity: float = 1.0, spacing_mm: Triple | None = None, motion_seed: int | None = None
) -> Pair:
    """A phantom's planning scan, its shapes by ROI name, and a day of his life on the daily scan's own grid.

    spacing_mm: (z, y, x) of a coarser planning scan, as for `make_anatomy`. motion_seed: of another of his days; by
    default the man's own.
    """
    anatomy = make_anatomy(seed, spacing_mm)
    motion = Motion.draw(seed if motion_seed is None else motion_seed, severity, FRAME_OFFSET_MM)
    target = daily_grid(anatomy.volume.grid, anatomy.level_sets, motion)
    scan = prepare(anatomy.volume, anatomy.level_sets, noise_hu=anatomy.noise_hu, clean=True)
    return anatomy.planning, dict(anatomy.level_sets), move_prepared(scan, motion, target)


def moved_pair(
    planning: Volume,
    level_sets: Mapping[str, LevelSet],
    seed: int,
    organs: Mapping[str, str] | None = None,
    severity: float = 1.0,
) -> Pair:
    """As `phantom_pair`, of a scan that is already there. organs: organ -> key of `level_sets`, as for `move`; by
    default what the ROI names mean, the first of several."""
    known = dict(organs) if organs is not None else organs_meant(list(level_sets))
    motion = Motion.draw(seed, severity, FRAME_OFFSET_MM)
    target = daily_grid(planning.grid, {name: level_sets[name] for name in known.values()}, motion)
    return planning, dict(level_sets), move_prepared(prepare(planning, level_sets, known), motion, target)


def organs_meant(names: Sequence[str]) -> dict[str, str]:
    """Organ -> the first ROI whose name means it. Which of several drives a motion does not matter to its truth."""
    found: dict[str, str] = {}
    for name in names:
        organ = organ_of(name)
        if organ is not None:
            found.setdefault(organ, name)
    return found


def daily_grid(planning: Grid, shapes: Mapping[str, LevelSet], motion: Motion) -> Grid:
    """Another scanner's grid: its own pixels and slices, from 20 to 60 mm below to as much above the organs, as far as
    the planning scan shows anything there. LPS-axial, 512 x 512 where the planning scan is about that wide."""
    rng = np.random.default_rng((motion.seed, 20))
    to_daily = set_up(planning, motion).inverse()
    low, high = (np.array(f([to_daily.apply(planning.corners_mm())], axis=(0, 1))) for f in (np.min, np.max))
    boxes = [to_daily.apply(s.grid.corners_mm()) for n, s in shapes.items() if n != "EXTERNAL"]
    organs = np.concatenate(boxes) if boxes else np.array([low, high])
    spacing = float(rng.choice([s for s in _DAILY_SLICES_MM if abs(s - planning.spacing_mm[0]) > 0.1]))
    bottom = max(low[2] + 8.0, organs[:, 2].min() - rng.uniform(20, 60))
    top = min(high[2] - 8.0, organs[:, 2].max() + rng.uniform(20, 60))
    width = planning.size[2] * planning.spacing_mm[2] * rng.uniform(0.97, 1.08)
    middle = (low + high) / 2 + rng.uniform(-6, 6, 3)
    pixel = width / planning.size[2]
    rows = round(planning.size[1] * planning.spacing_mm[1] / planning.spacing_mm[2])
    size = (max(int((top - bottom) / spacing) + 1, 3), rows, planning.size[2])
    half = np.array([(size[2] - 1) * pixel / 2, (size[1] - 1) * pixel / 2, 0.0])
    return Grid.of(size, (spacing, pixel, pixel), np.round([middle[0], middle[1], bottom] - half, 3))


def write_phantom(out: Path, seed: int, severity: float = 1.0, spacing_mm: Triple | None = None) -> None:
    """Makes the patient of this seed and a day of his, and writes OUT/planning, OUT/daily and OUT/truth.

    Raises OutputRefused where `out` exists and is not empty, or cannot be written; then nothing is left behind.
    """
    with _whole_folder(out) as folder:
        volume, shapes, moved = phantom_pair(seed, severity, spacing_mm)
        patient = PatientHeader(f"PHANTOM^{seed}", f"PHANTOM-{seed}", "", "M")
        about = ScanToWrite(f"phantom {seed} planning", patient, "Planning CT", "recontour phantom")
        planning = write_series(folder / "planning", volume, about)
        rois = [RoiToWrite(k, n, (), _COLOURS[n], _TYPES.get(n, "ORGAN")) for k, n in enumerate(ROI_NAMES, 1)]
        drawn = [_drawn(roi, shapes[roi.name], planning) for roi in rois]
        write_rtstruct(folder / "planning" / "rtstruct.dcm", planning, drawn, _provenance("planning"))
        _write_day(folder, planning, moved, rois, f"phantom {seed} daily")


def write_moved(
    out: Path, planning_folder: Path, seed: int, organs: Mapping[str, str] | None = None, severity: float = 1.0
) -> None:
    """Moves a planning CT with all closed contours of its RTSTRUCT, and writes OUT/planning (a copy), OUT/daily and
    OUT/truth.

    organs: organ -> ROI name, for what moves as an organ; by default what the names mean. Raises ScanRefused or
    StructuresRefused where the planning folder cannot be used, OutputRefused as `write_phantom`.
    """
    with _whole_folder(out) as folder:
        planning = read_series(planning_folder)
        structures = read_structures(planning_folder, planning)
        closed = [roi for roi in structures.rois if roi.kind == "closed_planar"]
        shapes = shapes_of(closed, planning)
        _, _, moved = moved_pair(planning.volume, shapes, seed, organs, severity)
        shutil.copytree(planning_folder, folder / "planning")
        rois = [RoiToWrite(r.number, r.name, (), r.colour, r.interpreted_type) for r in closed]
        _write_day(folder, planning, moved, rois, f"moved {seed} {planning.identity.series_instance_uid}")


def shapes_of(rois: Sequence[Roi], planning: CtSeries) -> dict[str, LevelSet]:
    """ROI name -> level set, of all closed-planar ones."""
    return {roi.name: _shape_of(roi, planning) for roi in rois if roi.kind == "closed_planar"}


def _shape_of(roi: Roi, planning: CtSeries) -> LevelSet:
    grid = organ_grid(roi.contours, planning.planes)
    extent = np.multiply(grid.size, grid.spacing_mm)
    if np.prod(extent) > _LARGE_MM3:
        spacing = np.array([planning.volume.grid.spacing_mm[0], 3.0, 3.0])
        grid = Grid.of(np.ceil(extent / spacing), spacing, grid.origin_mm, grid.direction)
    return level_set_from_contours(roi.contours, grid, where=roi.name)


def _write_day(folder: Path, planning: CtSeries, moved: MovedScan, rois: Sequence[RoiToWrite], entropy: str) -> None:
    about = ScanToWrite(entropy, planning.identity.patient, "Daily CT", "recontour phantom", study_date="20000108")
    daily = write_series(folder / "daily", moved.volume, about)
    truth = folder / "truth"
    truth.mkdir()
    drawn = [_drawn(roi, moved.level_sets[roi.name], daily) for roi in rois]
    write_rtstruct(truth / "rtstruct.dcm", daily, drawn, _provenance("truth"))
    field, affine = moved.field_daily_to_planning, moved.affine_daily_to_planning
    write_registration(truth / "registration.dcm", daily, planning, affine, field)
    np.savez_compressed(
        truth / "field.npz", affine_daily_to_planning=affine.matrix, field_mm=field.array,
        field_spacing_mm=np.array(field.grid.spacing_mm), field_origin_mm=np.array(field.grid.origin_mm),
    )  # fmt: skip


def _drawn(roi: RoiToWrite, shape: LevelSet, series: CtSeries) -> RoiToWrite:
    contours = contours_from_level_set(shape, series.planes)
    return RoiToWrite(roi.number, roi.name, contours, roi.colour, roi.interpreted_type)


def _provenance(label: str) -> Provenance:
    return Provenance(algorithm_name="recontour phantom", label=label, series_description=f"recontour phantom: {label}")


@contextmanager
def _whole_folder(out: Path) -> Generator[Path]:
    """A folder beside `out` that takes its name when all of it is written, and is gone if anything fails."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputRefused("the folder is not empty", where=out.name, allowed="a new or an empty folder")
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True)
        yield beside
        os.replace(beside, out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputRefused(reason, where=out.name, allowed="a folder that can be written to") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
