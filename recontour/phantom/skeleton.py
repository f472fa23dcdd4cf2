"""Bones and muscles of a man's pelvis as implicit shapes, in mm of an average man.

Frame: LPS, the origin midway between the femoral heads, 8 mm below their centres. Numbers are of the left side and are
mirrored. Knots are (x, y, half thickness) along a thick polyline in an axial plane, tubes (x, y, z, radius).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recontour.phantom.shapes import Array, Points, Section, Shape, both, cut, ellipsoid, grown, loft, tube, union

Knots = tuple[tuple[float, float, float], ...]
Table = Sequence[tuple[float, Knots]]
Path = Sequence[tuple[float, float, float, float]]

HEAD = (90.0, 0.0, 8.0)
HEAD_RADIUS = 23.5
JOINT_MM = 3.0

_ISCHIUM: Table = (
    (-68, ((52, 30, 4), (58, 36, 5), (60, 38, 4))),
    (-60, ((42, 22, 5), (55, 34, 7), (60, 38, 7))),
    (-45, ((50, 26, 7), (60, 36, 10), (68, 38, 9))),
    (-30, ((60, 20, 7), (66, 30, 11), (64, 46, 7))),
    (-15, ((62, 12, 8), (66, 26, 12), (60, 42, 7))),
    (0, ((62, -2, 5), (66, 26, 8), (54, 50, 5))),
    (15, ((60, -14, 6), (68, 22, 9), (70, 36, 7))),
    (30, ((76, -8, 13), (76, 14, 14), (68, 32, 7))),
    (42, ((84, -14, 12), (76, 10, 13), (62, 34, 8))),
)
_ILIUM: Table = (
    (30, ((84, -14, 12), (80, 0, 13), (74, 16, 12), (64, 34, 7))),
    (50, ((98, -34, 7), (82, -2, 11), (64, 30, 10), (46, 70, 5))),
    (70, ((110, -36, 5), (92, 2, 6), (66, 44, 8), (38, 84, 6))),
    (90, ((118, -42, 6.5), (104, 2, 4.5), (72, 48, 7), (38, 88, 8))),
    (115, ((126, -20, 5), (120, 10, 4), (84, 42, 4.5), (46, 78, 6))),
    (130, ((124, 0, 4), (118, 18, 4), (94, 40, 4), (64, 64, 4))),
    (142, ((118, 10, 2.5), (112, 20, 2.5), (98, 36, 2.5), (82, 50, 1.5))),
)
_SACRUM: Table = (
    (-24, ((0, 64, 2.5), (2, 64, 2.5), (3, 64, 2))),
    (-10, ((0, 75, 4), (5, 75, 3.5), (8, 75, 3))),
    (5, ((0, 82, 5), (10, 81, 5), (16, 80, 4))),
    (20, ((0, 86, 7), (14, 84, 7), (24, 82, 5))),
    (35, ((0, 86, 9), (20, 83, 9), (34, 80, 7))),
    (55, ((0, 78, 12), (24, 74, 12), (44, 70, 9))),
    (75, ((0, 62, 14), (26, 60, 13), (50, 56, 11))),
    (95, ((0, 44, 17), (28, 46, 14), (56, 48, 12))),
    (108, ((0, 32, 18), (24, 38, 13), (50, 50, 8))),
    (114, ((0, 26, 17), (16, 30, 14), (36, 44, 5))),
)
_RAMUS: Path = ((70, -22, 14, 9), (52, -30, 8, 7.5), (30, -42, 0, 8), (12, -42, -10, 9.5), (11, -38, -28, 8))
_LOWER_RAMUS: Path = ((10, -34, -28, 6.5), (20, -10, -44, 5.5), (36, 14, -55, 6.5), (52, 30, -60, 8))
_NECK: Path = ((90, 0, 8, 17), (104, 5, 0, 14), (120, 12, -12, 14.5), (132, 18, -26, 17))
_TROCHANTER: Path = ((150, 30, 12, 6), (148, 27, -4, 11), (140, 22, -24, 17))
_SHAFT: Path = ((136, 21, -30, 18), (130, 19, -52, 16.5), (129, 18, -76, 15), (126, 15, -220, 15))
_LESSER: Path = ((130, 22, -50, 13), (112, 30, -58, 7.5))

_STEM: Path = ((92, 1, 6, 6.5), (108, 6, -2, 6.5), (132, 17, -24, 11), (131, 19, -52, 8.5), (127, 16, -140, 6))

_DISCS = ((117.0, 4.5), (153.0, 5.0))  # height, half thickness

_GLUTEUS_MAXIMUS: Table = (
    (-110, ((60, 70, 12), (90, 70, 12), (115, 60, 6))),
    (-75, ((45, 76, 19), (105, 76, 20), (130, 66, 10))),
    (-45, ((38, 74, 20), (110, 74, 22), (142, 56, 9))),
    (-15, ((28, 80, 14), (105, 76, 20), (160, 45, 8))),
    (15, ((24, 90, 9), (95, 78, 18), (156, 42, 9))),
    (50, ((44, 94, 6), (105, 72, 20), (146, 30, 8))),
    (82, ((52, 96, 3), (92, 76, 9), (122, 50, 4))),
)
_GLUTEUS_MEDIUS: Table = (
    (-8, ((140, 0, 3), (150, 10, 4), (152, 20, 4))),
    (12, ((118, -18, 10), (136, 2, 13), (126, 28, 10))),
    (30, ((112, -25, 16), (126, 12, 22), (100, 42, 14))),
    (50, ((118, -26, 12), (125, 12, 24), (88, 54, 15))),
    (90, ((134, -22, 9), (132, 18, 15), (92, 62, 12))),
    (120, ((136, -6, 6), (128, 26, 8), (100, 54, 6))),
    (136, ((130, 6, 3), (124, 24, 4), (104, 44, 3))),
)
_ILIOPSOAS: Table = (
    (-64, ((114, 14, 7), (118, 8, 6))),
    (-30, ((100, -12, 13), (108, -16, 11))),
    (0, ((82, -34, 11), (104, -36, 13))),
    (30, ((72, -36, 12), (95, -38, 13))),
    (50, ((58, -20, 14), (88, -30, 11))),
    (70, ((52, -14, 15), (80, -10, 12))),
    (90, ((48, 0, 16), (86, 8, 12))),
    (115, ((46, 10, 19), (92, 20, 11))),
    (150, ((42, 14, 22), (62, 20, 12))),
)
_ADDUCTORS: Table = (
    (-220, ((50, 15, 26), (80, 15, 26), (95, 20, 16))),
    (-100, ((36, 8, 24), (76, 8, 27), (98, 24, 15))),
    (-75, ((36, -24, 15), (72, -2, 25), (95, 20, 14))),
    (-45, ((22, -38, 9), (60, -14, 15), (98, 6, 11))),
    (-30, ((26, -42, 7), (60, -20, 13), (94, 4, 9))),
    (-12, ((32, -46, 5), (62, -32, 7), (74, -24, 4))),
)
_OBTURATOR: Table = (
    (-44, ((46, 4, 2.5), (54, 20, 3))),
    (-28, ((40, -14, 6), (50, 20, 7))),
    (-5, ((48, -20, 7), (52, 26, 7))),
    (15, ((48, -10, 5), (53, 22, 6))),
    (32, ((54, 0, 2), (56, 15, 2))),
)
_LEVATOR: Table = (
    (-56, ((4, 22, 3), (13, 36, 4.5), (4, 52, 4.5))),
    (-44, ((10, -24, 2.2), (17, 14, 3), (10, 54, 3.5))),
    (-30, ((16, -27, 2.2), (26, 8, 2.4), (16, 58, 2.6))),
    (-14, ((27, -24, 1.8), (38, 8, 1.9), (26, 64, 2.2))),
    (0, ((38, -12, 1.4), (44, 12, 1.4), (36, 66, 1.6))),
)
_STRANDS: Sequence[Path] = (
    ((106, -36, 36, 6), (106, -44, 0, 9), (112, -42, -40, 13), (112, -38, -220, 17)),  # rectus femoris
    ((126, -40, 72, 6), (140, -30, 20, 9), (152, -14, -30, 10), (150, -4, -80, 6)),  # tensor fasciae latae
    ((116, -48, 66, 5), (108, -56, 0, 7.5), (94, -54, -50, 9), (70, -48, -220, 10)),  # sartorius
    ((146, -4, -30, 8), (140, -4, -60, 19), (138, 0, -220, 26)),  # vastus lateralis
    ((112, -12, -64, 6), (108, -12, -220, 22)),  # vastus medialis
    ((60, 46, -58, 8), (66, 54, -85, 14), (74, 58, -220, 24)),  # hamstrings
    ((26, 70, 46, 8), (70, 62, 28, 10), (126, 34, 14, 4)),  # piriformis
    ((72, 40, -36, 8), (116, 36, -38, 8)),  # quadratus femoris
    ((15, 102, 40, 5), (20, 98, 70, 12), (26, 88, 100, 17), (34, 72, 170, 26)),  # erector spinae
)


@dataclass(frozen=True)
class Side:
    """The bones and muscles of one side."""

    femur: Shape
    hip: Shape
    muscles: tuple[Shape, ...]


def side(left: bool) -> Side:
    """`left`: the patient's left, positive x."""
    sign = 1.0 if left else -1.0
    muscles = [_loft(t, left) for t in (_GLUTEUS_MAXIMUS, _GLUTEUS_MEDIUS, _ILIOPSOAS, _ADDUCTORS, _OBTURATOR)]
    muscles += [_loft(_LEVATOR, left)] + [_tube(p, sign) for p in _STRANDS]
    return Side(_femur(sign), _hip(left), tuple(muscles))


