"""Men who are kept on disk: read as they were made, made once, never half written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from recontour.errors import UsageError
from recontour.train import men
from recontour.train.dataset import ROIS
from recontour.train.men import Man, kept_man, make_man
from tests.train.balls import ball_man


def same(one: Man, other: Man) -> bool:
    a, b = one.movable, other.movable
    arrays = [(one.planning.array, other.planning.array), (a.volume.array, b.volume.array), (a.mobility, b.mobility)]
    arrays += [(a.distance[organ], b.distance[organ]) for organ in ROIS]
    arrays += [(a.level_sets[roi].array, b.level_sets[roi].array) for roi in ROIS.values()]
    grids = [(one.planning.grid, other.planning.grid), (a.volume.grid, b.volume.grid), (a.knots, b.knots)]
    grids += [(a.level_sets[roi].grid, b.level_sets[roi].grid) for roi in ROIS.values()]
    about = (a.noise_hu, a.held_mm, a.organs) == (b.noise_hu, b.held_mm, b.organs)
    return about and all(np.array_equal(x, y) for x, y in arrays) and all(x == y for x, y in grids)


def test_a_man_is_read_as_he_was_made_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []
    monkeypatch.setattr(men, "make_man", lambda seed: made.append(seed) or ball_man(noise_hu=7.5))
    assert same(kept_man(tmp_path / "men", 4), ball_man(noise_hu=7.5))
    assert same(kept_man(tmp_path / "men", 4), ball_man(noise_hu=7.5))
    assert made == [4]


def test_processes_that_make_the_same_man_at_once_do_not_harm_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    man, all_making = ball_man(), Barrier(4)
    monkeypatch.setattr(men, "make_man", lambda seed: (all_making.wait(20), man)[1])
    with ThreadPoolExecutor(4) as pool:
        assert all(same(got, man) for got in pool.map(lambda _: kept_man(tmp_path, 1), range(4)))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(men, "make_man", lambda seed: ball_man())
    kept_man(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UsageError, match=r"000001.*delete"):
        kept_man(tmp_path, 1)


def test_a_real_phantom_has_what_a_day_needs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(men, "SCAN_MM", (6.0, 5.0, 5.0))  # coarse, so that it is quick
    man = make_man(2)
    assert set(man.movable.level_sets) == set(ROIS.values()) and set(man.movable.distance) == set(ROIS)
    for scan in (man.planning, man.movable.volume):
        assert np.array_equal(scan.array, np.rint(scan.array)) and np.abs(scan.array).max() < 32767
    low, high = man.planning.grid.bounds_mm()
    whole = man.movable.volume.grid.bounds_mm()
    for shape in man.movable.level_sets.values():  # 30 mm around the organs, seen from 20 mm away and a little turned
        a, b = shape.grid.bounds_mm()
        assert (low <= np.maximum(a - 60, whole[0])).all() and (high >= np.minimum(b + 60, whole[1])).all()
    assert man.planning.array.size < 0.8 * man.movable.volume.array.size
