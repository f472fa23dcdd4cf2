"""Where organs lie to each other: a truth table around one ordinary man."""

from __future__ import annotations

import numpy as np
import pytest

from recontour.qa.order import out_of_order

MAN = {
    "prostate": (0.0, 0.0, 0.0),
    "bladder": (2.0, -10.0, 40.0),
    "rectum": (4.0, 40.0, 12.0),
    "seminal_vesicles": (-1.0, 12.0, 17.0),
}


def judged(**centres: tuple[float, float, float] | None) -> dict[str, str]:
    organs = {**MAN, **centres}
    return out_of_order({organ: np.array(centre) for organ, centre in organs.items() if centre is not None})


def swapped(a: str, b: str) -> dict[str, str]:
    return judged(**{a: MAN[b], b: MAN[a]})


def test_an_ordinary_man_is_in_order() -> None:
    assert judged() == {}
    assert judged(bladder=None, rectum=None, seminal_vesicles=None) == {}


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("prostate", "bladder", "not below the bladder"),
        ("prostate", "rectum", "not in front of the rectum"),
        ("prostate", "seminal_vesicles", "not below the seminal vesicles"),
        ("bladder", "rectum", "not in front of the rectum"),
    ],
)
def test_two_that_changed_places_are_both_named(a: str, b: str, says: str) -> None:
    found = swapped(a, b)
    assert {a, b} <= set(found)
    assert says in found[a]


def test_an_organ_of_the_middle_is_not_at_the_side() -> None:
    found = judged(prostate=(-95.0, 0.0, 0.0))
    assert "97 mm to the side of the bladder" in found["prostate"]
    assert judged(prostate=(-35.0, 0.0, 0.0)) == {}
