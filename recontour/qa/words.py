"""Numbers in the words of the clinic."""

from __future__ import annotations

from collections.abc import Sequence

_SIDES = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))  # LPS: + and - of x, y, z


def in_words(shift_mm: Sequence[float]) -> str:
    """A displacement (x, y, z) in LPS mm as "1.2 mm left, 3.0 mm anterior, 0.4 mm inferior": of the patient, not of
    the screen. Parts below 0.05 mm are not named."""
    parts = [
        f"{abs(value):.1f} mm {sides[0] if value > 0 else sides[1]}"
        for value, sides in zip(shift_mm, _SIDES, strict=True)
        if abs(value) >= 0.05
    ]
    return ", ".join(parts) or "no shift"
