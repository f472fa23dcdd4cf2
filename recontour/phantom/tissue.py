"""What the soft tissue of a planning scan does on a day: bladder and rectum filling, the prostate shifting and turning
with them, a smooth few millimetres everywhere else, and nothing in bone. One velocity on a lattice, and its flow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.field import Field, jacobian_determinant
from recontour.geometry.grid import Grid
from recontour.geometry.resample import sample
from recontour.phantom.flow import Array, flow_for_unit_time, knot_axes, random_flow, rigid_flow, rise, source_flow
from recontour.phantom.motion import Motion
from recontour.phantom.movable import KNOTS_MM, Movable

_LEAST_JACOBIAN = 0.15
_STIFFNESS = 0.85  # of the prostate: how much of its motion is rigid


def planning_displacement(scan: Movable, motion: Motion) -> Array:
    """(3, D, H, W) on `scan.knots`, mm: the soft tissue at planning point p of the daily anatomy (set-up taken away)
    was at p + w(p) on the planning scan. Scaled down where it would squeeze tissue to less than a seventh."""
    velocity = _velocity(scan, motion)
    backward = flow_for_unit_time(-velocity, KNOTS_MM)
    while jacobian_determinant(Field(scan.knots, backward)).min() < _LEAST_JACOBIAN:
        velocity = velocity * np.float32(0.8)
        backward = flow_for_unit_time(-velocity, KNOTS_MM)
    return backward


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
            window = rise(1.0 + scan.distance[organ] / 25.0)
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
    share = _STIFFNESS * rise(1.0 + scan.distance["prostate"] / 12.0) * np.clip(3.0 * scan.mobility, 0.0, 1.0)
    return (velocity + share * (rigid - velocity)).astype(np.float32)


def _anchored(scan: Movable) -> Array:
    """The prostate hangs on the pelvic floor and follows the bladder's filling only in part."""
    if "prostate" not in scan.distance:
        return np.ones(scan.knots.size, np.float32)
    return (1.0 - 0.6 * rise(1.0 + scan.distance["prostate"] / 20.0)).astype(np.float32)


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