def _femur(sign: float) -> Shape:
    head = ellipsoid((sign * HEAD[0], HEAD[1], HEAD[2]), [HEAD_RADIUS] * 3)
    return union(head, *(_tube(p, sign) for p in (_NECK, _TROCHANTER, _SHAFT, _LESSER)), blend_mm=5.0)


def _hip(left: bool) -> Shape:
    sign = 1.0 if left else -1.0
    head = np.array([sign * HEAD[0], HEAD[1], HEAD[2]])
    socket = both(ellipsoid(head, [HEAD_RADIUS + JOINT_MM + 6.5] * 3), _half_space(head, (sign * 0.74, -0.28, -0.6), 4))
    plates = union(_loft(_ISCHIUM, left), _loft(_ILIUM, left), socket, blend_mm=6.0)
    rami = union(_tube(_RAMUS, sign), _tube(_LOWER_RAMUS, sign), blend_mm=5.0)
    bone = cut(union(plates, rami, blend_mm=6.0), _symphysis, blend_mm=2.0)
    return cut(bone, ellipsoid(head, [HEAD_RADIUS + JOINT_MM] * 3))


def _symphysis(at: Points) -> Array:
    """The cartilage between the two pubic bones."""
    return np.float32(2.2) - np.abs(at[0]) + 0 * at[1] + 0 * at[2]


