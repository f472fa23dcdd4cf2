"""Which configurations the wanted tables need, each once, and which row of which table shows which of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from recontour.compare.settings import CompareSettings
from recontour.network.catalogue import ARCHITECTURES, FIXED, INPUTS, MOVING, MOVING_LABELS
from recontour.train.settings import TrainSettings

NAMES = {
    "seg": "Seg",
    "reg": "Reg",
    "jrs-reg": "JRS-reg",
    "dense": "Dense",
    "sedd": "SEDD",
    "cross-stitch": "Cross-stitch",
    "elastix": "elastix",
    "elastix-soft-tissue": "elastix, soft tissue",
    "hybrid": "Hybrid",
    "jrs-gan": "JRS-GAN",
}
FIGURE_2 = ("reg", "jrs-reg", "cross-stitch")
_SYMBOLS = {FIXED: "If", MOVING: "Im", MOVING_LABELS: "Sm"}
_ALL, _SCANS, _DAY, _DAY_AND_PLAN = INPUTS, (FIXED, MOVING), (FIXED,), (FIXED, MOVING_LABELS)

# Table 1: inputs, and for the cross-stitch network the inputs of its segmentation path.
_TABLE_1: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "seg": ((_DAY, ()), (_DAY_AND_PLAN, ()), (_SCANS, ()), (_ALL, ())),
    "reg": ((_SCANS, ()), (_ALL, ())),
    "jrs-reg": ((_SCANS, ()), (_ALL, ())),
    "cross-stitch": ((_SCANS, _DAY), (_ALL, _DAY), (_ALL, _DAY_AND_PLAN), (_ALL, _ALL)),
}
# The paper's choice after it (section IV-B).
_CHOSEN: dict[str, tuple[str, ...]] = {
    "seg": _DAY,
    "reg": _SCANS,
    "jrs-reg": _ALL,
    "dense": _ALL,
    "sedd": _ALL,
    "cross-stitch": _ALL,
}


@dataclass(frozen=True)
class Job:
    """One configuration. key: its name and that of its folder. training: what is trained; None for a rival that is
    not. needs: the key of the job whose network it takes, or empty."""

    key: str
    method: str
    training: TrainSettings | None = None
    needs: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """The output paths it is scored by, in the tables' order."""
        if self.training is None:
            return ("registration",)
        heads = ARCHITECTURES[self.training.network.architecture].heads
        return tuple(path for head, path in _PATHS.items() if head in heads)


_PATHS = {"segmentation": "segmentation", "field": "registration"}


@dataclass(frozen=True)
class Row:
    """One line of a table, or two where there are two output paths. detail: the input or the weighting. job: None
    for a rival that the study leaves out; its place is kept."""

    network: str
    detail: str
    job: Job | None


def plan(settings: CompareSettings) -> list[Job]:
    """All jobs, each once, in the order they are worth doing: the networks as the paper chose them, their rivals, and
    then what led to the choice. A job comes after the one it needs."""
    wanted: list[Row] = []
    for number in (3, 4, 5, 2, 1):
        if number in settings.tables:
            wanted += rows_of(number, settings)
    if 2 in settings.figures:
        wanted += [row for rows in figure_rows(settings).values() for row in rows]
    jobs: dict[str, Job] = {}
    for row in wanted:
        if row.job is not None:
            if row.job.needs:
                needed = final_job(settings.hybrid_network, settings)
                jobs.setdefault(needed.key, needed)
            jobs.setdefault(row.job.key, row.job)
    return list(jobs.values())


def rows_of(table: int, settings: CompareSettings) -> list[Row]:
    """The rows of table 1 to 5, in the paper's order."""
    if table == 1:
        return _inputs(settings)
    if table == 2:
        return _weightings(settings)
    chosen = [Row(NAMES[name], "", final_job(name, settings)) for name in _of(settings, tuple(ARCHITECTURES))]
    rivals = [Row(NAMES[name], "", _rival(name, settings)) for name in tuple(NAMES)[len(ARCHITECTURES) :]]
    if table < 5:
        return chosen + rivals
    return [row for row in chosen + rivals if row.job is None or "registration" in row.job.paths]


