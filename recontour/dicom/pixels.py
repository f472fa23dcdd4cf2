"""Stored pixels to Hounsfield units."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recontour.dicom.files import read_dataset
from recontour.dicom.slices import Slice
from recontour.errors import ScanRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AIR_HU = -1000.0
LOWEST_HU = -1024.0  # what scanners write below it is the outside of their round field of view


def hounsfield(slices: Sequence[Slice]) -> NDArray[np.float32]:
    """(N, rows, columns) float32 HU, in the order of `slices`; pixels marked as padding are air.

    Files are read in parallel. Raises ScanRefused with the file whose pixels are short or cannot be decoded.
    """
    plane = slices[0].plane
    out = np.empty((len(slices), plane.rows, plane.columns), np.float32)
    by_file: dict[Path, list[int]] = {}
    for place, image in enumerate(slices):
        by_file.setdefault(image.path, []).append(place)

    def fill(places: list[int]) -> None:
        _fill(out, [(place, slices[place]) for place in places])

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for _ in pool.map(fill, by_file.values()):
            pass
    return out


def _fill(out: NDArray[np.float32], part: list[tuple[int, Slice]]) -> None:
    path = part[0][1].path
    dataset, stored = _stored(path)
    if stored.shape[1:] != out.shape[1:]:
        raise ScanRefused(f"pixels of shape {stored.shape[1:]}", where=path.name, allowed=str(out.shape[1:]))
    for place, image in part:
        raw = stored[max(image.frame - 1, 0)]
        target = out[place]
        np.multiply(raw, np.float32(image.slope), out=target)
        target += np.float32(image.intercept)
        np.maximum(target, LOWEST_HU, out=target)
        low_high = _padding(dataset)
        if low_high:
            target[(raw >= low_high[0]) & (raw <= low_high[1])] = AIR_HU


def _stored(path: Path) -> tuple[Dataset, NDArray[Any]]:
    """The dataset and its stored values, (frames, rows, columns) integers."""
    try:
        dataset = read_dataset(path)
        syntax: Any = dataset.file_meta.get("TransferSyntaxUID")
        stored = dataset.pixel_array if syntax is not None and syntax.is_encapsulated else _native(dataset)
        return dataset, stored.reshape(-1, int(dataset.Rows), int(dataset.Columns))
    except Exception as error:  # decoders raise many kinds, some of them their own
        raise ScanRefused(
            "pixels that are cut off or cannot be decoded", where=path.name, allowed="copy the file again or convert it"
        ) from error


def _native(dataset: Dataset) -> NDArray[Any]:
    """Uncompressed pixels. Bits above the stored ones may be anything (PS3.5 8.1.1): shifted out, with the sign."""
    allocated, stored_bits = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16, 32) or int(dataset.HighBit) != stored_bits - 1 or stored_bits > allocated:
        raise ValueError(f"{stored_bits} of {allocated} bits, high bit {dataset.HighBit}")
    order = ">" if dataset.original_encoding[1] is False else "<"
    kind = "i" if int(dataset.PixelRepresentation) == 1 else "u"
    count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    values = np.frombuffer(dataset.PixelData, dtype=f"{order}{kind}{allocated // 8}", count=count)
    spare = allocated - stored_bits
    return (values << spare) >> spare if spare else values


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """The lowest and highest stored value that mean "no image here" (PS3.3 C.7.5.1.1.2)."""
    ends = [dataset.get(k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    values = [int(v) for v in ends if v is not None and v != ""]
    if not values or ends[0] is None:
        return None
    if int(dataset.PixelRepresentation) == 1:  # some writers give the two's complement as unsigned
        values = [v - 65536 if v > 32767 else v for v in values]
    return min(values), max(values)
