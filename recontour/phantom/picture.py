"""Paints a man's shapes into a CT, from the outside in: what is painted later lies over what was painted before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from recontour.geometry.grid import Grid
from recontour.phantom.body import Body
from recontour.phantom.contents import WALL_MM
from recontour.phantom.paint import Hu, Layer, Painter
from recontour.phantom.shapes import (
    Array,
    Points,
    Shape,
    both,
    box_of,
    cut,
    draw_waves,
    ellipsoid,
    grown,
    open_points,
    smooth_max,
    smooth_path,
    tube,
    wobbled,
)

Floats = NDArray[np.float64]

GOLD_HU, STEEL_HU, PLASTIC_HU = 25_000.0, 12_000.0, -80.0  # of metal as it absorbs; a scanner ends at 3071
_LIME_HU = (250.0, 1300.0)


def painted(s: Mapping[str, Shape], body: Body, grid: Grid, rng: np.random.Generator) -> Array:
    """(D, H, W) HU on `grid`, which lies in the frame of the shapes `s`, as `anatomy.man` makes them."""
    painter = Painter(grid, rng, body.tissue)
    _paint_frame(painter, s, body)
    painter.pack(_bowel_loops(painter, s, body), gap_mm=1.0)
    _paint_surroundings(painter, s, body)
    _paint_vessels(painter, body)
    flesh = painter.muscle()
    muscles = [(s[name], [(0.0, flesh)]) for name in s if name.startswith("muscle_")]
    painter.pack(muscles, gap_mm=body.gap_mm, soft_mm=1.6)
    _paint_organs(painter, s, body)
    _paint_rectum(painter, s, body)
    _paint_bone(painter, s, body)
    _paint_specks(painter, s, body)
    _paint_metal(painter, s, body)
    return painter.hu


def _paint_frame(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Couch, skin, fat with its septa, and the muscles of the belly's wall."""
    painter.couch(98 * body.scale + 0.6 * body.fat_mm - 7.0)
    painter.fill(s["EXTERNAL"], (0.0, body.tissue.skin), (2.0, painter.fat()))
    inner = grown(s["EXTERNAL"], -(0.75 * body.fat_mm + 3.0))
    low, waist = 22.0 * body.scale, 118.0 * body.scale * body.width

    def belly(at: Points) -> Array:
        """Front and sides, above the groin; the linea alba parts it in the middle."""
        x, y, z = at
        front = smooth_max(30.0 - y + 0 * x + 0 * z, np.abs(x) - np.float32(waist) + 0 * y + 0 * z, 10.0)
        return np.minimum(np.minimum(front, z - low - 0.45 * (y + 90)), 3 * (np.abs(x) - 1.5)).astype(np.float32)

    thick = 5.5 + 1.3 * body.muscle_mm
    painter.fill(both(cut(inner, grown(inner, -thick)), belly), (0.0, painter.muscle()), soft_mm=1.6)


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
        layers: list[Layer] = [(0.0, body.tissue.rectum_wall + float(rng.normal(0, 6))), (2.2, inside)]
        if rng.random() < 0.35:
            layers.append((float(rng.uniform(3, 8)), -940.0))
        yield both(loop, room), layers


