"""Everything that can be wrong is found before the first step: settings, folder, checkpoint, data, memory, disk.

What is slow comes last: phantoms are made only once all else is right.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recontour.errors import MemoryShort, ModelRefused, SettingsError, UsageError
from recontour.network.architectures import Network, build_network
from recontour.network.catalogue import ARCHITECTURES, DICE_REGISTRATION, DICE_SEGMENTATION, LABELS
from recontour.network.predict import choose_precision
from recontour.network.released import open_model
from recontour.train.ahead import Ahead
from recontour.train.checkpoint import Training, last_weights, load_checkpoint, set_checkpoint_aside
from recontour.train.critic import Critic
from recontour.train.dataset import ScanPair, patient_of, read_splits
from recontour.train.folder import CHECKPOINT, MEN, check_room, keep_settings
from recontour.train.losses import BOUNDARY, CROSS_ENTROPY, FIELD
from recontour.train.parallel import Place, average, find_place, first_goes_first
from recontour.train.settings import TrainSettings
from recontour.train.sources import PairSource, Source
from recontour.train.weighting import make_weighting

# Of the doubled batch: peak memory of a step of the cross-stitch network, which needs most (measured 1340 and 890).
BYTES_PER_VOXEL = {torch.float32: 1400.0, torch.bfloat16: 900.0}
BYTES_PER_ROW = 2500.0  # of log.csv and the events beside it
CRITIC_BETAS = (0.5, 0.9)  # Gulrajani et al. 2017 have (0, 0.9) or (0.5, 0.9)
FILES_AT_ONCE = 4  # checkpoint, previous, the one being written, and the best one with what else lies there


@dataclass(frozen=True)
class Job:
    """What stays as it is while a network learns. names: the terms of its loss, the critic's apart. dtype: of the
    convolutions."""

    settings: TrainSettings
    run: Path
    place: Place
    names: tuple[str, ...]
    dtype: torch.dtype


def make_job(settings: TrainSettings, run: Path) -> Job:
    """Raises SettingsError or UsageError for a device or precision that is not here."""
    place = find_place(settings.device)
    registers = "field" in ARCHITECTURES[settings.network.architecture].heads
    if settings.loss.adversarial and not registers:
        allowed = "0, or a network that registers: the critic judges warped contours"
        raise SettingsError(f"{settings.loss.adversarial}", where="loss.adversarial", allowed=allowed)
    return Job(settings, run, place, term_names(settings), choose_precision(settings.precision, place.device))


def term_names(settings: TrainSettings) -> tuple[str, ...]:
    """The terms that the network is trained with."""
    row = ARCHITECTURES[settings.network.architecture]
    with_boundary = settings.loss.boundary > 0 and "segmentation" in row.heads
    with_field = settings.loss.w_field > 0 and "field" in row.heads
    with_entropy = settings.loss.w_cross_entropy > 0 and "segmentation" in row.heads
    added = {BOUNDARY: with_boundary, FIELD: with_field, CROSS_ENTROPY: with_entropy}
    return (*row.losses, *(name for name, wanted in added.items() if wanted))


def begin_or_go_on(job: Job, from_previous: bool) -> Training:
    """The training as the run's checkpoint has it, or at its beginning. The folder is locked by the first process.

    Raises SettingsError, ModelRefused, MemoryShort or OutputRefused; nothing is then changed but the lock.
    """
    training = new_training(job)
    with first_goes_first(job.place):
        if job.place.first:
            check_memory(job)
            check_room(job.run, _bytes_needed(training, job.settings))
            keep_settings(job.run, job.settings, job.place.processes)
            if from_previous:
                set_checkpoint_aside(job.run)
        load_checkpoint(job.run, training)
    agreed = torch.tensor([float(training.step)], device=job.place.device)
    average([agreed], job.place)
    if float(agreed) != training.step:
        found = "the processes go on from different steps"
        raise UsageError(found, where=job.run.name, allowed="a run's folder that all nodes see")
    return training


def new_training(job: Job) -> Training:
    """Everything at its beginning, drawn from the seed, on the job's device."""
    settings, device = job.settings, job.place.device
    if device.type == "cuda":  # of all that torch offers for equal runs, what costs little: see docs/training.md
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.manual_seed(settings.seed)  # pyright: ignore[reportUnknownMemberType]
    chosen = settings.network
    network = build_network(chosen.architecture, chosen.inputs or None, chosen.segmentation_inputs or None)
    if chosen.start_from:
        take_weights(network, chosen.start_from)
    network = lay_channels_last(network.train().to(device))
    if chosen.fixed_norms:
        fix_norms(network)
    weighting = make_weighting(settings.loss, job.names).to(device)
    rate = settings.optimiser.learning_rate
    groups = [*_groups(network, rate, settings.optimiser.head_rate), {"params": list(weighting.parameters())}]
    groups = [group for group in groups if group["params"]]
    optimiser = torch.optim.RAdam(groups, lr=rate, betas=(0.9, settings.optimiser.beta2))
    if not settings.loss.adversarial:
        return Training(network, weighting, optimiser)
    critic = Critic().to(device)
    rivals = torch.optim.Adam(critic.parameters(), lr=settings.optimiser.critic_rate, betas=CRITIC_BETAS)
    return Training(network, weighting, optimiser, critic, rivals)


