"""What a folder holds: structure sets, registrations and planes, whatever the files are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from recontour.dicom.contour_files import find_contour_files, plane_of_contours, planes_through
from recontour.errors import StructuresRefused, UsageError
from recontour.geometry.contours import SlicePlane
from tests.dicom.made_ct import SERIES, ct_image, rtstruct, save, simple_scan

SQUARE = [(0.0, 0.0, 4.0), (20.0, 0.0, 4.0), (20.0, 10.0, 4.0), (0.0, 10.0, 4.0)]


def square(z_mm: float = 4.0) -> np.ndarray:
    return np.array(SQUARE) + np.array([0.0, 0.0, z_mm - 4.0])


def test_finds_what_there_is_under_any_name(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b", simple_scan(5, z0=10.0, step=3.0))
    drawn = rtstruct([{"number": 1, "name": "Bladder", "contours": [("CLOSED_PLANAR", SQUARE)]}], uid="1.2.3")
    for name in ("one", "a copy of one"):
        pydicom.dcmwrite(tmp_path / name, drawn, enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00")
    found = find_contour_files(tmp_path)
    assert [(file.sop_instance_uid, file.series_uids) for file in found.structure_sets] == [("1.2.3", (SERIES,))]
    assert (found.copies, found.unreadable, found.registrations) == (1, 1, ())
    assert [plane.position_mm for plane in found.planes[SERIES]] == pytest.approx([10, 13, 16, 19, 22])
    assert find_contour_files(tmp_path, [tmp_path / "a"]).planes == {}
    with pytest.raises(UsageError, match="no such folder"):
        find_contour_files(tmp_path / "nowhere")


def test_images_that_are_not_parallel_make_no_stack(tmp_path: Path) -> None:
    turned = (np.cos(0.1), np.sin(0.1), 0.0, -np.sin(0.1), np.cos(0.1), 0.0)
    images = simple_scan(3)
    images.append(ct_image(np.zeros((6, 4)), (-5.0, 7.0, 40.0), turned))
    assert find_contour_files(save(tmp_path, images)).planes == {}


def test_a_slice_that_is_there_twice_is_one_plane(tmp_path: Path) -> None:
    planes = find_contour_files(save(tmp_path, simple_scan(zs=[0.0, 3.0, 3.02, 6.0]))).planes[SERIES]
    assert [plane.position_mm for plane in planes] == pytest.approx([0, 3, 6])


def test_planes_through_contours() -> None:
    like = SlicePlane((-5.0, 7.0, 100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 2.0, 1.0, 6, 4)
    planes = planes_through([square(9.02), square(4.0), square(9.0), square(4.0)], like)
    assert [plane.origin_mm for plane in planes] == [pytest.approx((-5, 7, 4)), pytest.approx((-5, 7, 9.01))]
    assert (planes[0].row_spacing_mm, planes[0].rows) == (2.0, 6)
    assert planes_through([], like) == []


def test_the_plane_of_axial_contours_is_axial() -> None:
    noise = np.random.default_rng(1).uniform(-5e-3, 5e-3, 4)
    plane = plane_of_contours([square() + noise[:, None] * [0, 0, 1], square()])
    assert (plane.row_direction, plane.column_direction) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    np.testing.assert_array_equal(plane.normal, [0, 0, 1])


def test_the_plane_of_tilted_contours_is_tilted() -> None:
    angle = 0.2
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    plane = plane_of_contours([square() @ tilt.T])
    np.testing.assert_allclose(plane.normal, [0, -np.sin(angle), np.cos(angle)], atol=1e-9)
    np.testing.assert_allclose(plane.row_direction, [1, 0, 0], atol=1e-9)
    heights = square() @ tilt.T @ plane.normal
    assert np.ptp(heights) < 1e-9


@pytest.mark.parametrize("contours", [[], [np.array([(0.0, 0, 0), (1, 0, 0), (2, 0, 0)])]])
def test_no_plane_without_an_area(contours: list[np.ndarray]) -> None:
    with pytest.raises(StructuresRefused, match="no contour that spans a plane"):
        plane_of_contours(contours)