def _paint_surroundings(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Veins, nerves and fasciae around prostate, vesicles and rectum, which blur their borders."""
    reach = 3.0 + 7.0 * body.tissue.haze
    haze = painter.haze(body.tissue.vessels)
    cavity = ellipsoid(np.array((0, 26, 8)) * body.scale, np.array((46, 58, 56)) * body.scale)
    painter.fill(cavity, (0.0, painter.strands(body.tissue.vessels)), soft_mm=12.0)
    for name, share in (("bowel_tube", 0.6), ("Bladder", 0.3), ("SeminalVes", 1.0), ("Prostate", 1.0)):
        painter.fill(grown(s[name], share * reach), (0.0, haze), soft_mm=3.0)


def _paint_vessels(painter: Painter, body: Body) -> None:
    """External iliac to femoral artery and vein of both sides, and small branches through the pelvic fat."""
    k, blood = body.scale, body.tissue.vessels
    rng = painter.rng
    artery = np.array([(84, -42, -90), (84, -46, -40), (78, -46, 0), (62, -44, 26), (46, -20, 60), (36, -4, 90),
                       (14, -8, 125), (4, -10, 160)], float)  # fmt: skip
    for sign in (1.0, -1.0):
        for offset, radius, share in (((0, 0, 0), 4.6, 1.0), ((-9, 7, 0), 5.4, 0.8)):
            path = smooth_path((artery + offset) * (sign * body.width, 1, 1) * k, 16)
            painter.fill(tube(path, np.full(16, radius)), (0.0, 44.0 + share * (blood - 44.0)))
            if share == 1.0:
                _lime_along(painter, path, radius, body.extras.lime)
    for _ in range(24):
        start = np.array([rng.choice([-1, 1]) * rng.uniform(18, 44), rng.uniform(-20, 60), rng.uniform(-25, 60)])
        path = start + np.cumsum(rng.normal(0, 9, (5, 3)), axis=0)
        painter.fill(tube(path, np.full(5, rng.uniform(0.8, 2.0))), (0.0, blood - 4.0))


def _lime_along(painter: Painter, path: Floats, radius: float, share: float) -> None:
    rng = painter.rng
    for a, b in itertools.pairwise(path):
        if rng.random() < share:
            turn = rng.uniform(0, 2 * np.pi)
            aside = 0.9 * radius * np.array([np.cos(turn), np.sin(turn), 0.0])
            painter.rod(a + aside, a + rng.uniform(0.2, 0.8) * (b - a) + aside, rng.uniform(0.5, 1.3), _lime(rng))


def _lime(rng: np.random.Generator) -> float:
    return float(rng.uniform(*_LIME_HU))


def _paint_organs(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    tissue = body.tissue
    urine = painter.urine(s["Bladder"], body.urine)
    painter.fill(s["Bladder"], (0.0, tissue.bladder_wall), (body.bladder_wall_mm, urine))
    painter.fill(s["SeminalVes"], (0.0, painter.mottled(tissue.vesicles)))
    painter.fill(s["Prostate"], (0.0, painter.mottled(tissue.prostate)))
    if body.extras.catheter:
        painter.fill(both(s["catheter_balloon"], grown(s["Bladder"], -1.5)), (0.0, 95.0), (1.3, 3.0), soft_mm=0.8)
        painter.fill(s["catheter"], (0.0, 260.0), (1.2, 20.0), soft_mm=0.8)


def _paint_rectum(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    rng, rectum = painter.rng, s["bowel_tube"]
    painter.fill(rectum, (0.0, body.tissue.rectum_wall), (WALL_MM, painter.stool()))
    radii = np.asarray(body.rectum_radius)
    for share in body.gas:  # a pocket under the front wall, as the man lies on his back
        z = (-36.0 + 100.0 * (share - 0.35) / 0.65 + rng.normal(0, 8)) * body.scale
        centre = painter.centre_in_plane(rectum, z)
        if share > 0.35 and centre is not None:
            radius = float(np.interp(z, np.array((-64, -46, -28, -8, 16, 38, 62)) * body.scale, radii))
            middle = (centre[0] + rng.normal(0, 2), centre[1] - rng.uniform(0.0, 0.5) * radius, z)
            semi = (radius * rng.uniform(0.4, 1.1), radius * rng.uniform(0.3, 1.0), rng.uniform(5, 30))
            bubble = wobbled(ellipsoid(middle, semi), draw_waves(rng, 4, 14, 40), float(rng.uniform(0.5, 4.0)))
            pocket = both(grown(rectum, -WALL_MM - 0.3), bubble, blend_mm=2.0)
            painter.fill(pocket, (0.0, float(rng.uniform(-990, -880))))
    if body.extras.balloon_ml > 0:
        inner = both(s["balloon"], grown(rectum, -WALL_MM + 0.5))
        painter.fill(inner, (0.0, 90.0), (1.0, body.extras.balloon_hu))


def _paint_bone(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Cortex over spongy bone; the femur's shaft has a thick cortex and fatty marrow."""
    shaft, density = -38.0 * body.scale, body.tissue.bone_density
    spongy, cortex = density * float(painter.rng.uniform(150, 260)), float(painter.rng.uniform(750, 1050))
    cortex *= 0.5 + 0.5 * density

    def of_femur(z: Array) -> Array:
        return (1.5 + 4.5 * np.clip((shaft - z) / 30.0, 0, 1)).astype(np.float32)

    painter.fill(s["column"], (0.0, 85.0))  # what bone leaves free of it are discs
    painter.fill(s["canal"], (0.0, 18.0))
    painter.bone(s["hips"], spongy, cortex, lambda z: np.full_like(z, 1.7))
    painter.bone(s["spine"], 0.75 * spongy, 0.75 * cortex, lambda z: np.full_like(z, 1.2))
    for femur in ("femur_L", "femur_R"):
        painter.bone(s[femur], 1.1 * spongy, 1.1 * cortex, of_femur, shaft_z=shaft - 15.0)


def _paint_specks(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Lime in the prostate, and phleboliths in the veins beside it."""
    rng = painter.rng
    for place in _places(s["Prostate"], body, rng, body.extras.stones, depth_mm=3.0):
        painter.rod(place, place + rng.normal(0, 1.5, 3), float(rng.uniform(0.4, 1.6)), _lime(rng))
    for _ in range(body.extras.phleboliths):
        beside = rng.choice([-1, 1]) * rng.uniform(30, 50)
        place = np.array([beside, rng.uniform(-5, 50), rng.uniform(-30, 15)]) * body.scale
        painter.rod(place, place + np.array((0.0, 0.0, 0.5)), float(rng.uniform(1.0, 2.5)), _lime(rng))


def _paint_metal(painter: Painter, s: Mapping[str, Shape], body: Body) -> None:
    """Prostheses with their bone, and gold markers, 1 mm by 3 to 5 mm, in the prostate."""
    for side in ("L", "R"):
        if f"stem_{side}" in s:
            painter.fill(s[f"cup_{side}"], (0.0, 0.6 * STEEL_HU))
            painter.fill(s[f"liner_{side}"], (0.0, PLASTIC_HU))
            painter.fill(s[f"stem_{side}"], (0.0, STEEL_HU))
    rng = painter.rng
    for place in _places(s["Prostate"], body, rng, body.extras.gold_seeds, depth_mm=5.0):
        half = rng.normal(0, 1, 3) * (0.4, 0.4, 1.0)
        half *= rng.uniform(1.5, 2.5) / np.linalg.norm(half)
        painter.rod(place - half, place + half, float(rng.uniform(0.45, 0.6)), GOLD_HU)


def _places(shape: Shape, body: Body, rng: np.random.Generator, count: int, depth_mm: float) -> Floats:
    """(count, 3) points, x, y, z, at least `depth_mm` inside `shape`, drawn evenly; fewer where there is no room."""
    if not count:
        return np.zeros((0, 3))
    low, high = box_of(shape, body.z_low, body.z_high)
    axes = [np.arange(a, b, 2.0) for a, b in zip(low, high, strict=True)]
    inside = np.argwhere(shape(open_points(*axes)) > depth_mm)
    chosen = rng.permutation(len(inside))[:count]
    return low + 2.0 * inside[chosen][:, ::-1] + rng.uniform(-1.0, 1.0, (len(chosen), 3))