def take_weights(network: Network, model: str, where: str = "network.start_from") -> None:
    """Those of a released model, or the last ones of a run. `where` it was asked for. Raises ModelRefused where it is
    missing, damaged, or another network."""
    if (Path(model) / CHECKPOINT).is_file():
        try:
            network.load_state_dict(last_weights(Path(model)))
        except RuntimeError as error:
            allowed = f"a run of the same {network.architecture.name} network"
            raise ModelRefused("a run of another network", where=where, allowed=allowed) from error
        return
    given = open_model(model)
    own, other = ((n.architecture.name, n.inputs, n.segmentation_inputs) for n in (network, given.network))
    if own != other:
        found = f"a model of {other[0]} from {', '.join((*other[2], *other[1]))}"
        raise ModelRefused(found, where=where, allowed=f"{own[0]} from {', '.join((*own[2], *own[1]))}")
    network.load_state_dict(given.network.state_dict())


def fix_norms(network: Network) -> None:
    """Batch norm takes its running means from now on, and leaves them as they are; its factors and offsets still learn.

    Two patches of one place have other means than the next two: a network trained by those alone is another one when it
    predicts, and took muscle far from the organs for bladder (docs/training.md).
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()


def lay_channels_last(network: Network) -> Network:
    """The same network with its convolutions' weights laid out channels last: a fifth faster on a CPU (measured)."""
    for parameter in (p for p in network.parameters() if p.dim() == 5):
        parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def open_data(job: Job) -> tuple[Source, list[ScanPair]]:
    """Where patches come from, and the pairs that the first process validates on.

    Raises UsageError where pairs are missing or cannot be read, where a patient is in two splits, and where an organ
    is contoured nowhere.
    """
    settings, place = job.settings, job.place
    if settings.data.source == "phantoms":
        from recontour.train.phantoms import PhantomSource, validation_pairs

        men = Path(settings.data.folder) if settings.data.folder else job.run / MEN
        with first_goes_first(place):
            validation = validation_pairs(settings, men) if place.first else []
            source: Source = PhantomSource(settings, men, place.device, place.rank)
        return source, spread(validation, settings.validation_pairs)
    if settings.data.source == "patient":
        from recontour.train.patient import PatientSource, choosing_days

        return PatientSource(settings, place.device, place.rank), choosing_days(settings)
    splits = read_splits(Path(settings.data.folder))
    if {DICE_REGISTRATION, DICE_SEGMENTATION} & set(job.names):
        check_organs(splits["training"])
    if not any(pair.organs for pair in splits["validation"]):
        raise UsageError("no contoured organ", where="validation", allowed="pairs with contours, to validate on")
    validation = spread([pair for pair in splits["validation"] if pair.organs], settings.validation_pairs)
    source = PairSource(splits["training"], settings, place.device, place.rank)
    return Ahead(source) if place.device.type == "cuda" else source, validation


def check_organs(pairs: Sequence[ScanPair]) -> None:
    """Raises UsageError where nobody has an organ, or nobody has all: the background is then never taught, since what
    was not contoured lies in it."""
    for organ in LABELS[1:]:
        if not any(organ in pair.organs for pair in pairs):
            raise UsageError(f"no pair has {organ}", where="training", allowed="each organ in one pair at least")
    if not any(set(LABELS[1:]) <= set(pair.organs) for pair in pairs):
        allowed = "one pair at least with all of them, to teach what is none"
        raise UsageError(f"no pair has all {len(LABELS) - 1} organs", where="training", allowed=allowed)


def spread(pairs: Sequence[ScanPair], count: int) -> list[ScanPair]:
    """`count` pairs at most, over as many patients as there are: everybody's first one, then the second ones."""
    by_patient: dict[str, list[ScanPair]] = {}
    for pair in pairs:
        by_patient.setdefault(patient_of(pair), []).append(pair)
    rounds = itertools.zip_longest(*by_patient.values())
    return [pair for one_round in rounds for pair in one_round if pair is not None][:count]


def check_memory(job: Job) -> None:
    """Raises MemoryShort where one step will not fit into what is free, by what was measured."""
    import psutil

    settings, device = job.settings, job.place.device
    here = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed = 2 * settings.batch * settings.patch_voxels**3 * BYTES_PER_VOXEL[job.dtype] * here
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        found = f"a step needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        raise MemoryShort(found, where="patch_voxels, batch", allowed="smaller patches, or fewer of them")


def _bytes_needed(training: Training, settings: TrainSettings) -> float:
    optimised = sum(p.numel() for module in training.modules().values() for p in module.parameters())
    rows = settings.steps / settings.log_every
    return FILES_AT_ONCE * 3 * 4 * optimised + BYTES_PER_ROW * rows  # a weight and two moments, 4 bytes each


def _groups(network: Network, rate: float, head_rate: float) -> list[dict[str, object]]:
    heads: list[Tensor] = list(network.register_field.parameters()) if network.register_field is not None else []
    known = {id(p) for p in heads}
    rest = [p for p in network.parameters() if id(p) not in known]
    return [{"params": rest}, {"params": heads, "lr": rate * head_rate}]
