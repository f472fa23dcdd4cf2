"""What a training leaves to read: log.csv, validation.csv, and the same as TensorBoard events.

A row of log.csv: step (done), seconds (of the whole training), learning_rate, loss, every term as it was before
weighting, every weight (w_...), for each of the four cross-stitch units the mean of its diagonal and of its
off-diagonal weights (the paper's figure 4), the norm of the gradient, and, as a mean since the row before, the
seconds of a step and of waiting for data: where the second is not small, the device waits.
A row of validation.csv: step, pair, path, organ, msd_mm, hd95_mm, dice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recontour.errors import OutputRefused
from recontour.network.architectures import Network
from recontour.network.blocks import CrossStitch
from recontour.train.folder import LOG, TENSORBOARD, VALIDATION, write_whole

if TYPE_CHECKING:
    from recontour.train.validate import PathScore

STITCHES = ("stitch_down0", "stitch_down1", "stitch_up0", "stitch_up1")  # CS#1 to CS#4 of figure 4
VALIDATION_COLUMNS = ("step", "pair", "path", "organ", "msd_mm", "hd95_mm", "dice")
Row = Mapping[str, float | str]


class RunLog:
    """Appends to the logs of a run that stands at `step` and was validated at `validated`: rows of later steps, which
    are about to be taken again, are dropped first. Raises OutputRefused where a row cannot be written."""

    def __init__(self, run: Path, step: int, validated: int) -> None:
        self.run = run
        drop_rows_after(run / LOG, step)
        drop_rows_after(run / VALIDATION, validated)
        self.events = _event_writer(run / TENSORBOARD, step)

    @property
    def has_tensorboard(self) -> bool:
        return self.events is not None

    def step(self, row: Row) -> None:
        """One line of log.csv; the columns are those of the first row."""
        self._append(LOG, [row], tuple(row))
        self._add({name: value for name, value in row.items() if name not in ("step", "seconds")}, int(row["step"]))

    def validation(self, step: int, scores: Sequence[PathScore], mean_msd_mm: float) -> None:
        """One line of validation.csv for each score, and their mean as an event."""
        rows = [{"step": step, **{name: getattr(s, name) for name in VALIDATION_COLUMNS[1:]}} for s in scores]
        self._append(VALIDATION, rows, VALIDATION_COLUMNS)
        self._add({"validation_msd_mm": mean_msd_mm}, step)

    def close(self) -> None:
        if self.events is not None:
            self.events.close()

    def _append(self, name: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
        path = self.run / name
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not path.exists():
            writer.writeheader()
        writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise self._refused(name, error) from error

    def _add(self, values: Row, step: int) -> None:
        if self.events is None:
            return
        try:
            for name, value in values.items():
                self.events.add_scalar(_group(name), float(value), step)
        except OSError as error:  # of an earlier event: they are written by a thread
            raise self._refused(TENSORBOARD, error) from error

    def _refused(self, name: str, error: OSError) -> OutputRefused:
        allowed = "make room; the checkpoints stand, and the same command goes on from there"
        found = f"the log cannot be written: {error.strerror}"
        return OutputRefused(found, where=f"{self.run.name}/{name}", allowed=allowed)


def stitch_means(network: Network) -> dict[str, float]:
    """Mean of the diagonal and of the off-diagonal of each cross-stitch unit; empty for other networks."""
    means: dict[str, float] = {}
    for name in STITCHES:
        unit = getattr(network, name, None)
        if isinstance(unit, CrossStitch):
            weight = unit.weight.detach()  # (channels, 2, 2)
            means[f"{name}_diagonal"] = float(weight[:, [0, 1], [0, 1]].mean())
            means[f"{name}_off_diagonal"] = float(weight[:, [0, 1], [1, 0]].mean())
    return means


def drop_rows_after(path: Path, step: int) -> None:
    """Keeps the header and the whole rows up to `step`; a row that was cut short by a crash is none."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    columns = len(_fields(lines[0])) if lines else 0
    kept = [line for line in lines[1:] if line.endswith("\n") and len(_fields(line)) == columns and _step(line) <= step]
    if len(kept) + 1 == len(lines):
        return
    if kept:
        write_whole(path, "".join([lines[0], *kept]).encode())
    else:
        path.unlink()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of one of the two CSV files, by column; empty where there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _fields(line: str) -> list[str]:
    return next(iter(csv.reader([line])))


def _step(line: str) -> float:
    first = _fields(line)[0]
    return int(first) if first.isdigit() else float("inf")


def _short(value: float | str) -> float | str:
    return f"{value:.6g}" if isinstance(value, float) else value


def _group(name: str) -> str:
    """TensorBoard draws what begins alike together."""
    if name.startswith("w_"):
        return f"weights/{name.removeprefix('w_')}"
    if name.startswith("stitch_"):
        return f"cross-stitch/{name.removeprefix('stitch_')}"
    return f"speed/{name}" if name.endswith("_seconds") else f"training/{name}"


def _event_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
