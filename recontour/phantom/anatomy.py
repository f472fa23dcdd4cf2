"""A seeded male pelvis: shapes first, then a CT of them.

Every surface is an implicit shape, so the level sets of the ROIs are exact and the CT is painted from the same
functions, with the share of each voxel that a tissue fills. HU follow what CT of the pelvis shows: fat -100, muscle 55,
urine 5 to 15, prostate 35 to 45, cortical bone 700 to 1200, marrow 150 to 300, gas below -850.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid, Triple
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom import skeleton
from recontour.phantom.contents import WALL_MM
from recontour.phantom.noise import draw_noise
from recontour.phantom.paint import Hu, Layer, Painter
from recontour.phantom.shapes import (
    Array,
    Baked,
    Points,
    Shape,
    above,
    baked,
    both,
    cut,
    draw_waves,
    ellipsoid,
    grown,
    smooth_max,
    smooth_path,
    tube,
    union,
    wobbled,
)

ROI_NAMES = ("Prostate", "SeminalVes", "Bladder", "Rectum", "Femur_Head_L", "Femur_Head_R", "CTV", "EXTERNAL")
_ROI_SPACING_MM = 1.25
_BAND_MM = 10.0
_ROOM_MM = 8.0  # of outside around a level set


@dataclass(frozen=True, eq=False)
class Anatomy:
    """`volume`: the planning scan without noise. `level_sets`: by ROI name (ROI_NAMES), each on a tight lattice.
    `noise_hu`: the standard deviation of the noise that every scan of this man draws for itself."""

    seed: int
    volume: Volume
    level_sets: Mapping[str, LevelSet]
    noise_hu: float

    @property
    def planning(self) -> Volume:
        """The planning scan with its own noise."""
        rng = np.random.default_rng((self.seed, 12))
        noise = draw_noise(self.volume.grid, self.noise_hu, rng)
        return Volume(self.volume.grid, np.maximum(self.volume.array + noise, -1024.0))


@dataclass(frozen=True)
class Body:
    """What varies from man to man. Lengths in mm, volumes in ml."""

    scale: float
    fat_mm: float
    belly_mm: float
    prostate_ml: float
    bladder_ml: float
    prostate_mm: Triple
    rectum_radius: tuple[float, ...]
    rectum_aside: tuple[float, ...]
    gas: tuple[float, ...]
    origin_mm: Triple
    spacing_mm: Triple
    z_low: float
    z_high: float
    noise_hu: float

    @staticmethod
    def draw(seed: int) -> Body:
        """Slim to stout, prostate 22 to 90 ml, bladder 60 to 400 ml when drawn (its neighbours dent it a little)."""
        rng = np.random.default_rng((seed, 10))
        pixel = float(rng.choice([0.85, 0.9, 0.9375, 0.977]))
        jitter = _floats(rng.normal(size=3) * (1.0, 1.0, 4.0))
        return Body(
            scale=float(np.clip(rng.normal(1.0, 0.035), 0.92, 1.08)),
            fat_mm=float(rng.uniform(8.0, 34.0)),
            belly_mm=float(rng.uniform(-5.0, 25.0)),
            prostate_ml=min(max(float(rng.lognormal(math.log(42.0), 0.35)), 22.0), 90.0),
            bladder_ml=min(max(float(rng.lognormal(math.log(170.0), 0.5)), 60.0), 400.0),
            prostate_mm=(jitter[0], jitter[1], min(max(jitter[2] - 14.0, -22.0), -6.0)),
            rectum_radius=_floats(rng.uniform((9, 12, 13, 14, 15, 13, 11), (11, 15, 20, 23, 23, 20, 16))),
            rectum_aside=_floats(rng.normal(size=7) * (0.5, 1, 2, 4, 6, 6, 4)),
            gas=_floats(rng.uniform(0, 1, 4)),
            origin_mm=(float(rng.uniform(-30, 30)), float(rng.uniform(-200, 30)), float(rng.uniform(-900, 900))),
            spacing_mm=(float(rng.choice([2.0, 2.5, 3.0])), pixel, pixel),
            z_low=float(rng.uniform(-105, -90)),
            z_high=float(rng.uniform(115, 140)),
            noise_hu=float(rng.uniform(8.0, 16.0)),
        )


def make_anatomy(seed: int, spacing_mm: Triple | None = None) -> Anatomy:
    """The man of this seed, and his planning CT: 512 x 512 at about 0.9 mm, slices of 2 to 3 mm.

    spacing_mm: (z, y, x) of a coarser scan of the same man and field of view, where the full one would be too slow.
    Same seed, same bits.
    """
    body = Body.draw(seed)
    shapes = man(body, seed)
    grid = _scan_grid(body, spacing_mm)
    hu = _painted(shapes, body, grid, seed)
    level_sets = {name: _level_set(shapes[name], body) for name in ROI_NAMES}
    return Anatomy(seed, Volume(grid, hu), level_sets, body.noise_hu)


def _scan_grid(body: Body, spacing_mm: Triple | None) -> Grid:
    width = 512 * body.spacing_mm[2]
    spacing = spacing_mm or body.spacing_mm
    size = (int((body.z_high - body.z_low) / spacing[0]) + 1, round(width / spacing[1]), round(width / spacing[2]))
    low = np.array([-width / 2, 5.0 - width / 2, body.z_low]) + np.array([spacing[2] / 2, spacing[1] / 2, 0.0])
    return Grid.of(size, spacing, low + body.origin_mm)


def man(body: Body, seed: int) -> dict[str, Shape]:
    """All shapes, ROIs and other tissue, in the frame of `skeleton` (before `origin_mm`)."""
    rng = np.random.default_rng((seed, 11))
    reach = (body.z_low - 20.0, body.z_high + 20.0)
    waves = draw_waves(rng, 4, 80.0, 160.0)
    left, right = skeleton.side(left=True), skeleton.side(left=False)
    hips = union(left.hip, right.hip)
    bones = {"femur_L": left.femur, "femur_R": right.femur, "hips": hips, "spine": skeleton.spine(hips)}
    soft = {"column": grown(skeleton.column(), -0.5), "canal": skeleton.canal()}
    soft |= {f"muscle_{i}": grown(m, 3.5) for i, m in enumerate(left.muscles + right.muscles)}
    s: dict[str, Shape] = {k: _sized(wobbled(v, waves, 2.5), body.scale) for k, v in (bones | soft).items()}
    s["bone"] = baked(union(*(s[name] for name in bones)), 3.5, reach)
    skin = wobbled(_skin(body), draw_waves(rng, 4, 90.0, 200.0), 2.0)
    s["EXTERNAL"] = baked(skin, 3.0, reach, band_mm=60.0)
    s |= _organs(body, s["bone"], rng)
    for name, part in (("Femur_Head_L", "femur_L"), ("Femur_Head_R", "femur_R")):
        s[name] = baked(both(s[part], above(-42.0 * body.scale)), _ROI_SPACING_MM, reach)
    return s


def _sized(shape: Shape, scale: float) -> Shape:
    k = np.float32(1.0 / scale)
    return lambda at: shape((at[0] * k, at[1] * k, at[2] * k)) * np.float32(scale)


def _skin(body: Body) -> Shape:
    """Torso and thighs: a back flattened by the couch, two buttocks, a belly; fat makes all of it wider."""
    fat, k = body.fat_mm, body.scale
    heights = np.array([-120, -70, 0, 50, 90, 120, 200]) * k
    half_width = np.array([172, 174, 176, 170, 160, 152, 152]) * k + 0.9 * fat
    front = (
        np.array([-66, -74, -84, -92, -98, -100, -100]) * k
        - 0.9 * fat
        - np.array([0, 0, 0.3, 0.8, 1, 1, 1]) * (body.belly_mm)
    )
    back = 98 * k + 0.6 * fat

    def torso(at: Points) -> Array:
        x, y, z = at
        a = np.interp(z, heights, half_width).astype(np.float32)
        f = np.interp(z, heights, front).astype(np.float32)
        middle, b = (f + back) / 2, (back - f) / 2 * np.float32(1.03)
        r = (np.abs(x / a) ** 2.6 + np.abs((y - middle) / b) ** 2.6) ** (1 / 2.6)
        return ((1 - r) * np.minimum(a, b) * 0.95).astype(np.float32)

    thighs = [
        tube([(s * (92 * k + 0.2 * fat), 10, -60 * k), (s * (96 * k + 0.2 * fat), 14, -260 * k)],
             [84 * k + 0.7 * fat, 76 * k + 0.6 * fat]) for s in (1, -1)
    ]  # fmt: skip
    upper = both(torso, above(-72.0 * k), blend_mm=25.0)
    genitals = union(
        ellipsoid((0, -62 * k - 0.5 * fat, -84 * k), (26, 30, 34)),
        tube([(0, -50, -40), (3, -78 * k - 0.7 * fat, -62 * k), (5, -82 * k - 0.6 * fat, -100 * k)], [14, 16, 14]),
        blend_mm=8.0,
    )
    cleft = tube([(0, back + 14, 30 * k), (0, back + 4, -20 * k), (0, back - 16, -75 * k)], [10, 12, 12])
    whole = union(union(upper, *thighs, blend_mm=22.0), genitals, blend_mm=10.0)
    return both(cut(whole, cleft, blend_mm=9.0), _before(back - 9.0), blend_mm=6.0)


def _organs(body: Body, bone: Shape, rng: np.random.Generator) -> dict[str, Shape]:
    reach = (body.z_low - 20.0, body.z_high + 20.0)
    prostate, axes, centre = _prostate(body, rng)
    rectum = _rectum(body, float(centre[1] + axes[1]))
    vesicles = _vesicles(centre, axes, rng)
    s: dict[str, Shape] = {}

    def bake(name: str, shape: Shape) -> None:
        s[name] = baked(shape, _ROI_SPACING_MM, reach)

    bake("Prostate", cut(prostate, bone, gap_mm=3.0, blend_mm=3.0))
    bake("SeminalVes", cut(vesicles, s["Prostate"], gap_mm=0.4, blend_mm=0.5))
    tube_ = cut(cut(rectum, bone, gap_mm=4.0, blend_mm=4.0), s["Prostate"], gap_mm=1.5, blend_mm=3.0)
    bake("bowel_tube", cut(tube_, s["SeminalVes"], gap_mm=1.0, blend_mm=2.0))
    bake("Rectum", both(s["bowel_tube"], above(-50.0 * body.scale), _below(56.0 * body.scale)))
    bake("Bladder", _bladder(body, centre, axes, s, bone, rng))
    base = both(s["SeminalVes"], _below(float(centre[2] + axes[2]) + 6.0))
    bake("CTV", union(s["Prostate"], base, blend_mm=2.0))
    return s


def _before(y_mm: float) -> Shape:
    return lambda at: (np.float32(y_mm) - at[1]) + 0 * at[0] + 0 * at[2]


def _below(z_mm: float) -> Shape:
    return lambda at: (np.float32(z_mm) - at[2]) + 0 * at[0] + 0 * at[1]


def _prostate(body: Body, rng: np.random.Generator) -> tuple[Shape, NDArray[np.float64], NDArray[np.float64]]:
    radius = (3 * body.prostate_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    axes = radius * np.array([1.18, 0.88, 0.96]) * np.exp(rng.normal(0, 0.05, 3))
    behind_symphysis = -26.0 * body.scale + axes[1]
    centre = np.array([0.0, behind_symphysis, 0.0]) + body.prostate_mm
    main = ellipsoid(centre, axes * (1, 1, 0.92))
    apex = ellipsoid(_off(centre, 0, -0.1 * axes[1], -0.5 * axes[2]), axes * (0.62, 0.72, 0.62))
    hollow = ellipsoid(_off(centre, 0, 2.35 * axes[1], 0), axes * (1.3, 1.5, 2.2))  # the rectum flattens its back
    shape = cut(union(main, apex, blend_mm=6.0), hollow, blend_mm=6.0)
    return wobbled(shape, draw_waves(rng, 5, 22.0, 50.0), 1.2), axes, centre


def _vesicles(centre: NDArray[np.float64], axes: NDArray[np.float64], rng: np.random.Generator) -> Shape:
    """Two bow-tie horns that leave the prostate's base backwards, outwards and up, lobed like a mulberry."""
    horns: list[Shape] = []
    start = _off(centre, 0, 0.35 * axes[1], 0.72 * axes[2])
    for sign in (1.0, -1.0):
        length, lift, back = rng.uniform(24, 36), rng.uniform(6, 17), rng.uniform(4, 10)
        middle = _off(start, sign * 0.35 * length, 0.6 * back, 0.45 * lift)
        outer = _off(start, sign * 0.75 * length, back, 0.85 * lift)
        end = _off(start, sign * length, back + 1, lift)
        path = smooth_path([_off(start, sign * 2, 0, -2), middle, outer, end], 7)
        radii = np.interp(np.linspace(0, 1, 7), [0, 0.4, 0.8, 1], [4.0, 6.2, 5.2, 3.0]) * rng.uniform(0.85, 1.25)
        horns.append(tube(path, radii))
    return wobbled(union(*horns, blend_mm=3.0), draw_waves(rng, 8, 9.0, 20.0), 1.1)


