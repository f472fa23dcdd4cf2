"""Moves a scan, a phantom's or a real one, by a motion that is known exactly.

The daily image is I_daily(y) = I_planning(T(y)) with T(y) = A(y + u(y)): A rigid, `affine_daily_to_planning`, the
patient's set-up and the daily scanner's own frame; u, `field_daily_to_planning`, what the soft tissue does: bladder and
rectum filling, the prostate shifting and turning with them, a smooth few millimetres everywhere else, and nothing in
bone. The image and the contours are warped by the same trilinear u, so the truth is exact whatever made it. Gas,
stool and urine change in the planning image before it is warped, the scanner's doing comes after: the truth knows of
neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.affine import Affine
from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.resample import resample_level_set, resample_volume, sample
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom.body import CONTRAST_SHARE, CUT_SHARE
from recontour.phantom.contents import Urine, refill, refill_bladder
from recontour.phantom.flow import Floats, displace, flow_for_unit_time, knot_axes, random_flow, rigid_flow, source_flow
from recontour.phantom.metal import metal_streaks, throws_far
from recontour.phantom.noise import noise_level_hu, without_noise
from recontour.phantom.scanner import MEDIUM_BLUR_MM, MEDIUM_PER_MM, Scanner, as_scanned

Array = NDArray[np.float32]

KNOTS_MM = 4.0
REACH_MM = 80.0  # how far from the organs soft tissue still moves
_STATIONS = 5  # along the rectum, from its lower to its upper end
_LEAST_JACOBIAN = 0.15
_STIFFNESS = 0.85  # of the prostate: how much of its motion is rigid

ORGANS = ("bladder", "rectum", "prostate", "seminal_vesicles")
_NAMES = {"Bladder": "bladder", "Rectum": "rectum", "Prostate": "prostate", "SeminalVes": "seminal_vesicles"}


@dataclass(frozen=True)
class Motion:
    """What happened between two days. Lengths in mm, angles in degrees about LPS x, y, z.

    shift_mm, rotation_deg: the patient's set-up, about the middle of the planning scan.
    frame_offset_mm: where the daily frame of reference puts its origin; no motion, but it sits in the affine.
    bladder_factor: daily over planning volume, kept between 40 and 600 ml.
    rectum_log_change: log of the local volume change of the rectum at stations from its lower to its upper end.
    prostate_shift_mm, prostate_rotation_deg: of the prostate beyond what its neighbours push it.
    vesicle_shift_mm: of the seminal vesicles, beyond that.
    background_mm: standard deviation of the smooth motion of all soft tissue, per component.
    gas_goes, gas_pockets: whether rectal gas is gone, and how many pockets are new.
    urine: what the bladder holds instead of what it held; None leaves it.
    hu_scale, noise: factor on (HU + 1000), and the daily noise relative to the planning scan's.
    hu_offset, kernel_per_mm, overshoot, slice_mm, starvation: of the daily scanner, as in `Scanner`.
    fov_share: diameter of the daily field of view over the body's width; below 1 it cuts the body.
    """

    seed: int = 0
    shift_mm: Triple = (0.0, 0.0, 0.0)
    rotation_deg: Triple = (0.0, 0.0, 0.0)
    frame_offset_mm: Triple = (0.0, 0.0, 0.0)
    bladder_factor: float = 1.0
    rectum_log_change: tuple[float, ...] = (0.0,) * _STATIONS
    prostate_shift_mm: Triple = (0.0, 0.0, 0.0)
    prostate_rotation_deg: Triple = (0.0, 0.0, 0.0)
    vesicle_shift_mm: Triple = (0.0, 0.0, 0.0)
    background_mm: float = 0.0
    gas_goes: bool = False
    gas_pockets: int = 0
    hu_scale: float = 1.0
    noise: float = 1.0
    urine: Urine | None = None
    hu_offset: float = 0.0
    kernel_per_mm: float = MEDIUM_PER_MM
    overshoot: float = 0.0
    slice_mm: float = 0.0
    starvation: float = 0.0
    fov_share: float = math.inf

    @staticmethod
    def draw(seed: int, severity: float = 1.0, frame_offset_mm: float = 0.0) -> Motion:
        """A day. `severity` scales all motion; 1 is what clinics report: bladder mostly 0.5 to 2 times, in one
        day of eight up to 3.5 times, prostate 1 to 3 mm standard deviation, most of it front-back and up-down (Langen
        and Jones, IJROBP 2001). `frame_offset_mm`: the largest offset of the daily frame along each axis."""
        rng = np.random.default_rng((seed, 1))
        s = severity
        gas = int(rng.choice(4, p=(0.3, 0.3, 0.25, 0.15)))
        of_scanner = Scanner.draw(rng, float(rng.choice((1.0, 2.0, 2.5, 3.0, 5.0))))
        return Motion(
            seed=seed,
            shift_mm=_drawn(rng, (6.0, 5.0, 6.0), s, 20.0),
            rotation_deg=_drawn(rng, (1.2, 0.8, 1.2), s, 4.0),
            frame_offset_mm=_triple(rng.uniform(-1, 1, 3) * frame_offset_mm),
            bladder_factor=_bladder_change(rng, s),
            rectum_log_change=_station_changes(rng, s),
            prostate_shift_mm=_drawn(rng, (0.8, 2.0, 1.8), s, 8.0),
            prostate_rotation_deg=_drawn(rng, (3.5, 1.0, 1.0), s, 12.0),
            vesicle_shift_mm=_drawn(rng, (0.7, 2.0, 1.2), s, 6.0),
            background_mm=float(rng.uniform(0.6, 1.6) * s),
            gas_goes=bool(rng.random() < 0.6),
            gas_pockets=gas,
            hu_scale=of_scanner.hu_scale,
            noise=float(rng.uniform(0.7, 1.5)),
            urine=Urine.draw(rng, CONTRAST_SHARE) if rng.random() < 0.5 else None,
            hu_offset=of_scanner.hu_offset,
            kernel_per_mm=of_scanner.kernel_per_mm,
            overshoot=of_scanner.overshoot,
            slice_mm=of_scanner.slice_mm,
            starvation=of_scanner.starvation,
            fov_share=float(rng.uniform(0.82, 0.96)) if rng.random() < CUT_SHARE else math.inf,
        )

    def scanner(self, body_mm: float) -> Scanner:
        """The daily one; `body_mm`: the body's width."""
        facts = (self.kernel_per_mm, self.overshoot, self.slice_mm, self.hu_scale, self.hu_offset, self.starvation)
        scanner = Scanner(*facts)
        return scanner.cut_to(self.fov_share * body_mm) if self.fov_share < math.inf else scanner

    def without_frame_offset(self) -> Motion:
        """The same day in the planning scan's own frame."""
        return replace(self, frame_offset_mm=(0.0, 0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Movable:
    """A planning scan made ready to be moved often: what depends on the scan alone.

    knots: the lattice of the velocity, LPS-axial. mobility (D, H, W) of it: 0 in bone, air and at the rim, 1 in free
    soft tissue. distance: organ -> signed distance in mm on `knots`, positive inside. held_mm: the blur that the scan
    holds already, 0 for a made one without a scanner's doing.
    """

    volume: Volume
    level_sets: Mapping[str, LevelSet]
    organs: Mapping[str, str]
    knots: Grid
    mobility: Array
    distance: Mapping[str, Array]
    noise_hu: float
    held_mm: float = MEDIUM_BLUR_MM


@dataclass(frozen=True, eq=False)
class MovedScan:
    """The daily scan and the truth about it. Daily voxel y shows planning point A(y + u(y))."""

    volume: Volume
    level_sets: dict[str, LevelSet]
    affine_daily_to_planning: Affine
    field_daily_to_planning: Field
    motion: Motion = field(default_factory=Motion)


def move(
    volume: Volume,
    level_sets: Mapping[str, LevelSet],
    motion: Motion,
    target: Grid | None = None,
    organs: Mapping[str, str] | None = None,
    noise_hu: float | None = None,
) -> MovedScan:
    """The planning scan as it would look on another day, with its contours.

    target: the daily grid, in the daily frame; by default the planning grid, moved by the frame's offset.
    organs: organ (see ORGANS) -> key of `level_sets`; by default keys that are such an organ or its TG-263 name.
    noise_hu: the planning scan's noise if it is known; 0 says that it holds none, which leaves the daily scan none
    either. By default it is measured, and shrunk away before moving.

    To move one scan often, `prepare` it once and call `move_prepared`. Raises nothing of its own.
    """
    return move_prepared(prepare(volume, level_sets, organs, noise_hu), motion, target)


def prepare(
    volume: Volume,
    level_sets: Mapping[str, LevelSet],
    organs: Mapping[str, str] | None = None,
    noise_hu: float | None = None,
    clean: bool = False,
) -> Movable:
    """What `move` needs of a scan whatever the motion. `clean`: the scan shows what is there and nothing of a
    scanner, no noise, blur or streaks; `noise_hu` is then what a daily scan gets."""
    known = organs if organs is not None else _organs_in(level_sets)
    level = noise_level_hu(volume) if noise_hu is None else noise_hu
    knots = _knots(volume.grid, [level_sets[name] for name in known.values()])
    distance = {organ: _signed_distance(level_sets[name], knots) for organ, name in known.items()}
    mobility = _mobility(volume, knots, distance)
    still = volume if clean else without_noise(volume, level)
    return Movable(still, level_sets, known, knots, mobility, distance, level, 0.0 if clean else MEDIUM_BLUR_MM)


def move_prepared(scan: Movable, motion: Motion, target: Grid | None = None) -> MovedScan:
    """As `move`, of a scan that `prepare` has seen."""
    daily = target or _in_daily_frame(scan.volume.grid, motion)
    affine, truth = daily_to_planning(scan, motion)
    shapes = {name: _shape(shape, affine, truth) for name, shape in scan.level_sets.items()}
    return MovedScan(daily_scan(scan, motion, daily, affine, truth), shapes, affine, truth, motion)


def daily_scan(scan: Movable, motion: Motion, daily: Grid, affine: Affine, truth: Field) -> Volume:
    """The scan of a day on the grid `daily`, by the truth that `daily_to_planning` gives."""
    rng = np.random.default_rng((motion.seed, 2))
    image = _image(with_contents(scan, motion, rng), daily, affine, truth)
    return as_pictured(scan, motion, Volume(daily, image), affine, rng)


def daily_to_planning(scan: Movable, motion: Motion) -> tuple[Affine, Field]:
    """The truth of a day: A, and u on a lattice of 3 mm in the daily frame that holds all that moves."""
    affine = set_up(scan.volume.grid, motion)
    return affine, _truth(scan, motion, affine)


def with_contents(scan: Movable, motion: Motion, rng: np.random.Generator) -> Volume:
    """The planning scan, not yet moved, with what rectum and bladder hold on the day."""
    volume = scan.volume
    if "rectum" in scan.organs and (motion.gas_goes or motion.gas_pockets):
        rectum = scan.level_sets[scan.organs["rectum"]]
        volume = refill(volume, rectum, rng, gas_goes=motion.gas_goes, pockets=motion.gas_pockets)
    if "bladder" in scan.organs and motion.urine is not None:
        volume = refill_bladder(volume, scan.level_sets[scan.organs["bladder"]], motion.urine)
    return volume


def as_pictured(scan: Movable, motion: Motion, image: Volume, affine: Affine, rng: np.random.Generator) -> Volume:
    """`image`, the moved anatomy on a daily grid, as the day's scanner shows it: with the streaks of metal where the
    scan is a made one, kernel, slice thickness, calibration, noise and field of view."""
    if scan.held_mm == 0.0:
        image = _with_streaks(scan.volume, image, affine, rng)
    scanner = motion.scanner(_width_mm(scan.volume) if motion.fov_share < math.inf else math.inf)
    return as_scanned(image, scanner, motion.noise * scan.noise_hu, rng, scan.held_mm)


def _with_streaks(planning: Volume, image: Volume, affine: Affine, rng: np.random.Generator) -> Volume:
    """Prostheses are rigid, and throw their streaks over grids that do not hold them; markers move with the organ."""
    far = throws_far(planning)
    streaks = metal_streaks(planning if far else image, rng)
    if streaks is None:
        return image
    there = resample_volume(streaks, image.grid, affine, fill_hu=0.0) if far else streaks
    return Volume(image.grid, image.array + there.array)


def _width_mm(volume: Volume) -> float:
    """Of the body: over all columns of the middle slices with more tissue than a couch has."""
    middle = volume.array[len(volume.array) // 2]
    thick = (middle > -300.0).sum(axis=0) * volume.grid.spacing_mm[1] > 50.0
    return float(thick.sum()) * volume.grid.spacing_mm[2]


def set_up(grid: Grid, motion: Motion) -> Affine:
    """`affine_daily_to_planning`: the patient turned about the middle of `grid`, shifted, seen in another frame."""
    low, high = grid.bounds_mm()
    turned = Affine.rotation(motion.rotation_deg, (low + high) / 2)
    shift = Affine.shift(np.add(motion.shift_mm, motion.frame_offset_mm))
    return shift.after(turned).inverse()


def planning_displacement(scan: Movable, motion: Motion) -> Array:
    """(3, D, H, W) on `scan.knots`, mm: the soft tissue at planning point p of the daily anatomy (set-up taken away)
    was at p + w(p) on the planning scan. Scaled down where it would squeeze tissue to less than a seventh."""
    velocity = _velocity(scan, motion)
    backward = flow_for_unit_time(-velocity, KNOTS_MM)
    while jacobian_determinant(Field(scan.knots, backward)).min() < _LEAST_JACOBIAN:
        velocity = velocity * np.float32(0.8)
        backward = flow_for_unit_time(-velocity, KNOTS_MM)
    return backward


def _drawn(rng: np.random.Generator, sd: Triple, severity: float, limit: float) -> Triple:
    return _triple(np.clip(rng.normal(size=3) * sd * severity, -limit, limit))


def _bladder_change(rng: np.random.Generator, severity: float) -> float:
    spread = 0.95 if rng.random() < 0.125 else 0.42
    return float(np.exp(np.clip(rng.normal(0.0, spread), -1.25, 1.25) * severity))


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _station_changes(rng: np.random.Generator, severity: float) -> tuple[float, ...]:
    """Stool moves on: neighbouring stations change alike, distant ones need not. On one day of eight the rectum is
    emptied or filled as a whole."""
    whole = rng.normal(0.0, 0.9 if rng.random() < 0.125 else 0.25)
    steps = whole + np.cumsum(rng.normal(0.0, 0.28, _STATIONS)) - rng.normal(0.0, 0.2)
    return tuple(float(v) for v in np.clip(steps, -1.6, 1.6) * severity)


def _organs_in(level_sets: Mapping[str, LevelSet]) -> dict[str, str]:
    return {_NAMES.get(key, key): key for key in level_sets if _NAMES.get(key, key) in ORGANS}


def _in_daily_frame(grid: Grid, motion: Motion) -> Grid:
    return replace(grid, origin_mm=_triple(np.add(grid.origin_mm, motion.frame_offset_mm)))


def _knots(grid: Grid, organs: list[LevelSet]) -> Grid:
    """The region that moves: the organs and 80 mm around them, or the whole scan where no organ is known."""
    low, high = grid.bounds_mm()
    if organs:
        boxes = [shape.grid.bounds_mm() for shape in organs]
        low = np.maximum(low, np.min([b[0] for b in boxes], axis=0) - REACH_MM)
        high = np.minimum(high, np.max([b[1] for b in boxes], axis=0) + REACH_MM)
    return Grid.around(low, np.maximum(high, low + 2 * KNOTS_MM), KNOTS_MM)


def _signed_distance(shape: LevelSet, knots: Grid) -> Array:
    """True distances, beyond the level set's band, at the knots."""
    from scipy.ndimage import distance_transform_edt

    near = resample_level_set(shape, knots).array
    inside = near > 0
    if not inside.any():
        return np.full(knots.size, -1e3, np.float32)
    far = np.asarray(distance_transform_edt(inside)) - np.asarray(distance_transform_edt(~inside))
    return np.where(np.abs(near) < KNOTS_MM, near, far * KNOTS_MM).astype(np.float32)


def _mobility(volume: Volume, knots: Grid, distance: Mapping[str, Array]) -> Array:
    """0 within a knot of bone, rising over 10 mm; 0 at the skin, outside the body and at the rim of the lattice."""
    from scipy.ndimage import distance_transform_edt

    fine = knots.with_spacing(3.0)
    hu = resample_volume(volume, fine).array
    bone = _bone(hu)
    for shape in distance.values():
        bone &= sample(shape, knots, fine.points(), -1e3) < -2.0  # stones, contrast and markers move with the organ
    to_bone = np.asarray(distance_transform_edt(~bone, 3.0)) if bone.any() else np.full(fine.size, 1e3)
    to_skin = np.asarray(distance_transform_edt(np.pad(_body(hu), 1), 3.0))[1:-1, 1:-1, 1:-1]
    free = _rise((to_bone - KNOTS_MM) / 10.0) * _rise((to_skin - 3.0) / 15.0)
    at_knots = sample(free.astype(np.float32), fine, knots.points(), 0.0)
    return (at_knots * _rim(knots)).astype(np.float32)


def _bone(hu: Array) -> NDArray[np.bool_]:
    """Bone with its marrow, without vessel walls, stones and markers, on a 3 mm lattice."""
    from scipy.ndimage import binary_closing, binary_fill_holes, label

    hard = np.pad(hu > 170.0, 2)
    closed = np.asarray(binary_closing(hard, iterations=2))[2:-2, 2:-2, 2:-2]
    for plane in closed:
        plane[...] = binary_fill_holes(plane)
    parts, count = label(closed)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(np.asarray(parts).ravel(), minlength=int(count) + 1)
    sizes[0] = 0
    return (sizes >= 60)[np.asarray(parts)]  # 60 x 27 mm3 = 1.6 ml


def _body(hu: Array) -> NDArray[np.bool_]:
    """The patient without the couch; gas inside belongs to him. All of it where that finds nothing."""
    from scipy.ndimage import binary_fill_holes, binary_opening, label

    parts, count = label(binary_opening(hu > -300.0))  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return np.ones(hu.shape, bool)
    sizes = np.bincount(np.asarray(parts).ravel())
    sizes[0] = 0
    body = np.asarray(parts) == int(sizes.argmax())
    for plane in body:
        plane[...] = binary_fill_holes(plane)
    return body


def _rise(t: Floats) -> Floats:
    """0 below 0, 1 above 1, with two continuous derivatives."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * t * (t * (6 * t - 15) + 10)


def _rim(knots: Grid) -> Floats:
    """0 on the outermost knots, 1 from 20 mm inside."""
    out = np.ones(knots.size)
    for axis, count in enumerate(knots.size):
        k = np.arange(count)
        shape = [1, 1, 1]
        shape[axis] = -1
        out *= _rise(np.minimum(k, count - 1 - k) * KNOTS_MM / 20.0).reshape(shape)
    return out


def _velocity(scan: Movable, motion: Motion) -> Array:
    rng = np.random.default_rng((motion.seed, 3))
    velocity = random_flow(scan.knots, rng, motion.background_mm)
    velocity += _rectum_flow(scan, motion)
    velocity += _gland_flow(scan, motion)
    velocity = _with_stiff_gland(scan, (velocity * scan.mobility).astype(np.float32))
    return velocity + _bladder_flow(scan, motion, velocity)


def _gland_flow(scan: Movable, motion: Motion) -> Array:
    """Prostate and vesicles as bodies of their own, dragging 25 mm of tissue around them."""
    out = np.zeros((3, *scan.knots.size), np.float32)
    moves = {
        "prostate": (motion.prostate_shift_mm, motion.prostate_rotation_deg),
        "seminal_vesicles": (motion.vesicle_shift_mm, (0.0, 0.0, 0.0)),
    }
    for organ, (shift, rotation) in moves.items():
        if organ in scan.distance and (scan.distance[organ] > 0).any():
            window = _rise(1.0 + scan.distance[organ] / 25.0)
            out += rigid_flow(scan.knots, _centre(scan, organ), shift, rotation) * window.astype(np.float32)
    return out


def _centre(scan: Movable, organ: str) -> NDArray[np.float64]:
    return scan.knots.points_at(np.argwhere(scan.distance[organ] > 0).mean(axis=0))


def _rectum_flow(scan: Movable, motion: Motion) -> Array:
    if "rectum" not in scan.distance or not any(motion.rectum_log_change):
        return np.zeros((3, *scan.knots.size), np.float32)
    share = _share(scan.distance["rectum"])
    planes = [k for k, plane in enumerate(share) if (plane > 0.5).any()]
    if not planes:
        return np.zeros((3, *scan.knots.size), np.float32)
    stations = np.linspace(float(planes[0]), float(planes[-1]), len(motion.rectum_log_change))
    heights = np.arange(share.shape[0], dtype=np.float64)
    change = np.asarray(np.interp(heights, stations, motion.rectum_log_change), np.float32)
    return source_flow(share * change[:, None, None], KNOTS_MM)


def _bladder_flow(scan: Movable, motion: Motion, other: Array) -> Array:
    """Filling or emptying, with the strength that gives `bladder_factor` in the presence of the `other` motion."""
    if "bladder" not in scan.distance or not (scan.distance["bladder"] > 0).any():
        return np.zeros_like(other)
    wanted = _wanted_factor(scan, motion)
    unit = source_flow(_bladder_source(scan), KNOTS_MM)
    unit = _with_stiff_gland(scan, (unit * scan.mobility * _anchored(scan)).astype(np.float32))
    strength, low, high = float(np.log(wanted)), -3.0, 3.0
    for _ in range(4):
        ratio = _bladder_ratio(scan, other + (unit * strength).astype(np.float32))
        strength = float(np.clip(strength + 1.2 * np.log(wanted / ratio), low, high))
    return unit * np.float32(strength)


def _wanted_factor(scan: Movable, motion: Motion) -> float:
    volume_ml = scan.level_sets[scan.organs["bladder"]].volume_ml
    low, high = min(40.0 / volume_ml, 1.0), max(600.0 / volume_ml, 1.0)
    return float(np.clip(motion.bladder_factor, low, high))


def _bladder_source(scan: Movable) -> Array:
    """What flows out of the bladder goes mostly up, where the bowel makes room: half of the sink lies there."""
    share = _share(scan.distance["bladder"])
    x, y, z = knot_axes(scan.knots)
    top = scan.knots.points_at(np.argwhere(share > 0.5).max(axis=0))[2] if (share > 0.5).any() else 0.0
    cx, cy, _ = _centre(scan, "bladder")
    sink = np.exp(-0.5 * (((x - cx) / 35) ** 2 + ((y - cy) / 35) ** 2 + ((z - top - 45) / 25) ** 2))
    return (share - 0.5 * float(share.sum()) / float(sink.sum()) * sink).astype(np.float32)


def _with_stiff_gland(scan: Movable, velocity: Array) -> Array:
    """The prostate is firmer than what surrounds it: it follows, for the most part, the rigid motion that comes
    closest to `velocity` within it. Linear in `velocity`."""
    if "prostate" not in scan.distance or not (scan.distance["prostate"] > 0).any():
        return velocity
    inside = scan.distance["prostate"] > 0
    centre = _centre(scan, "prostate")
    arm = scan.knots.points_at(np.argwhere(inside)) - centre  # (N, 3)
    speed = velocity[:, inside].T.astype(np.float64)
    inertia = (arm**2).sum() * np.eye(3) - arm.T @ arm
    torque = np.asarray(np.cross(arm, speed), np.float64).sum(axis=0)
    turn = np.asarray(np.linalg.solve(inertia + 1e-3 * np.eye(3), torque), np.float64)
    rigid = rigid_flow(scan.knots, centre, speed.mean(axis=0), np.rad2deg(turn))
    share = _STIFFNESS * _rise(1.0 + scan.distance["prostate"] / 12.0) * np.clip(3.0 * scan.mobility, 0.0, 1.0)
    return (velocity + share * (rigid - velocity)).astype(np.float32)


def _anchored(scan: Movable) -> Array:
    """The prostate hangs on the pelvic floor and follows the bladder's filling only in part."""
    if "prostate" not in scan.distance:
        return np.ones(scan.knots.size, np.float32)
    return (1.0 - 0.6 * _rise(1.0 + scan.distance["prostate"] / 20.0)).astype(np.float32)


def _bladder_ratio(scan: Movable, velocity: Array) -> float:
    """The bladder's daily over its planning volume under `velocity`, on the knots around it."""
    distance = scan.distance["bladder"]
    inside = np.argwhere(distance > 0)
    low = np.maximum(inside.min(axis=0) - 8, 0)
    part = tuple(slice(int(a), int(b) + 9) for a, b in zip(low, inside.max(axis=0), strict=True))
    backward = flow_for_unit_time(-velocity[(slice(None), *part)], KNOTS_MM)
    grid = Grid.of(backward.shape[1:], [KNOTS_MM] * 3, scan.knots.points_at(low))
    moved = sample(distance, scan.knots, grid.points() + np.moveaxis(backward, 0, -1), -1e3)
    # The level set's slope changes with the volume, so that its surface shares are taken after rescaling.
    return float(_share(moved).sum() / _share(distance).sum())


def _share(distance: Array) -> Array:
    """The part of each knot's cell that lies inside, from the distance at its centre."""
    return np.clip(distance / KNOTS_MM + 0.5, 0.0, 1.0).astype(np.float32)


def _truth(scan: Movable, motion: Motion, affine: Affine) -> Field:
    """u on an LPS-axial lattice of the daily frame that holds all that moves: u(y) = A^-1 rotation of w(A y)."""
    backward = planning_displacement(scan, motion)
    corners = affine.inverse().apply(scan.knots.corners_mm())
    grid = Grid.around(corners.min(axis=0), corners.max(axis=0) + KNOTS_MM, KNOTS_MM * 0.75)
    moved = displace(scan.knots, backward, grid, affine)
    turn_back = np.linalg.inv(affine.matrix[:3, :3])
    return Field(grid, np.einsum("ij,j...->i...", turn_back, moved).astype(np.float32))


def _image(volume: Volume, daily: Grid, affine: Affine, truth: Field) -> Array:
    """The scan on the daily grid: by the affine alone where nothing else moves, which is faster."""
    index = daily.index_at(truth.grid.corners_mm())
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, daily.size)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, daily.size)
    out = np.array(resample_volume(volume, daily, affine).array)
    if (high > low).all():
        box = daily.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        out[part] = resample_volume(volume, box, affine, truth).array
    return out


def _shape(shape: LevelSet, affine: Affine, truth: Field) -> LevelSet:
    """The organ on its own lattice in the daily frame: 1 mm, or 2 mm for what is larger than two litres."""
    corners = affine.inverse().apply(shape.grid.corners_mm())
    low, high = corners.min(axis=0) - 12.0, corners.max(axis=0) + 12.0
    spacing = 1.0 if np.prod(high - low) < 6e6 else 2.0
    return _tight(resample_level_set(shape, Grid.around(low, high, spacing), affine, truth))


def _tight(shape: LevelSet, margin: int = 4) -> LevelSet:
    inside = np.argwhere(shape.array > 0)
    if not len(inside):
        return shape
    low = np.maximum(inside.min(axis=0) - margin, 0)
    high = np.minimum(inside.max(axis=0) + margin + 1, shape.grid.size)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = shape.grid.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
    return LevelSet(grid, np.ascontiguousarray(shape.array[part]))