def figure_rows(settings: CompareSettings) -> dict[float, list[Row]]:
    """Figure 2: by bending weight, each of its networks, weighted equally."""
    names = _of(settings, FIGURE_2)
    return {
        weight: [Row(NAMES[name], "", _job(name, _CHOSEN[name], settings, bending=weight)) for name in names]
        for weight in sorted(settings.bending_weights)
    }


def final_job(name: str, settings: CompareSettings) -> Job:
    """A network with the inputs and the weighting of tables 3, 4 and 5."""
    return _job(name, _CHOSEN[name], settings, "homoscedastic" if name in settings.homoscedastic else "equal")


def _inputs(settings: CompareSettings) -> list[Row]:
    rows: list[Row] = []
    for name in _of(settings, tuple(_TABLE_1)):
        for inputs, segmentation in _TABLE_1[name]:
            shown = f"{_shown(segmentation)} \\|\\| {_shown(inputs)}" if segmentation else _shown(inputs)
            rows.append(Row(NAMES[name], shown, _job(name, inputs, settings, segmentation=segmentation)))
    return rows


def _weightings(settings: CompareSettings) -> list[Row]:
    shown = {"equal": "Equal", "homoscedastic": "Homoscedastic", "dwa": "DWA"}
    return [
        Row(NAMES[name], shown[weighting], _job(name, _CHOSEN[name], settings, weighting))
        for name in _of(settings, ("jrs-reg", "dense", "sedd", "cross-stitch"))
        for weighting in settings.weightings
    ]


def _rival(name: str, settings: CompareSettings) -> Job | None:
    if name not in settings.rivals:
        return None
    if name == "jrs-gan":
        return _jrs_gan(settings)
    return Job(name, name, needs=final_job(settings.hybrid_network, settings).key if name == "hybrid" else "")


def _jrs_gan(settings: CompareSettings) -> Job:
    """JRS-reg whose warped contours a critic judges (Elmahdy et al., MICCAI 2019)."""
    job = _job("jrs-reg", _SCANS, settings)
    assert job.training is not None
    loss = replace(job.training.loss, adversarial=settings.adversarial)
    key = job.key.replace("jrs-reg", "jrs-gan", 1)
    return Job(key, "jrs-gan", replace(job.training, loss=loss))


def _job(
    name: str,
    inputs: tuple[str, ...],
    settings: CompareSettings,
    weighting: str = "equal",
    segmentation: tuple[str, ...] = (),
    bending: float | None = None,
) -> Job:
    base = settings.train
    weight = base.loss.w_bending if bending is None else bending
    unusual = segmentation if set(segmentation) - {FIXED} else ()
    network = replace(
        base.network, architecture=name, inputs=_unless_usual(name, inputs), segmentation_inputs=_sorted(unusual)
    )
    loss = replace(base.loss, weighting=weighting, w_bending=weight, adversarial=0.0)
    key = f"{name}_{'+'.join(_sorted(inputs))}_{weighting}_be{weight:g}"
    key += f"_seg-{'+'.join(_sorted(unusual))}" if unusual else ""
    return Job(key, name, replace(base, network=network, loss=loss))


def _unless_usual(name: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Empty for what the network is given anyway: the same training by the same name."""
    return () if set(inputs) == set(ARCHITECTURES[name].inputs) else _sorted(inputs)


def _sorted(inputs: Iterable[str]) -> tuple[str, ...]:
    return tuple(image for image in INPUTS if image in inputs)


def _shown(inputs: tuple[str, ...]) -> str:
    return " ⊕ ".join(_SYMBOLS[image] for image in _sorted(inputs))


def _of(settings: CompareSettings, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in settings.networks)
