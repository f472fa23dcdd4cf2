"""A seeded male pelvis: shapes first, then a CT of them.

Every surface is an implicit shape, so the level sets of the ROIs are exact and the CT is painted from the same
functions (picture.py), with the share of each voxel that a tissue fills. What varies from man to man: body.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid, Triple
from recontour.geometry.volume import LevelSet, Volume
from recontour.phantom import skeleton
from recontour.phantom.body import Body
from recontour.phantom.contents import WALL_MM
from recontour.phantom.metal import metal_streaks
from recontour.phantom.picture import painted
from recontour.phantom.scanner import Scanner, as_scanned
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
    """`volume`: what there is, before any scanner: no noise, no blur of a kernel, metal beyond 12 bits and without
    streaks. `level_sets`: by ROI name (ROI_NAMES), each on a tight lattice. `noise_hu`: the standard deviation of the
    noise that every scan of this man draws for itself. `scanner`: the planning scan's."""

    seed: int
    volume: Volume
    level_sets: Mapping[str, LevelSet]
    noise_hu: float
    scanner: Scanner

    @property
    def planning(self) -> Volume:
        """The planning scan as its scanner shows it, with its own noise."""
        rng = np.random.default_rng((self.seed, 12))
        streaks = metal_streaks(self.volume, rng)
        volume = self.volume if streaks is None else Volume(self.volume.grid, self.volume.array + streaks.array)
        return as_scanned(volume, self.scanner, self.noise_hu, rng)


def make_anatomy(seed: int, spacing_mm: Triple | None = None) -> Anatomy:
    """The man of this seed, and his planning CT: 512 x 512 at 0.8 to 1.27 mm, slices of 1 to 5 mm.

    spacing_mm: (z, y, x) of a coarser scan of the same man and field of view, where the full one would be too slow.
    Same seed, same bits.
    """
    return anatomy_of(Body.draw(seed), seed, spacing_mm)


def anatomy_of(body: Body, seed: int, spacing_mm: Triple | None = None) -> Anatomy:
    """As `make_anatomy`, of a man made to order: `seed` draws what is not in `body`, waves of surfaces and textures."""
    shapes = man(body, seed)
    grid = _scan_grid(body, spacing_mm)
    local = Grid.of(grid.size, grid.spacing_mm, np.subtract(grid.origin_mm, body.origin_mm))
    hu = painted(shapes, body, local, np.random.default_rng((seed, 13)))
    level_sets = {name: _level_set(shapes[name], body) for name in ROI_NAMES}
    return Anatomy(seed, Volume(grid, hu), level_sets, body.noise_hu, body.scanner)


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
    soft |= {f"muscle_{i}": grown(m, body.muscle_mm) for i, m in enumerate(left.muscles + right.muscles)}
    for side, there in (("L", body.extras.hip_left), ("R", body.extras.hip_right)):
        if there:
            names = (f"{part}_{side}" for part in ("cup", "liner", "stem"))
            soft |= dict(zip(names, skeleton.prosthesis(left=side == "L"), strict=True))
    s: dict[str, Shape] = {k: _sized(wobbled(v, waves, body.bone_wobble_mm), body) for k, v in (bones | soft).items()}
    s["bone"] = baked(union(*(s[name] for name in bones)), 3.5, reach)
    skin = wobbled(_skin(body), draw_waves(rng, 4, 90.0, 200.0), 2.0)
    s["EXTERNAL"] = baked(skin, 3.0, reach, band_mm=60.0)
    s |= _organs(body, s["bone"], rng)
    for name, part in (("Femur_Head_L", "femur_L"), ("Femur_Head_R", "femur_R")):
        s[name] = baked(both(s[part], above(-42.0 * body.scale)), _ROI_SPACING_MM, reach)
    return s


def _sized(shape: Shape, body: Body) -> Shape:
    """Of his size, and wider or narrower than that along x alone."""
    k, across = np.float32(1.0 / body.scale), np.float32(1.0 / (body.scale * body.width))
    return lambda at: shape((at[0] * across, at[1] * k, at[2] * k)) * np.float32(body.scale)


