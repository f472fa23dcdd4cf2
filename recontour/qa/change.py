"""How far an organ's surface lies from where the plan had it, and where most."""

from __future__ import annotations

import numpy as np

from recontour.geometry.volume import LevelSet
from recontour.qa.fraction import SurfaceChange
from recontour.qa.surface import surface_of


def surface_change(planned: LevelSet, daily: LevelSet) -> SurfaceChange | None:
    """From every point of the daily surface to the nearest place on the planned one: mean and 95th percentile by
    area, the largest and where it is; grids may differ. None where either has no surface."""
    then, now = surface_of(planned), surface_of(daily)
    if then.empty or now.empty:
        return None
    away_mm, area_mm2 = then.distance_of(now.points), now.area_at_points
    order = np.argsort(away_mm)
    reached = np.cumsum(area_mm2[order])
    p95 = away_mm[order[np.searchsorted(reached, 0.95 * reached[-1])]]
    worst = int(away_mm.argmax())
    x, y, z = (float(v) for v in now.points[worst])
    mean = float(np.average(away_mm, weights=area_mm2))
    return SurfaceChange(mean, float(p95), float(away_mm[worst]), (x, y, z))