def _half_space(point: np.ndarray, outward: tuple[float, float, float], reach_mm: float) -> Shape:
    def distance(at: Points) -> Array:
        along = sum(n * (p - float(q)) for n, p, q in zip(outward, at, point, strict=True))
        return np.asarray(reach_mm - along, np.float32)

    return distance


def prosthesis(left: bool) -> tuple[Shape, Shape, Shape]:
    """A hip prosthesis: the cup's shell, its liner with the cement's seam, and head, neck and stem in one."""
    sign = 1.0 if left else -1.0
    head = np.array([sign * HEAD[0], HEAD[1], HEAD[2]])
    socket = _half_space(head, (sign * 0.74, -0.28, -0.6), 4.0)
    shell, liner = (both(ellipsoid(head, [r] * 3), socket) for r in (27.0, 23.5))
    ball = ellipsoid(head, [15.0] * 3)
    stem = union(ball, _tube(_STEM, sign), blend_mm=3.0)
    return shell, liner, stem


def spine(hips: Shape) -> Shape:
    """Sacrum, coccyx and the lowest lumbar vertebrae, with the canal, the sacral foramina and the disc spaces."""
    arches = grown(canal(), 4.5)
    crest = _tube(((0, 98, 42, 4), (0, 96, 68, 4.5), (0, 86, 95, 5), (0, 84, 108, 3)), 1.0)
    bone = union(column(), arches, crest, *_processes(), blend_mm=4.0)
    holes = [_tube(((s * x, y - 22, z, 4.2), (s * x, y + 22, z, 3.6)), 1.0)
             for s in (1, -1) for x, y, z in ((19, 80, 42), (23, 70, 61), (27, 56, 82))]  # fmt: skip
    return cut(cut(bone, canal(), *holes, blend_mm=1.5), *(_slab(*d) for d in _DISCS), grown(hips, 2.0), blend_mm=1.5)


def column() -> Shape:
    """Sacrum and vertebral bodies with the discs between them."""
    bodies = loft([Section(106, ((-12, 17, 18), (12, 17, 18))), Section(170, ((-12, 8, 19), (12, 8, 19)))])
    return union(_loft(_SACRUM, True), _loft(_SACRUM, False), bodies, blend_mm=4.0)


def canal() -> Shape:
    """Of the spine: nerves in fluid."""
    return _tube(((0, 90, 38, 3), (0, 82, 70, 6), (0, 68, 98, 9), (0, 54, 122, 10), (0, 50, 170, 10)), 1.0)


def _processes() -> list[Shape]:
    parts: list[Shape] = []
    for z in (134.0, 170.0):
        parts.append(_tube(((0, 62, z, 5), (0, 84, z - 8, 4)), 1.0))
        parts += [_tube(((s * 18, 32, z, 7), (s * 34, 42, z, 5), (s * 52, 40, z + 4, 4)), 1.0) for s in (1, -1)]
    return parts


def _slab(z_mm: float, half_mm: float) -> Shape:
    """A disc space: between the bodies only, not between the arches behind them."""
    return lambda at: np.minimum(half_mm - np.abs(at[2] - z_mm + 0.25 * (at[1] - 20.0)), 40.0 - at[1]) + 0 * at[0]


def _loft(table: Table, left: bool) -> Shape:
    return loft([Section(float(z), knots) for z, knots in table], mirror=not left)


def _tube(path: Path, sign: float) -> Shape:
    table = np.asarray(path, float)
    return tube(table[:, :3] * (sign, 1.0, 1.0), table[:, 3])