def _skin(body: Body) -> Shape:
    """Torso and thighs: a back flattened by the couch, two buttocks, a belly; fat makes all of it wider."""
    fat, k = body.fat_mm, body.scale
    heights = np.array([-120, -70, 0, 50, 90, 120, 200]) * k
    half_width = np.array([172, 174, 176, 170, 160, 152, 152]) * k * body.width + 0.9 * fat
    power = body.square
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
        r = (np.abs(x / a) ** power + np.abs((y - middle) / b) ** power) ** (1 / power)
        return ((1 - r) * np.minimum(a, b) * 0.95).astype(np.float32)

    aside = 92 * k * body.width + 0.2 * fat
    thighs = [
        tube([(s * aside, 10, -60 * k), (s * (aside + 4 * k), 14, -260 * k)],
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
    rectum = _with_balloon(_rectum(body, float(centre[1] + axes[1])), body, centre, axes)
    vesicles = _vesicles(centre, axes, rng)
    s: dict[str, Shape] = {}

    def bake(name: str, shape: Shape) -> None:
        s[name] = baked(shape, _ROI_SPACING_MM, reach)

    bake("Prostate", cut(prostate, bone, gap_mm=3.0, blend_mm=3.0))
    bake("SeminalVes", cut(vesicles, s["Prostate"], gap_mm=0.4, blend_mm=0.5))
    if body.extras.balloon_ml > 0:
        s["balloon"] = grown(_balloon(body, centre, axes), -WALL_MM)
    tube_ = cut(cut(rectum, bone, gap_mm=4.0, blend_mm=4.0), s["Prostate"], gap_mm=1.5, blend_mm=3.0)
    bake("bowel_tube", cut(tube_, s["SeminalVes"], gap_mm=1.0, blend_mm=2.0))
    bake("Rectum", both(s["bowel_tube"], above(-50.0 * body.scale), _below(56.0 * body.scale)))
    bake("Bladder", _bladder(body, centre, axes, s, bone, rng))
    if body.extras.catheter:
        s["catheter"], s["catheter_balloon"] = _catheter(body, centre, axes)
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
    # A large gland grows upwards: its apex stays on the pelvic floor.
    centre = np.array([0.0, behind_symphysis, 0.6 * (axes[2] - 21.0)]) + body.prostate_mm
    main = ellipsoid(centre, axes * (1, 1, 0.92))
    apex = ellipsoid(_off(centre, 0, -0.1 * axes[1], -0.5 * axes[2]), axes * (0.62, 0.72, 0.62))
    hollow = ellipsoid(_off(centre, 0, 2.35 * axes[1], 0), axes * (1.3, 1.5, 2.2))  # the rectum flattens its back
    shape = cut(union(main, apex, blend_mm=6.0), hollow, blend_mm=6.0)
    if body.extras.median_lobe_mm > 0:
        rise = 0.8 * axes[2] + body.extras.median_lobe_mm - 9.0
        shape = union(shape, ellipsoid(_off(centre, 0, 0, rise), (11, 10, 10)), blend_mm=6.0)
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


def _balloon(body: Body, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> Shape:
    """The rectum over a balloon: its wall and what is in it, behind the prostate."""
    radius = (3 * body.extras.balloon_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    semi = radius * np.array([0.95, 0.86, 1.22]) + WALL_MM
    return ellipsoid(_off(centre, 0, axes[1] + semi[1] - 1.0, 4.0), semi)


def _with_balloon(rectum: Shape, body: Body, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> Shape:
    if body.extras.balloon_ml <= 0:
        return rectum
    return union(rectum, _balloon(body, centre, axes), blend_mm=8.0)


def _catheter(body: Body, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> tuple[Shape, Shape]:
    """Through penis, bulb and prostate; its tip and balloon on the bladder's floor."""
    k, low = body.scale, centre[2] - axes[2]
    neck = _off(centre, 0, -2, axes[2] + 4.0)
    points = [(4, -78 * k - 0.7 * body.fat_mm, -80 * k), (1, -60 * k, -48 * k), (0, -8 * k, low - 16),
              (0, centre[1] + 2, low - 4), tuple(centre), tuple(neck), tuple(_off(neck, 0, 0, 18.0))]  # fmt: skip
    path = smooth_path(np.array(points, float), 24)
    return tube(path, np.full(24, 2.8)), ellipsoid(_off(neck, 0, 0, 8.0), (11, 10.5, 10.5))


def _bladder(
    body: Body, centre: NDArray[np.float64], axes: NDArray[np.float64], s: Mapping[str, Shape], bone: Shape,
    rng: np.random.Generator,
) -> Shape:  # fmt: skip
    """Sits on the prostate; an empty one is flat, a full one rises and leans forward over the symphysis."""
    full = min(body.bladder_ml / 400.0, 1.1)
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
