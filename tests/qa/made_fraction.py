"""A small fraction made of balls, whose every number is known: for what draws reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Triple
from recontour.geometry.volume import LevelSet, Volume
from recontour.qa.checks import Light, RoiFacts, Verdict
from recontour.qa.fraction import Fraction, RoiPicture, SurfaceChange
from recontour.qa.manifest import AlignmentRecord, Manifest, RoiRecord, ScanRecord
from recontour.settings import Settings

REGION = Grid.of((60, 70, 80), (1.0, 1.0, 1.0), (-40.0, -30.0, 100.0))  # z, y, x voxels; origin x, y, z
# centre (x, y, z) planned and daily, radius planned and daily, HU, colour
BALLS: Mapping[str, tuple[Triple, Triple, float, float, float, tuple[int, int, int]]] = {
    "Bladder": ((-5.0, -12.0, 138.0), (-5.0, -12.0, 140.0), 12.0, 15.0, 10.0, (255, 255, 0)),
    "Prostate": ((0.0, 5.0, 118.0), (0.0, 8.0, 118.0), 10.0, 10.0, 60.0, (255, 0, 0)),
    "Rectum": ((4.0, 28.0, 125.0), (4.0, 28.0, 125.0), 7.0, 7.0, -300.0, (165, 90, 40)),
}


def ball(centre_mm: Triple, radius_mm: float, grid: Grid = REGION) -> LevelSet:
    return LevelSet(grid, (radius_mm - np.linalg.norm(grid.points() - centre_mm, axis=-1)).astype(np.float32))


def scan(which: int) -> Volume:
    """0: the planning balls, 1: the daily ones, on a background of 40 HU that rises by 0.5 HU a mm to the left."""
    hu = 40.0 + 0.5 * REGION.points()[..., 0]
    for row in BALLS.values():
        hu = np.where(ball(row[which], row[2 + which]).array > 0, row[4], hu)
    return Volume(REGION, hu.astype(np.float32))


def fraction(lights: Mapping[str, Light] | None = None) -> Fraction:
    """The prostate 3 mm to the back, the bladder fuller, the rectum unchanged and to be looked at."""
    judged: dict[str, Light] = {"Bladder": "pass", "Prostate": "pass", "Rectum": "review", **(lights or {})}
    pictures = tuple(_picture(name, judged[name]) for name in BALLS)
    worst = max(judged.values(), key=("pass", "review", "reject").index)
    manifest = Manifest(
        written="2026-11-20T10:11:12+01:00",
        versions={"recontour": "0.0.0", "python": "3.11.2"},
        settings=Settings().as_dict(),
        planning=ScanRecord("1.2.3", "1.2.3.1", "1.2.3.9", 120),
        daily=ScanRecord("1.2.4", "1.2.4.1", "1.2.4.9", 118),
        structures_uid="1.2.3.2",
        outputs=(),
        alignment=AlignmentRecord((1.0, -2.0, 0.5), 0.4, 1.001, 0.97),
        rois=tuple(p.record for p in pictures),
        light=worst,
        reasons=("Rectum: the image does not match",) if worst != "pass" else (),
        left_out={"EXTERNAL": "an outline of the body"},
        seconds={"read": 1.0, "refine": 3.5},
    )
    moved = np.zeros((3, *REGION.size), np.float32)
    moved[1] = -3.0
    planned, daily = scan(0), scan(1)
    return Fraction("P-7f3a91c2", manifest, REGION, daily, planned, daily, Field(REGION, moved), pictures)


def without_field() -> Fraction:
    return replace(fraction(), field_daily_to_planning=None, remarks=("no registration file",))


def _picture(name: str, light: Light) -> RoiPicture:
    then, now, radius_then, radius_now, _, colour = BALLS[name]
    shift = np.subtract(now, then)
    facts = RoiFacts(
        name,
        name.lower(),
        before_ml=4.18879e-3 * radius_then**3,
        after_ml=4.18879e-3 * radius_now**3,
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        image_match=0.62 if light != "pass" else 0.93,
    )
    reasons = () if light == "pass" else ("the image does not match after warping (0.62, limit 0.70)",)
    largest = float(np.linalg.norm(shift)) + abs(radius_now - radius_then)
    worst = (now[0], now[1], now[2] + radius_now)
    change = SurfaceChange(0.6 * largest, 0.9 * largest, largest, worst)
    shapes = ball(then, radius_then), ball(now, radius_now)
    return RoiPicture(RoiRecord.of(facts, Verdict(light, reasons)), colour, *shapes, change)
