"""Arrays as text that a page can carry and a browser can read at once: scans as JPEG, the rest deflated.

A scan's HU become 8-bit codes, fine where soft tissue lies and coarse in gas and bone:

    HU      -1024 ... -200 ... 300 ... 2000
    code        0       38     205      255      a step is 21.7, 3.0 and 34.0 HU

so rounding costs at most 11, 1.5 and 17 HU (and 0.5 for whole HU). Several slices form one grey JPEG, one below the
other, each padded to whole blocks of 8 pixels, so that no block shows two slices.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

HU_KNOTS = (-1024.0, -200.0, 300.0, 2000.0)
CODE_KNOTS = (0.0, 38.0, 205.0, 255.0)
QUALITIES = (85, 75, 60, 40)  # of JPEG: the first that fits
SLICES_PER_PICTURE = 16
_BLOCK = 8

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """A value for JSON (`facts`), and by name the texts (base64) that it speaks of."""

    facts: dict[str, Any]
    texts: dict[str, str]


def codes_of_hu(hu: NDArray[np.float32]) -> Codes:
    """(...) uint8: the code of every HU, beyond the range that of its end; what is not a number is air."""
    low, high = int(HU_KNOTS[0]), int(HU_KNOTS[-1])
    table = np.rint(np.interp(np.arange(low, high + 1), HU_KNOTS, CODE_KNOTS)).astype(np.uint8)
    whole = np.rint(np.clip(np.nan_to_num(hu, nan=low), low, high)).astype(np.int16)
    return table[whole - low]


def hu_of_codes(codes: Codes) -> NDArray[np.float64]:
    """(...) float64: the HU that each code stands for, as the page reads it."""
    return np.interp(codes, CODE_KNOTS, HU_KNOTS)


def quality_for(hu: NDArray[np.float32], limit_bytes: float) -> int:
    """The best of QUALITIES at which a scan like `hu` (D, H, W) stays below `limit_bytes` of text, judged by the
    slices in its middle."""
    middle = max(0, (len(hu) - SLICES_PER_PICTURE) // 2)
    part = hu[middle : middle + SLICES_PER_PICTURE]
    for quality in QUALITIES[:-1]:
        if len(_jpeg(_tall(part), quality)) * len(hu) / len(part) <= limit_bytes:
            return quality
    return QUALITIES[-1]


def pack_scan(name: str, hu: NDArray[np.float32], quality: int = QUALITIES[0]) -> Packed:
    """(D, H, W) HU as JPEGs of SLICES_PER_PICTURE slices. facts: size, padded (rows, columns), per, and of every
    picture its text's name and its mean code: a browser that alters pictures is noticed by it."""
    padded = [-(-n // _BLOCK) * _BLOCK for n in hu.shape[1:]]

    def picture(part: NDArray[np.float32]) -> tuple[str, float]:
        codes = _tall(part)
        return _jpeg(codes, quality), float(codes.mean())

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(picture, _parts(hu)))
    names = [f"{name}-{k}" for k in range(len(done))]
    pictures = [{"text": text, "mean": mean} for text, (_, mean) in zip(names, done, strict=True)]
    facts = {"size": list(hu.shape), "padded": padded, "per": SLICES_PER_PICTURE, "pictures": pictures}
    return Packed(facts, {text: jpeg for text, (jpeg, _) in zip(names, done, strict=True)})


def pack_lattice(name: str, values: NDArray[Any], scale: float, first: tuple[int, ...], step: int) -> Packed:
    """(..., D, H, W) int8, uint8 or int16 as deflated differences along x (int16: low bytes, then high bytes).

    scale: what 1 means. first, step: the region's voxel (z, y, x) of the first value, and voxels between two values.
    """
    kinds = {"int8": "i1", "uint8": "u1", "int16": "i2"}
    unsigned = values.view(np.uint16 if values.dtype.itemsize == 2 else np.uint8)
    steps = np.diff(unsigned, axis=-1, prepend=unsigned.dtype.type(0)).ravel()
    halves = [(steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)][: values.dtype.itemsize]
    raw = b"".join(half.tobytes() for half in halves)
    facts = {
        "text": name,
        "kind": kinds[values.dtype.name],
        "size": list(values.shape),
        "scale": scale,
        "first": list(first),
        "step": step,
    }
    return Packed(facts, {name: base64.b64encode(zlib.compress(raw, 6)).decode("ascii")})


def _parts(hu: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for low in range(0, len(hu), SLICES_PER_PICTURE):
        yield hu[low : low + SLICES_PER_PICTURE]


def _tall(hu: NDArray[np.float32]) -> Codes:
    """(D, H, W) HU as codes (D * padded H, padded W), one slice below the other."""
    margins = [(0, 0), *((0, -n % _BLOCK) for n in hu.shape[1:])]
    codes = np.pad(codes_of_hu(hu), margins, mode="edge")
    return codes.reshape(-1, codes.shape[-1])


def _jpeg(codes: Codes, quality: int) -> str:
    from PIL import Image

    file = io.BytesIO()
    cast("Any", Image).fromarray(codes).save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode("ascii")
