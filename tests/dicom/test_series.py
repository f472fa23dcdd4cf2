"""A folder of CT files to a volume: where every voxel lies, and what is refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from recontour.dicom.series import find_series, read_series
from recontour.errors import ScanRefused, UsageError
from tests.dicom.made_ct import AXIAL, CT, SERIES, ct_image, rtstruct, save, simple_scan

COS, SIN = np.cos(np.deg2rad(2.0)), np.sin(np.deg2rad(2.0))

# Patient position -> ImageOrientationPatient of a scanner that always shows the table below: PS3.3 C.7.3.1.1.2.
ORIENTATIONS = {
    "HFS": AXIAL,
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "mirrored": (1, 0, 0, 0, -1, 0),
    "turned about z by 2 degrees": (COS, SIN, 0, -SIN, COS, 0),
    "turned about x by 2 degrees": (1, 0, 0, 0, COS, SIN),
}


def ramp(points_mm: np.ndarray) -> np.ndarray:
    """HU that tell every point from every other: no mirroring, transposition or shift leaves them alone."""
    return 20.0 + 1.5 * points_mm[..., 0] - 2.5 * points_mm[..., 1] + 4.0 * points_mm[..., 2]


def ramp_slices(orientation, positions, stacking=None, first=(-30.0, 12.0, -80.0), shape=(7, 5), spacing=(2.0, 1.25)):
    """Slices that image `ramp` in steps of 0.01 HU, at `positions` mm along `stacking`, by default the normal."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    way = np.cross(row, column) if stacking is None else np.array(stacking, float)
    j, i = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    images = []
    for s in positions:
        origin = np.array(first) + s * way
        points = origin + i[..., None] * spacing[1] * row + j[..., None] * spacing[0] * column  # PixelSpacing[0]: rows
        stored = np.rint((ramp(points) + 500.0) / 0.02)
        images.append(ct_image(stored, origin, orientation, spacing, RescaleSlope="0.02", RescaleIntercept="-500"))
    return images


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_voxel_lies_where_its_image_says(tmp_path, name):
    images = ramp_slices(ORIENTATIONS[name], np.array([4, 0, 2, 1, 3]) * 3.0)
    series = read_series(save(tmp_path, images))
    assert series.volume.grid.size == (5, 7, 5)
    assert series.volume.grid.spacing_mm == pytest.approx((3.0, 2.0, 1.25))
    assert np.linalg.det(np.array(series.volume.grid.direction)[:, ::-1]) == pytest.approx(1.0)
    np.testing.assert_allclose(series.volume.array, ramp(series.volume.grid.points()), atol=0.02)
    for k, plane in enumerate(series.planes):
        np.testing.assert_allclose(plane.origin_mm, series.volume.grid.points_at([k, 0, 0]), atol=1e-4)


@pytest.mark.parametrize("name", ["HFS", "HFP", "FFS", "FFP"])
def test_centroid_of_a_blob(tmp_path, name):
    centre = np.array([-26.0, 3.0, -70.0])
    row, column = (np.array(v, float) for v in (ORIENTATIONS[name][:3], ORIENTATIONS[name][3:]))
    normal = np.cross(row, column)
    corner = centre - 11.0 * row - 17.0 * column - 16.0 * normal
    j, i = np.meshgrid(np.arange(16), np.arange(21), indexing="ij")
    images = []
    for k in range(13):
        origin = corner + k * 2.5 * normal
        points = origin + i[..., None] * 1.2 * row + j[..., None] * 2.0 * column
        weight = np.exp(-0.5 * (((points - centre) / (3.0, 4.0, 5.0)) ** 2).sum(axis=-1))
        images.append(ct_image(np.rint(1024 * weight), origin, ORIENTATIONS[name], (2.0, 1.2), PatientPosition=name))
    volume = read_series(save(tmp_path, images)).volume
    weight = volume.array + 1024.0
    found = (weight[..., None] * volume.grid.points()).reshape(-1, 3).sum(axis=0) / weight.sum()
    np.testing.assert_allclose(found, centre, atol=0.05)


