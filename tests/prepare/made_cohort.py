"""A cohort of made patients: a torso of known shapes, scanned on several days, with contours cut from formulas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from recontour.dicom.references import PatientHeader
from recontour.dicom.scan_writer import ScanToWrite, write_series
from recontour.geometry.affine import Affine
from tests.align.torso_scene import ELLIPSOIDS, grid_over, scan
from tests.dicom.made_ct import rtstruct

ORGANS = {name: ELLIPSOIDS[k] for name, k in (("Bladder", 7), ("Prostate", 8), ("Rectum", 9))}  # centre, half axes, HU
SECRETS = ("MRN-771133", "MRN-990044", "Doe^Jonathan", "19440506")
ONE, TWO = PatientHeader(SECRETS[2], SECRETS[0], SECRETS[3], "M"), PatientHeader("", SECRETS[1], "", "M")


def write_day(
    folder: Path,
    patient: PatientHeader,
    day: str,
    organs: Sequence[str] | None = tuple(ORGANS),
    shift_mm: Sequence[float] = (0, 0, 0),
    z_mm: tuple[float, float] = (-60, 70),
    **tags: Any,
) -> str:
    """A scan of the torso moved by `shift_mm`, with the ellipses of `organs` (None: no structure set); its series
    UID."""
    grid = grid_over(*z_mm, offset_mm=tuple(shift_mm))
    about = ScanToWrite(f"{patient.identifier} {day}", patient, "CT", study_date=day)
    series = write_series(folder, scan(grid, Affine.shift(-np.asarray(shift_mm, float)), seed=int(day)), about)
    identity = series.identity
    if organs is not None:
        heights = [plane.origin_mm[2] for plane in series.planes]
        rois = [
            {"number": k, "name": name, "contours": ellipses(name, heights, shift_mm)}
            for k, name in enumerate(organs, 1)
        ]
        drawn = rtstruct(rois, identity.series_instance_uid, identity.frame_of_reference_uid, f"1.7.{day}",
                         PatientID=patient.identifier, **tags)  # fmt: skip
        pydicom.dcmwrite(folder / f"{patient.identifier}.dcm", drawn, enforce_file_format=True)
    return identity.series_instance_uid


def ellipses(name: str, heights_mm: Sequence[float], shift_mm: Sequence[float]) -> list[tuple[str, np.ndarray]]:
    """Where the planes at these heights cut an organ of the torso that was moved."""
    scene_name = next((known for known in ORGANS if known in name), "Bladder")
    centre, half, _ = ORGANS[scene_name]
    x, y, z = np.add(centre, shift_mm)
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    out: list[tuple[str, np.ndarray]] = []
    for height in heights_mm:
        rest = 1 - ((height - z) / half[2]) ** 2
        if rest > 0:
            r = np.sqrt(rest)
            points = [x + r * half[0] * np.cos(angle), y + r * half[1] * np.sin(angle), np.full(72, height)]
            out.append(("CLOSED_PLANAR", np.stack(points, axis=-1)))
    return out