def _rectum(body: Body, prostate_back: float) -> Shape:
    """From the anal canal, bent forward behind the prostate's apex, back along the sacrum, to the left as sigmoid."""
    r, aside, k = np.asarray(body.rectum_radius), np.asarray(body.rectum_aside), body.scale
    near = prostate_back + 1.0
    points = np.array(
        [(0, 46 * k, -64 * k), (0, 36 * k, -46 * k), (0, near + r[2], -28 * k), (0, near + r[3] + 1, -8 * k),
         (0, 44 * k, 16 * k), (0, 56 * k, 38 * k), (4, 46 * k, 62 * k)]
    )  # fmt: skip
    points[:, 0] += aside
    sigmoid = [(26, 22, 74, 12), (44, -8, 78, 12), (30, -36, 92, 13), (60, -40, 112, 13), (88, -22, 140, 14)]
    table = np.concatenate([np.column_stack([points, r]), sigmoid])
    path = smooth_path(table, 28)
    return tube(path[:, :3], path[:, 3])


def _bladder(
    body: Body, centre: NDArray[np.float64], axes: NDArray[np.float64], s: Mapping[str, Shape], bone: Shape,
    rng: np.random.Generator,
) -> Shape:  # fmt: skip
    """Sits on the prostate; an empty one is flat, a full one rises and leans forward over the symphysis."""
    full = body.bladder_ml / 400.0
    radius = (3 * body.bladder_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    ratio = np.array([1.22 - 0.12 * full, 0.98, 0.0])
    ratio[2] = 1.0 / (ratio[0] * ratio[1])
    semi = radius * ratio * 1.03
    lean = np.deg2rad(rng.uniform(5, 25))
    turn = np.array([[1, 0, 0], [0, np.cos(lean), np.sin(lean)], [0, -np.sin(lean), np.cos(lean)]])
    back, up = -6.0 - 8.0 * full - axes[1] * 0.15, 0.75 * axes[2] + 0.86 * semi[2]
    middle = _off(centre, rng.normal(0, 1.5), back, up)
    neck = ellipsoid(_off(centre, 0, -2, axes[2]), (14, 11, 9))
    sac = union(wobbled(ellipsoid(middle, semi, turn), draw_waves(rng, 5, 60, 120), 3.0), neck, blend_mm=10.0)
    retropubic = ellipsoid(np.array([0, -48, -12]) * body.scale, np.array([50, 24, 30]) * body.scale)
    sac = cut(cut(sac, retropubic, blend_mm=10.0), bone, gap_mm=7.0, blend_mm=8.0)
    for name, gap in (("Prostate", 0.5), ("SeminalVes", 1.0), ("bowel_tube", 2.5)):
        sac = cut(sac, s[name], gap_mm=gap, blend_mm=3.0)
    return sac


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _off(point: NDArray[np.float64], x: float, y: float, z: float) -> NDArray[np.float64]:
    return point + np.array([x, y, z])


def _level_set(shape: Shape, body: Body) -> LevelSet:
    """The lattice a shape was baked on, cropped, in the scan's frame; distances clipped at 10 mm."""
    assert isinstance(shape, Baked)
    near = np.argwhere(shape.array > -_ROOM_MM)
    first, last = near.min(axis=0), near.max(axis=0) + 1
    part = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    low = shape.low_mm + body.origin_mm + shape.spacing_mm * first[::-1]
    array = np.ascontiguousarray(np.clip(shape.array[part], -_BAND_MM, _BAND_MM))
    return LevelSet(Grid.of(array.shape, [shape.spacing_mm] * 3, low), array)


def _painted(s: Mapping[str, Shape], body: Body, grid: Grid, seed: int) -> Array:
    """From the outside in: what is painted later lies over what was painted before."""
    local = Grid.of(grid.size, grid.spacing_mm, np.subtract(grid.origin_mm, body.origin_mm))
    painter = Painter(local, np.random.default_rng((seed, 13)))
    _paint_frame(painter, s, body)
    painter.pack(_bowel_loops(painter, s, body), gap_mm=1.0)
    _paint_vessels(painter, body.scale)
    flesh = painter.muscle()
    painter.pack([(s[name], [(0.0, flesh)]) for name in s if name.startswith("muscle_")], gap_mm=1.4, soft_mm=1.6)
    _paint_organs(painter, s, body)
    _paint_bone(painter, s, body)
    return painter.hu


def _paint_frame(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Couch, skin, fat with its septa, and the muscles of the belly's wall."""
    painter.couch(98 * body.scale + 0.6 * body.fat_mm - 7.0)
    painter.fill(s["EXTERNAL"], (0.0, 25.0), (2.0, painter.fat()))
    inner = grown(s["EXTERNAL"], -(0.75 * body.fat_mm + 3.0))
    low, waist = 22.0 * body.scale, 118.0 * body.scale

    def belly(at: Points) -> Array:
        """Front and sides, above the groin; the linea alba parts it in the middle."""
        x, y, z = at
        front = smooth_max(30.0 - y + 0 * x + 0 * z, np.abs(x) - np.float32(waist) + 0 * y + 0 * z, 10.0)
        return np.minimum(np.minimum(front, z - low - 0.45 * (y + 90)), 3 * (np.abs(x) - 1.5)).astype(np.float32)

    painter.fill(both(cut(inner, grown(inner, -10.0)), belly), (0.0, painter.muscle()), soft_mm=1.6)


def _bowel_loops(painter: Painter, s: Mapping[str, Shape], body: Body) -> Iterator[tuple[Shape, list[Layer]]]:
    """Loops in the belly above the bladder, each with a wall and fluid, stool or gas."""
    rng, k = painter.rng, body.scale
    cavity = grown(s["EXTERNAL"], -(0.75 * body.fat_mm + 15.0))
    belly = ellipsoid((0, -32 * k, 110 * k), (112 * k, 78 * k + body.belly_mm, 78 * k))
    room = cut(both(cavity, belly, blend_mm=8.0), s["Bladder"], s["bowel_tube"], s["bone"], gap_mm=5.0, blend_mm=3.0)
    for _ in range(34):
        start = np.array([rng.uniform(-95, 95), rng.uniform(-110, 15), rng.uniform(38, body.z_high + 5)])
        path = smooth_path(start + np.cumsum(rng.normal(0, (22, 16, 12), (4, 3)), axis=0), 8)
        radii = rng.uniform(9, 15) * np.exp(rng.normal(0, 0.1, 8))
        loop = wobbled(tube(path, radii), draw_waves(rng, 3, 12, 40), 1.5)
        inside: Hu = painter.stool() if rng.random() < 0.4 else float(rng.uniform(5, 35))
        layers: list[Layer] = [(0.0, float(rng.uniform(36, 60))), (2.2, inside)]
        if rng.random() < 0.35:
            layers.append((float(rng.uniform(3, 8)), -940.0))
        yield both(loop, room), layers


def _paint_vessels(painter: Painter, k: float) -> None:
    """External iliac to femoral artery and vein of both sides, and small branches through the pelvic fat."""
    artery = np.array([(84, -42, -90), (84, -46, -40), (78, -46, 0), (62, -44, 26), (46, -20, 60), (36, -4, 90),
                       (14, -8, 125), (4, -10, 160)], float)  # fmt: skip
    for sign in (1.0, -1.0):
        for offset, radius, hu in (((0, 0, 0), 4.6, 48.0), ((-9, 7, 0), 5.4, 44.0)):
            path = smooth_path((artery + offset) * (sign, 1, 1) * k, 16)
            painter.fill(tube(path, np.full(16, radius)), (0.0, hu))
    rng = painter.rng
    for _ in range(24):
        start = np.array([rng.choice([-1, 1]) * rng.uniform(18, 44), rng.uniform(-20, 60), rng.uniform(-25, 60)])
        path = start + np.cumsum(rng.normal(0, 9, (5, 3)), axis=0)
        painter.fill(tube(path, np.full(5, rng.uniform(0.8, 2.0))), (0.0, 40.0))


def _paint_organs(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    rng = painter.rng
    painter.fill(s["Bladder"], (0.0, 38.0), (float(rng.uniform(1.8, 3.5)), float(rng.uniform(3, 14))))
    painter.fill(s["SeminalVes"], (0.0, painter.mottled(float(rng.uniform(24, 36)), 9.0, 2.5)))
    painter.fill(s["Prostate"], (0.0, painter.mottled(float(rng.uniform(34, 46)), 6.0, 4.0)))
    painter.fill(s["bowel_tube"], (0.0, 40.0), (WALL_MM, painter.stool()))
    radius = body.rectum_radius[3]
    for share in body.gas:  # a pocket under the front wall, as the man lies on his back
        z = (-36.0 + 100.0 * (share - 0.35) / 0.65 + rng.normal(0, 8)) * body.scale
        centre = painter.centre_in_plane(s["bowel_tube"], z)
        if share > 0.35 and centre is not None:
            middle = (centre[0] + rng.normal(0, 2), centre[1] - 0.3 * radius, z)
            semi = (radius * rng.uniform(0.5, 0.9), radius * rng.uniform(0.35, 0.7), rng.uniform(7, 20))
            pocket = both(grown(s["bowel_tube"], -WALL_MM - 0.3), ellipsoid(middle, semi), blend_mm=2.0)
            painter.fill(pocket, (0.0, float(rng.uniform(-980, -880))))


def _paint_bone(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Cortex over spongy bone; the femur's shaft has a thick cortex and fatty marrow."""
    shaft = -38.0 * body.scale
    spongy, cortex = float(painter.rng.uniform(150, 260)), float(painter.rng.uniform(750, 1050))

    def of_femur(z: Array) -> Array:
        return (1.5 + 4.5 * np.clip((shaft - z) / 30.0, 0, 1)).astype(np.float32)

    painter.fill(s["column"], (0.0, 85.0))  # what bone leaves free of it are discs
    painter.fill(s["canal"], (0.0, 18.0))
    painter.bone(s["hips"], spongy, cortex, lambda z: np.full_like(z, 1.7))
    painter.bone(s["spine"], 0.75 * spongy, 0.75 * cortex, lambda z: np.full_like(z, 1.2))
    for femur in ("femur_L", "femur_R"):
        painter.bone(s[femur], 1.1 * spongy, 1.1 * cortex, of_femur, shaft_z=shaft - 15.0)
