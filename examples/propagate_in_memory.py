"""Bring planning shapes to a daily scan, in memory: no file is read or written.

python examples/propagate_in_memory.py
"""

from recontour.phantom.scans import phantom_pair
from recontour.pipeline import PlannedRoi, propagate
from recontour.qa.metrics import surface_distances
from recontour.settings import Settings


def main() -> None:
    # A made patient and a day of his life, coarse so that this takes seconds; yours come from dicom.series.read_series.
    planning, shapes, day = phantom_pair(seed=3, spacing_mm=(5.0, 4.0, 4.0))
    rois = [PlannedRoi(name, shapes[name]) for name in ("Prostate", "Bladder", "Rectum")]

    result = propagate(planning, day.volume, rois, Settings(method="refine"))

    for name, shape in result.level_sets.items():
        error = surface_distances(shape, day.level_sets[name])
        print(f"{name:<10} {shape.volume_ml:6.1f} ml, {error.msd_mm:.2f} mm from the truth on average")


if __name__ == "__main__":
    main()
