"""Made patients with several fractions each, for the demonstrations and measurements of `recontour batch`.

    python benchmarks/batch_cohort.py OUT [--patients 6] [--fractions 5] [--spacing 5 4 4]

OUT/heap-N/: the planning scan, its structure set and all fractions of a patient in one folder, under names that say
nothing. Every odd patient; the others have a folder for each scan.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recontour.dicom.references import PatientHeader
from recontour.dicom.rtstruct import Provenance, RoiToWrite, write_rtstruct
from recontour.dicom.scan_writer import ScanToWrite, write_series
from recontour.geometry.contours import contours_from_level_set
from recontour.geometry.grid import Triple
from recontour.phantom.anatomy import ROI_NAMES, make_anatomy
from recontour.phantom.motion import Motion
from recontour.phantom.movable import prepare
from recontour.phantom.move import move_prepared
from recontour.phantom.scans import FRAME_OFFSET_MM, daily_grid


def write_cohort(out: Path, patients: int, fractions: int, spacing_mm: Triple | None) -> None:
    """Patients of the seeds 1, 2, ..., scanned on the days after the planning scan."""
    for seed in range(1, patients + 1):
        _write_patient(out, seed, fractions, spacing_mm)


def _write_patient(out: Path, seed: int, fractions: int, spacing_mm: Triple | None) -> None:
    header = PatientHeader(f"PHANTOM^{seed}", f"PHANTOM-{seed}", "", "M")
    anatomy = make_anatomy(seed, spacing_mm)
    folder = out / f"patient-{seed}" / "planning"
    about = ScanToWrite(f"batch {seed} planning", header, "Planning CT", study_date="20000101")
    planning = write_series(folder, anatomy.planning, about)
    rois = [
        RoiToWrite(k, name, contours_from_level_set(anatomy.level_sets[name], planning.planes), (200, 30 * k, 0))
        for k, name in enumerate(ROI_NAMES, 1)
    ]
    write_rtstruct(folder / "rtstruct.dcm", planning, rois, Provenance(label="planning"))
    scan = prepare(anatomy.volume, anatomy.level_sets, noise_hu=anatomy.noise_hu, clean=True)
    for day in range(1, fractions + 1):
        motion = Motion.draw(100 * seed + day, 1.0, FRAME_OFFSET_MM)
        moved = move_prepared(scan, motion, daily_grid(anatomy.volume.grid, anatomy.level_sets, motion))
        about = ScanToWrite(f"batch {seed} day {day}", header, "Daily CT", study_date=f"200001{day + 7:02d}")
        write_series(out / f"patient-{seed}" / f"day-{day}", moved.volume, about)
    if seed % 2:
        _make_heap(out / f"patient-{seed}", out / f"heap-{seed}")


def _make_heap(source: Path, target: Path) -> None:
    target.mkdir()
    for number, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file())):
        path.rename(target / f"IM{number * 7919 % 100_003:06d}")
    for folder in sorted(source.rglob("*"), reverse=True):
        folder.rmdir()
    source.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--fractions", type=int, default=5)
    parser.add_argument("--spacing", type=float, nargs=3, default=(5.0, 4.0, 4.0), help="of planning scans, mm, z y x")
    asked = parser.parse_args()
    write_cohort(asked.out, asked.patients, asked.fractions, tuple(asked.spacing))


if __name__ == "__main__":
    main()
