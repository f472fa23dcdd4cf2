"""What the viewer packs: read back with Pillow, zlib and contourpy, and held to balls whose truth is known."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image

from recontour.errors import UsageError
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.report.packing import Packed, codes_of_hu, hu_of_codes, pack_lattice, pack_scan, quality_for
from recontour.qa.report.viewer import (
    SCAN_BYTES,
    pack_distance,
    pack_dose,
    pack_field,
    pack_jacobian,
    pack_shape,
    pack_viewer,
)
from tests.qa.made_fraction import BALLS, REGION, ball, fraction, without_field


def unpacked(packed: Packed | None) -> NDArray[np.float64]:
    """The values of a lattice, as the docstring of pack_lattice says that they are written."""
    assert packed is not None
    facts = packed.facts
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed.texts[facts["text"]])), np.uint8)
    steps = raw.astype(np.int64)
    if facts["kind"] == "i2":
        steps = steps[: len(raw) // 2] + 256 * steps[len(raw) // 2 :]
    bits = 16 if facts["kind"] == "i2" else 8
    whole = np.cumsum(steps.reshape(facts["size"]), axis=-1) % 2**bits
    if facts["kind"] != "u1":
        whole = np.where(whole >= 2 ** (bits - 1), whole - 2**bits, whole)
    return whole * facts["scale"]


def seen(packed: Packed) -> NDArray[np.float64]:
    """HU of a scan as another reader of JPEG sees them."""
    rows, columns = packed.facts["padded"]
    depth, high, wide = packed.facts["size"]
    parts: list[NDArray[Any]] = []
    for picture in packed.facts["pictures"]:
        codes = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed.texts[picture["text"]]))))
        assert abs(codes.mean() - picture["mean"]) < 0.5
        parts.append(codes.reshape(-1, rows, columns)[:, :high, :wide])
    codes = np.concatenate(parts)
    assert codes.shape == (depth, high, wide)
    return hu_of_codes(codes)


@pytest.mark.parametrize(
    ("low", "high", "bound"),
    # half a step: 824 HU over 38 codes, 500 over 167, 1700 over 50; and half a HU for whole numbers
    [(-1024, -200, 824 / 38 / 2 + 0.5), (-200, 300, 500 / 167 / 2 + 0.5), (300, 2000, 1700 / 50 / 2 + 0.5)],
)
def test_a_code_stands_for_its_hu_to_half_a_step(low: float, high: float, bound: float) -> None:
    hu = np.linspace(low, high, 4001, dtype=np.float32)
    error = np.abs(hu_of_codes(codes_of_hu(hu)) - hu)
    assert error.max() <= bound and error.max() > 0.8 * (bound - 0.5)


def test_hu_beyond_the_codes_are_the_nearest_and_nothing_is_air() -> None:
    hu = np.array([-3000.0, 9000.0, np.nan, np.inf, -np.inf], np.float32)
    assert hu_of_codes(codes_of_hu(hu)).tolist() == [-1024, 2000, -1024, 2000, -1024]


def test_a_scan_keeps_its_slices_apart_and_in_place() -> None:
    # every slice is uniform but for a corner, and unlike its neighbours; 21 slices of 13 x 22: nothing divides evenly
    depth, high, wide = 21, 13, 22
    levels = np.random.default_rng(2).permutation(np.linspace(-100, 250, depth)).astype(np.float32)
    hu = np.repeat(levels, high * wide).reshape(depth, high, wide)
    hu[:, :4, 10:] -= 40.0
    packed = pack_scan("s", hu, 90)
    assert [part["text"] for part in packed.facts["pictures"]] == ["s-0", "s-1"]
    error = np.abs(seen(packed) - hu)
    assert error.max() < 20, "ringing of one block, and none from the slice above"
    assert np.abs(seen(packed)[:, 8:, :8] - hu[:, 8:, :8]).max() < 4, "a uniform block is uniform"


def test_a_noisy_scan_is_made_to_fit() -> None:
    noise = np.random.default_rng(3).normal(40, 120, (32, 64, 64)).astype(np.float32)
    sizes = [len("".join(pack_scan("s", noise, quality).texts.values())) for quality in (85, 60)]
    assert quality_for(noise, 1.05 * sizes[0]) == 85
    assert quality_for(noise, 1.05 * sizes[1]) == 60
    assert quality_for(noise, 1.0) == 40


def test_a_scan_of_clinical_size_stays_within_its_share_of_the_page() -> None:
    slices = np.random.default_rng(5).normal(40, 25, (8, 260, 300)).astype(np.float32)  # HU: a noisy scanner
    scan = np.tile(slices, (25, 1, 1))
    packed = pack_scan("s", scan, quality_for(scan, SCAN_BYTES))
    assert 0.5 * SCAN_BYTES < sum(map(len, packed.texts.values())) < 1.05 * SCAN_BYTES
    assert 3 * 1.05 * SCAN_BYTES < 12e6, "which leaves 3 MB for contours, maps and dose"


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_lattices_come_back_bit_for_bit(kind: str) -> None:
    bounds = np.iinfo(kind)
    values = np.random.default_rng(1).integers(bounds.min, bounds.max + 1, (3, 4, 5)).astype(kind)
    values[0, 0, :2] = bounds.min, bounds.max
    assert (unpacked(pack_lattice("x", values, 1.0, (0, 0, 0), 1)) == values).all()


def test_contours_cut_from_a_packed_shape_are_the_balls() -> None:
    for name, (planned, daily, radius_then, radius_now, _, _) in BALLS.items():
        for centre, radius in ((planned, radius_then), (daily, radius_now)):
            packed = pack_shape("s", ball(centre, radius), REGION)
            assert packed is not None
            distance, first = unpacked(packed), np.array(packed.facts["first"])
            assert np.abs(distance).max() <= 127 * 0.025
            for axis in range(3):
                middle = REGION.index_at(centre)
                index = round(middle[axis]) + 2
                circle = np.sqrt(radius**2 - ((index - middle[axis]) * 1.0) ** 2)
                flat = np.take(distance, index - first[axis], axis=axis)
                lines = contour_generator(z=flat).lines(0.0)
                assert len(lines) == 1, (name, axis)
                others = [k for k in range(3) if k != axis]
                points = np.asarray(lines[0])[:, ::-1] + first[others] - middle[others]
                assert np.abs(np.hypot(*points.T) - circle).max() < 0.1, (name, axis)  # mm; 0.3 is asked for


def test_a_shape_that_is_lost_is_none_and_one_off_the_voxels_is_refused() -> None:
    lost = LevelSet(REGION, np.full(REGION.size, -1.0, np.float32))
    assert pack_shape("s", lost, REGION) is None
    beside = Grid.of(REGION.size, REGION.spacing_mm, np.add(REGION.origin_mm, 0.5))
    with pytest.raises(UsageError):
        pack_shape("s", ball((0, 5, 118), 8.0, beside), REGION)


@pytest.mark.parametrize("number", [0, 1])
def test_distances_to_the_planned_surface_carry_their_sign(number: int) -> None:
    picture = fraction().rois[number]
    then, _, radius, _, _, _ = BALLS[picture.record.name]
    packed = pack_distance("d", picture, REGION)
    assert packed is not None and packed.facts["step"] == 2
    got = unpacked(packed)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in got.shape), indexing="ij"), -1) * 2 + packed.facts["first"]
    points = REGION.points_at(index)
    truth = np.linalg.norm(points - then, axis=-1) - radius  # outside the planned ball is positive
    known = got > -12.75
    assert np.abs(got - truth)[known].max() < 0.2
    near = np.abs(np.linalg.norm(points - BALLS[picture.record.name][1], axis=-1) - BALLS[picture.record.name][3]) < 3.5
    assert known[near].all() and not known.all(), "all corners of the cells that the surface crosses"


def test_distances_need_both_shapes() -> None:
    picture = fraction().rois[0]
    lost = replace(picture.daily, array=np.full_like(picture.daily.array, -1.0))
    assert pack_distance("d", replace(picture, daily=lost), REGION) is None
    assert pack_distance("d", replace(picture, planned=lost), REGION) is None


def test_the_field_comes_back_at_every_fourth_voxel() -> None:
    points = REGION.points()
    linear = np.stack([0.05 * points[..., 2], -0.03 * points[..., 0], 0.01 * points[..., 1]]).astype(np.float32)
    packed = pack_field(Field(REGION, linear))
    got = unpacked(packed)
    assert got.shape == (3, 15, 18, 20)
    assert np.abs(got - linear[:, ::4, ::4, ::4]).max() <= 0.025 + 1e-6


def test_the_jacobian_of_a_stretch_and_of_a_fold() -> None:
    points = REGION.points()
    # u = (0.25 x, 0, -0.2 z): determinant 1.25 * 0.8 = 1; with u_y = y as well it doubles: log2 = 1
    doubled = np.stack([0.25 * points[..., 0], points[..., 1], -0.2 * points[..., 2]]).astype(np.float32)
    assert np.abs(unpacked(pack_jacobian(Field(REGION, doubled))) - 1.0).max() <= 0.02
    # u_x = -2 x turns the x axis round beyond x = 10: determinant -1, marked as folded there and nowhere else
    turned = np.zeros((3, *REGION.size), np.float32)
    turned[0] = np.where(points[..., 0] > 10, -2 * (points[..., 0] - 10), 0.0)
    got = unpacked(pack_jacobian(Field(REGION, turned)))
    x = REGION.points()[::4, ::4, ::4, 0]
    folded = np.isclose(got, -128 * 0.03)
    assert folded[x > 12].all() and not folded[x < 4].any()


def test_a_small_fold_is_not_lost_between_the_voxels_kept() -> None:
    bumped = np.zeros((3, *REGION.size), np.float32)
    bumped[2, 30:34, 34:37, 38:41] = np.array([0.0, 6.0, -6.0, 0.0])[:, None, None]
    assert (np.isclose(unpacked(pack_jacobian(Field(REGION, bumped))), -128 * 0.03)).any()


def test_dose_is_kept_to_a_hundredth_gray() -> None:
    gy = np.clip(70 - 2 * np.abs(REGION.points()[..., 1]), 0, None).astype(np.float32)
    gy[0, 0, 0] = np.nan
    got = unpacked(pack_dose(Volume(REGION, gy)))
    assert np.abs(got - np.nan_to_num(gy)[::2, ::2, ::2]).max() <= 0.0101


def test_everything_has_a_text_of_its_own() -> None:
    packed = pack_viewer(fraction())
    spoken: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            spoken.extend([value["text"]] if isinstance(value.get("text"), str) else [])
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(packed.facts)
    assert sorted(spoken) == sorted(packed.texts) and len(spoken) == len(set(spoken))
    assert pack_viewer(without_field()).facts["field"] is None
