"""Asks dicompyler-core for DVHs of its own example: run as a program of its own, since its folder holds a package that
is called "tests" as ours is, and it needs names that newer pydicom has no more.

    python dicompyler_dvh.py FOLDER '{"Heart": 5, "BODY": 1}' > dvhs.json

A factor above 1 hands it the example's dose on pixels that much finer, linear between the original ones and cut to the
structure. Its own `interpolation_resolution` is not asked for: it stretches the pixel coordinates from the first to
the last pixel of the part, but takes the doses by the pixels' outer edges, which shifts one against the other by
almost 1 mm here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.dicomio
from numpy.typing import NDArray


def main(folder: Path, factors: dict[str, int]) -> dict[str, Any]:
    pydicom_dicomio: Any = pydicom.dicomio
    pydicom_dicomio.read_file = pydicom.dcmread
    sys.path.insert(0, str(folder))
    from dicompylercore import dicomparser, dvhcalc  # pyright: ignore

    data = folder / "tests" / "testdata" / "example_data"
    structures: Any = dicomparser.DicomParser(str(data / "rtss.dcm"))
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, structure in structures.GetStructures().items():
            name = structure["name"]
            if name not in factors:
                continue
            dose = data / "rtdose.dcm"
            if factors[name] > 1:
                planes = structures.GetStructureCoordinates(number).values()
                points = np.array([p for plane in planes for contour in plane for p in contour["data"]], float)
                dose = finer_dose(dose, points[:, :2], factors[name], Path(scratch) / "dose.dcm")
            dvh: Any = dvhcalc.get_dvh(str(data / "rtss.dcm"), str(dose), number)
            out[name] = {"dose_gy": list(map(float, dvh.bins[:-1])), "ml": list(map(float, dvh.counts))}
    return out


def finer_dose(path: Path, around: NDArray[np.float64], factor: int, out: Path) -> Path:
    """The dose on pixels `factor` times finer, within a pixel of the (N, 2) x, y points, in a file of its own."""
    dataset: Any = pydicom.dcmread(path)
    array = dataset.pixel_array.astype(float)
    first = np.array(dataset.ImagePositionPatient[:2], float)
    spacing = float(dataset.PixelSpacing[0])
    index = (around - first) / spacing
    low = np.maximum(np.floor(index.min(axis=0)) - 1, 0)
    high = np.minimum(np.ceil(index.max(axis=0)) + 1, [array.shape[2] - 1, array.shape[1] - 1])
    x, y = (np.arange(low[k] * factor, high[k] * factor + 1) / factor for k in range(2))
    array = linear(linear(array, y, 1), x, 2)
    dataset.Rows, dataset.Columns = array.shape[1:]
    dataset.PixelSpacing = [spacing / factor] * 2
    dataset.ImagePositionPatient[:2] = [float(first[0] + x[0] * spacing), float(first[1] + y[0] * spacing)]
    dataset.PixelData = np.rint(array).astype("<u4").tobytes()
    dataset.save_as(out)
    return out


def linear(array: NDArray[np.float64], position: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    low = np.minimum(position.astype(int), array.shape[axis] - 2)
    share = np.expand_dims(position - low, [k for k in range(3) if k != axis])
    return np.take(array, low, axis) * (1 - share) + np.take(array, low + 1, axis) * share


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
