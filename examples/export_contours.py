"""Draw a shape of your own on a CT series and write it as an RTSTRUCT.

python examples/export_contours.py CT_FOLDER OUT.dcm
"""

import sys
from pathlib import Path

import numpy as np

from recontour.dicom.rtstruct import Provenance, RoiToWrite, write_rtstruct
from recontour.dicom.series import read_series
from recontour.geometry.contours import contours_from_level_set
from recontour.geometry.grid import Grid
from recontour.geometry.volume import LevelSet


def main(folder: Path, out: Path) -> None:
    series = read_series(folder)

    # A ball of 20 mm in the middle of the scan, as the distance to its surface in mm, positive inside.
    low, high = series.volume.grid.bounds_mm()
    centre = (low + high) / 2
    grid = Grid.around(centre - 30, centre + 30, spacing_mm=1.0)
    distance = 20.0 - np.linalg.norm(grid.points() - centre, axis=-1)
    ball = LevelSet(grid, distance.astype(np.float32))

    contours = contours_from_level_set(ball, series.planes)  # sub-voxel, on the scan's own slices
    roi = RoiToWrite(number=1, name="Ball", contours=contours, colour=(255, 128, 0), interpreted_type="CONTROL")
    write_rtstruct(out, series, [roi], Provenance(algorithm_name="example"))
    print(f"{out.name}: {sum(map(len, contours))} contours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