def test_identity_follows_the_order_of_the_slices(tmp_path):
    images = simple_scan(4, PatientBirthDate="19500102", AccessionNumber="A1")
    series = read_series(save(tmp_path, images[::-1]))
    assert series.identity.sop_instance_uids == tuple(i.SOPInstanceUID for i in images)
    np.testing.assert_array_equal(series.volume.array[:, 0, 0], [10, 13, 16, 19])
    assert [p.origin_mm[2] for p in series.planes] == [10, 13, 16, 19]
    for secret in ("SECRET", "Secret", "19500102", "A1"):
        assert secret not in repr(series)


def test_folder_with_all_sorts_of_files(tmp_path):
    images = simple_scan(6)
    save(tmp_path / "a" / "deep", images[::2])
    save(tmp_path / "b", images[1::2])
    save(tmp_path, [rtstruct([])], ["structures.dcm"])
    dose = ct_image(np.zeros((3, 3)), (0, 0, 0), Modality="RTDOSE", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    dose.SeriesInstanceUID = "1.2.3.9"
    scout = ct_image(np.zeros((9, 2)), (0, 0, 0), (1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(tmp_path, [dose, scout], ["dose.dcm", "scout.dcm"])
    directory = Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    directory.DirectoryRecordSequence = []
    pydicom.dcmwrite(tmp_path / "DICOMDIR", directory, enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden.dcm").write_bytes(b"")
    save(tmp_path / ".trash", simple_scan(3, z0=500))
    series = read_series(tmp_path)
    assert series.volume.grid.size == (6, 6, 4)
    assert "1 localiser image(s) left out" in series.notes
    assert [s.modality for s in find_series(tmp_path)] == ["RTDOSE", "CT"]


def test_files_without_the_preamble_of_part_10(tmp_path):
    for k, image in enumerate(simple_scan(3)):
        del image.file_meta
        image.save_as(tmp_path / f"slice{k}", implicit_vr=True, little_endian=True)
    assert read_series(tmp_path).volume.grid.size == (3, 6, 4)


def test_links_are_followed_once_and_what_cannot_be_opened_is_named(tmp_path):
    elsewhere = save(tmp_path / "elsewhere", simple_scan(4))
    folder = tmp_path / "planning"
    folder.mkdir()
    (folder / "link").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder)
    assert len(read_series(folder).planes) == 4
    (folder / "gone.dcm").symlink_to(tmp_path / "nowhere.dcm")
    with pytest.raises(ScanRefused, match=r"cannot be opened \| gone\.dcm"):
        read_series(folder)


def test_binary_files_that_are_not_dicom(tmp_path):
    save(tmp_path, simple_scan(3))
    (tmp_path / "table.bin").write_bytes(b"\x08\x00\xff\x01" * 100)
    (tmp_path / "model.bin").write_bytes(b"\x02\x00\x33\x00" * 100)
    assert len(read_series(tmp_path).planes) == 3


class TestChoice:
    @pytest.fixture
    def two(self, tmp_path):
        save(tmp_path / "planning", simple_scan(4))
        other = simple_scan(3, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.99", SeriesDescription="daily")
        save(tmp_path / "planning" / "daily", other)
        return tmp_path

    def test_two_series_are_listed_without_identity(self, two):
        with pytest.raises(ScanRefused, match="2 CT series") as refused:
            read_series(two)
        for part in (SERIES, "pelvis", "4 images", "daily", "3 images", "--series"):
            assert part in str(refused.value)
        assert "SECRET" not in str(refused.value) and "Secret" not in str(refused.value)

    def test_by_uid_by_prefix_or_by_ignoring(self, two):
        assert len(read_series(two, series_uid=SERIES).planes) == 4
        assert len(read_series(two, series_uid="1.2.826.0.1.3680043.8.498.9").planes) == 3
        assert len(read_series(two, ignore=[two / "planning" / "daily"]).planes) == 4

    @pytest.mark.parametrize("uid", ["1.2.826.0.1", "9.9"])
    def test_ambiguous_or_unknown(self, two, uid):
        with pytest.raises(ScanRefused):
            read_series(two, series_uid=uid)

    @pytest.mark.parametrize("modality", ["MR", "PT"])
    def test_other_modalities_are_named(self, tmp_path, modality):
        save(tmp_path, simple_scan(4, Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))
        with pytest.raises(ScanRefused, match=f"no CT series; 1 {modality} series"):
            read_series(tmp_path)
        with pytest.raises(ScanRefused, match="no CT"):
            read_series(tmp_path, series_uid=SERIES)

    def test_only_a_localiser(self, tmp_path):
        save(tmp_path, simple_scan(1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
        with pytest.raises(ScanRefused, match="no CT series; 1 CT localiser"):
            read_series(tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(UsageError, match="no such folder"):
            read_series(tmp_path / "nowhere")
        with pytest.raises(ScanRefused, match="no DICOM images"):
            read_series(tmp_path)


class TestPixels:
    def read(self, folder, images):
        return read_series(save(folder, images)).volume.array

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
    def test_uncompressed(self, tmp_path, syntax):
        images = simple_scan(3)
        for image in images:
            image.file_meta.TransferSyntaxUID = syntax
        np.testing.assert_array_equal(self.read(tmp_path, images)[:, 2, 3], [10, 13, 16])

    def test_big_endian(self, tmp_path):
        images = simple_scan(3)
        for image in images:
            image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        np.testing.assert_array_equal(self.read(tmp_path, images)[:, 2, 3], [10, 13, 16])

    @pytest.mark.parametrize(
        "syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]
    )
    def test_compressed_lossless(self, tmp_path, syntax):
        """RLE, JPEG, JPEG-LS and JPEG 2000, written by pydicom's encoder or by GDCM."""
        images = ramp_slices(AXIAL, [0, 3, 6], shape=(16, 24))
        expected = self.read(tmp_path / "plain", images)
        for k, image in enumerate(images):
            compress(image, syntax, tmp_path / f"{k}.dcm")
        np.testing.assert_array_equal(read_series(tmp_path, ignore=[tmp_path / "plain"]).volume.array, expected)

    def test_signed_twelve_bits_with_anything_above(self, tmp_path):
        values = np.array([[-1000, 0], [45, 1500], [-3, 2047]])
        stored = ((values & 0x0FFF) | 0x5000).astype(np.uint16)  # the four bits above are an overlay's
        tags = dict(BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept="0")
        array = self.read(tmp_path, [ct_image(stored, (0, 0, z), **tags) for z in (0, 1, 2)])
        np.testing.assert_array_equal(array[1], values)

    def test_rescale_of_each_slice(self, tmp_path):
        stored, slopes = np.full((2, 2), 100), ("1", "2", "0.5")
        images = [ct_image(stored, (0, 0, z), RescaleSlope=s, RescaleIntercept=str(-z)) for z, s in enumerate(slopes)]
        np.testing.assert_allclose(self.read(tmp_path, images)[:, 0, 0], [100, 199, 48])

    def test_padding_is_air(self, tmp_path):
        stored = np.array([[63536, 40], [63000, 0]])  # -2000 as two's complement; a range down to -2536
        tags = dict(PixelRepresentation=1, RescaleIntercept="0")
        images = [ct_image(stored, (0, 0, z), **tags) for z in (0, 1, 2)]
        for image in images:
            image.add_new("PixelPaddingValue", "SS", -2000)
            image.add_new("PixelPaddingRangeLimit", "SS", -2536)
        np.testing.assert_array_equal(self.read(tmp_path, images)[0], [[-1000, 40], [-1000, 0]])

    def test_cut_off_pixels_name_the_file(self, tmp_path):
        images = simple_scan(4)
        images[2].PixelData = images[2].PixelData[:20]
        with pytest.raises(ScanRefused, match=r"997\.dcm"):
            self.read(tmp_path, images)

    @pytest.mark.parametrize("length", [150, 250, -30])
    def test_cut_off_file_is_named(self, tmp_path, length):
        save(tmp_path, simple_scan(4))
        whole = (tmp_path / "998.dcm").read_bytes()
        (tmp_path / "998.dcm").write_bytes(whole[:length])
        with pytest.raises(ScanRefused, match=r"998\.dcm"):
            read_series(tmp_path)

    def test_empty_file_is_named(self, tmp_path):
        save(tmp_path, simple_scan(4))
        (tmp_path / "998.dcm").write_bytes(b"")
        with pytest.raises(ScanRefused, match=r"998\.dcm"):
            read_series(tmp_path)


def compress(image, syntax, path):
    """As a file of another transfer syntax."""
    if syntax == "1.2.840.10008.1.2.5":
        image.compress(syntax)
        pydicom.dcmwrite(path, image, enforce_file_format=True)
        return
    gdcm = pytest.importorskip("gdcm")
    plain = path.with_suffix(".plain")
    pydicom.dcmwrite(plain, image, enforce_file_format=True)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    kinds = {"70": "JPEGLosslessProcess14_1", "80": "JPEGLSLossless", "90": "JPEG2000Lossless"}
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kinds[syntax[-2:]])))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    plain.unlink()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax


class TestSpacing:
    def test_irregular_slices_keep_their_own_z(self, tmp_path):
        zs = [0.0, 3.0, 6.4, 9.1, 12.0, 15.5]
        series = read_series(save(tmp_path, ramp_slices(AXIAL, zs, first=(0, 0, 0))))
        np.testing.assert_allclose([p.origin_mm[2] for p in series.planes], zs)
        assert any("irregular" in note for note in series.notes)
        np.testing.assert_allclose(series.volume.array, ramp(series.volume.grid.points()), atol=0.05)
        low, high = series.volume.grid.bounds_mm()
        assert (low[2], high[2]) == pytest.approx((0, 15.5))

    def test_rounded_positions_are_regular(self, tmp_path):
        series = read_series(save(tmp_path, simple_scan(zs=[0, 0.62, 1.25, 1.88, 2.5])))
        assert series.notes == () and series.volume.grid.spacing_mm[0] == pytest.approx(0.625)

    @pytest.mark.parametrize("step, refused", [(4.4, False), (4.6, True)])
    def test_gap_over_one_and_a_half(self, tmp_path, step, refused):
        zs = [0, 3, 6, 9, 9 + step, 12 + step, 15 + step]
        save(tmp_path, simple_scan(zs=zs))
        if not refused:
            assert len(read_series(tmp_path).planes) == 7
            return
        with pytest.raises(ScanRefused, match=r"4.60 mm between z = 9.00 mm and z = 13.60 mm"):
            read_series(tmp_path)

    def test_duplicates_with_the_same_pixels(self, tmp_path):
        images = simple_scan(5)
        twin = ct_image(images[1].pixel_array, images[1].ImagePositionPatient)
        series = read_series(save(tmp_path, [*images, twin]))
        assert len(series.planes) == 5 and "one kept" in series.notes[0]

    def test_duplicates_that_differ(self, tmp_path):
        images = simple_scan(5)
        twin = ct_image(images[1].pixel_array + 1, images[1].ImagePositionPatient)
        with pytest.raises(ScanRefused, match=r"two different images at one position, z = 13.00 mm"):
            read_series(save(tmp_path, [*images, twin]))

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_few(self, tmp_path, count):
        with pytest.raises(ScanRefused, match=f"{count} slices"):
            read_series(save(tmp_path, simple_scan(count)))


class TestTiltAndCut:
    def tilted(self, degrees, about="x", **tags):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        orientation = (1, 0, 0, 0, c, s) if about == "x" else (c, 0, s, 0, 1, 0)
        images = ramp_slices(orientation, np.arange(6) * 3.0, stacking=(0, 0, 1), shape=(9, 5))
        for image in images:
            for keyword, value in tags.items():
                setattr(image, keyword, value)
        return images

    @pytest.mark.parametrize("about", ["x", "y"])
    @pytest.mark.parametrize("degrees", [1.5, -4.0])
    def test_small_tilt_is_resampled_to_where_it_is(self, tmp_path, degrees, about):
        series = read_series(save(tmp_path, self.tilted(degrees, about, GantryDetectorTilt=str(degrees))))
        assert any("shifted in their plane" in note for note in series.notes)
        points, array = series.volume.grid.points(), series.volume.array
        for k, plane in enumerate(series.planes):
            along_row = (points[k] - plane.origin_mm) @ plane.row_direction
            along_column = (points[k] - plane.origin_mm) @ plane.column_direction
            imaged = (along_row >= -1e-6) & (along_row <= 4 * 1.25 + 1e-6)
            imaged &= (along_column >= -1e-6) & (along_column <= 8 * 2.0 + 1e-6)
            assert imaged.sum() >= 4 * 8
            np.testing.assert_allclose(array[k][imaged], ramp(points[k][imaged]), atol=0.05)

    @pytest.mark.parametrize("degrees", [8.0, -20.0])
    def test_tilt_is_refused_by_its_angle(self, tmp_path, degrees):
        with pytest.raises(ScanRefused, match=f"gantry tilt of {abs(degrees)} degrees"):
            read_series(save(tmp_path, self.tilted(degrees)))

    def test_tilt_that_only_the_header_knows(self, tmp_path):
        with pytest.raises(ScanRefused, match=r"header says a gantry tilt of 12\.0"):
            read_series(save(tmp_path, simple_scan(5, GantryDetectorTilt="12")))

    @pytest.mark.parametrize(
        "orientation, kind",
        [
            ((0, 1, 0, 0, 0, -1), "sagittal"),
            ((1, 0, 0, 0, 0, -1), "coronal"),
            ((1, 0, 0, 0, np.cos(0.5), np.sin(0.5)), "oblique"),
        ],
    )
    def test_not_axial(self, tmp_path, orientation, kind):
        with pytest.raises(ScanRefused, match=f"{kind} slices"):
            read_series(save(tmp_path, ramp_slices(orientation, [0, 3, 6])))


MIXED = {
    "matrices": dict(Rows=4, Columns=6),
    "orientations": dict(ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]),
    "pixel spacings": dict(PixelSpacing=[2.0, 1.1]),
    "frames of reference": dict(FrameOfReferenceUID="1.2.3"),
    "patients": dict(PatientID="OTHER-SECRET"),
}


@pytest.mark.parametrize("what", MIXED)
def test_mixed_series_names_the_file(tmp_path, what):
    images = simple_scan(5)
    for keyword, value in MIXED[what].items():
        setattr(images[3], keyword, value)
    with pytest.raises(ScanRefused, match=f"different {what}") as refused:
        read_series(save(tmp_path, images))
    assert "996.dcm" in str(refused.value) and "SECRET" not in str(refused.value)


BROKEN = [
    ("ImagePositionPatient", None),
    ("ImageOrientationPatient", None),
    ("PixelSpacing", None),
    ("PixelSpacing", [0, 1]),
    ("RescaleSlope", None),
    ("RescaleIntercept", ""),
    ("RescaleType", "ED"),
    ("FrameOfReferenceUID", None),
    ("SOPInstanceUID", None),
    ("SamplesPerPixel", 3),
    ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
    ("Rows", None),
]


@pytest.mark.parametrize("keyword, value", BROKEN)
def test_missing_and_malformed_tags_name_the_file(tmp_path, keyword, value):
    images = simple_scan(4)
    delattr(images[1], keyword) if value is None else setattr(images[1], keyword, value)
    for image in images:
        image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = CT, "1.2.3"
    for i, image in enumerate(images):
        pydicom.dcmwrite(tmp_path / f"{i}.dcm", image)
    with pytest.raises(ScanRefused, match=r"1\.dcm"):
        read_series(tmp_path)


def test_malformed_position_says_so_and_warns_of_nothing(tmp_path, recwarn):
    save(tmp_path, simple_scan(4))
    path = tmp_path / "998.dcm"
    path.write_bytes(path.read_bytes().replace(b"13.000000", b"13,000000"))
    with pytest.raises(ScanRefused, match="ImagePositionPatient"):
        read_series(tmp_path)
    assert not recwarn.list


class TestMultiFrame:
    def enhanced(self, zs, shared_scale=True):
        values = np.stack([np.full((6, 4), 1024 + round(z)) for z in zs])
        image = ct_image(values[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", SOPInstanceUID=generate_uid())
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
            delattr(image, keyword)
        del image.RescaleIntercept
        image.NumberOfFrames, image.PixelData = len(zs), values.astype("<u2").tobytes()
        shared = group(PixelMeasuresSequence=dict(PixelSpacing=[2.0, 1.0]))
        shared.PlaneOrientationSequence = [group(ImageOrientationPatient=list(AXIAL))]
        scale = dict(RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")
        if shared_scale:
            shared.PixelValueTransformationSequence = [group(**scale)]
        image.SharedFunctionalGroupsSequence = [shared]
        frames = [group(PlanePositionSequence=dict(ImagePositionPatient=[-5, 7, z])) for z in zs]
        if not shared_scale:
            for frame in frames:
                frame.PixelValueTransformationSequence = [group(**scale)]
        image.PerFrameFunctionalGroupsSequence = frames
        return image

    @pytest.mark.parametrize("shared_scale", [True, False])
    def test_frames_in_the_order_of_their_positions(self, tmp_path, shared_scale):
        image = self.enhanced([16.0, 10.0, 13.0, 19.0], shared_scale)
        series = read_series(save(tmp_path, [image]))
        np.testing.assert_array_equal(series.volume.array[:, 5, 3], [10, 13, 16, 19])
        assert series.identity.frame_numbers == (2, 3, 1, 4)
        assert series.identity.sop_instance_uids == (image.SOPInstanceUID,) * 4
        assert series.volume.grid.spacing_mm == (3.0, 2.0, 1.0)
        assert find_series(tmp_path)[0].images == 4

    def test_a_frame_without_position_is_named(self, tmp_path):
        image = self.enhanced([10.0, 13.0, 16.0])
        del image.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
        with pytest.raises(ScanRefused, match=r"PlanePositionSequence is missing .*frame 2"):
            read_series(save(tmp_path, [image]))


def group(**values):
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, [group(**value)] if isinstance(value, dict) else value)
    return out


def test_real_scan(real_planning):
    series = read_series(real_planning)
    assert series.volume.grid.size == (163, 512, 512)
    assert series.volume.grid.spacing_mm == pytest.approx((3.0, 1.0, 1.0))
    assert series.volume.grid.origin_mm == pytest.approx((-256.0859375, -142.38594055175, 60.5999755859375))
    assert series.notes == ()
    k = 85  # a slice read by pydicom itself
    path = next(p for p in real_planning.glob(f"*{series.identity.sop_instance_uids[k].rsplit('.', 1)[1]}.dcm"))
    image = pydicom.dcmread(path)
    np.testing.assert_array_equal(series.volume.array[k], image.pixel_array.astype(np.float32) - 1024)
    assert series.planes[k].origin_mm[2] == pytest.approx(float(image.ImagePositionPatient[2]))
