"""Runs a network over a region, in tiles, and gives the same answer whatever the tiles.

Near a tile's border an output voxel depends on where the border is: the strided convolutions are padded with zeros on
the low side, and up-sampling repeats the last voxel on both. Carried through to the fine output this reaches 7 voxels
in from the low side and 3 from the high side (measured: tests/network/test_predict.py). Tiles therefore overlap by
LOW + HIGH voxels, keep the rest, and start on multiples of 4, the stride of the coarsest level.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recontour.errors import MemoryShort, UsageError
from recontour.geometry.field import Field
from recontour.geometry.grid import Grid, Index
from recontour.geometry.volume import Volume
from recontour.network.architectures import Network
from recontour.network.blocks import Conv
from recontour.network.catalogue import LABELS, MOVING_LABELS
from recontour.network.coarse import coarser_labels, coarser_scan, finer
from recontour.network.device import choose_device
from recontour.network.pages import pages_kept
from recontour.network.released import ModelCard, ReleasedModel

LOW, HIGH = 28, 24  # input voxels a tile needs before its first, and after its last, output voxel
STEP = 4
CPU_BYTES = 2e9  # leaves half of 4 GB to the scans and the libraries
# Of the input: peak memory of the cross-stitch network, which needs most (measured 675 and 400, pages kept).
BYTES_PER_VOXEL = {torch.float32: 700.0, torch.bfloat16: 400.0}

Precision = Literal["auto", "fp32", "bf16"]
Pieces = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Prediction:
    """None where the network has no such head.

    field: daily -> planning (affinely aligned) points, on the region's grid. probabilities: (K, D, H, W) float32, one
    channel for each of LABELS, summing to 1, on `part`: where the network was asked; elsewhere there is no organ.
    """

    field: Field | None
    probabilities: NDArray[np.float32] | None
    part: Grid | None = None

    def probability(self, label: int, region: Grid) -> NDArray[np.float32] | None:
        """(D, H, W) of one organ over the region; 0 where the network was not asked. None where it does not segment."""
        if self.probabilities is None or self.part is None:
            return None
        out = np.zeros(region.size, np.float32)
        out[region.box_of(self.part)] = self.probabilities[label]
        return out


def predict(
    model: ReleasedModel,
    fixed: Volume,
    moving: Volume,
    moving_labels: NDArray[np.uint8] | None,
    region: Grid,
    device: str = "auto",
    precision: Precision = "auto",
) -> Prediction:
    """The field and the organ probabilities over `region`.

    fixed, moving: the daily scan, and the planning scan affinely resampled onto the same axial 1 mm grid, HU.
    moving_labels: (D, H, W) on that grid, values as in LABELS (None where the network does not ask for it).
    region: voxels of that grid, or beyond it. The networks look 28 voxels ahead of and 24 behind the region; what the
    scans do not hold of that repeats their outermost voxels.
    device: auto, cpu, cuda, cuda:N. precision: fp32 is the reference; auto takes bf16 where the processor has it.
    Raises UsageError where grids, labels or device do not fit, MemoryShort where not even small tiles do.
    """
    where_to = torch.device(choose_device(device))
    dtype = choose_precision(precision, where_to)
    low = _offset(fixed, moving, region)
    channels = _channels(model, fixed, moving, moving_labels)
    network = prepare(model.network, where_to, dtype)
    pieces = _run_at(round(model.card.spacing_mm), network, channels, low, region.size, dtype)
    field = Field(region, pieces["field"]) if "field" in pieces else None
    return Prediction(field, pieces.get("probabilities"), region)


def _run_at(
    factor: int,
    network: Network,
    channels: NDArray[np.float32],
    low: NDArray[np.int64],
    size: Index,
    dtype: torch.dtype,
) -> Pieces:
    """What the network says of `size` voxels from voxel `low` on, in voxels `factor` times as large, brought back."""
    first, count = (low, size) if factor == 1 else _blocks(factor, low, size)
    where_to = next(network.parameters()).device
    tile = choose_tile(count, _voxels_that_fit(where_to, dtype))
    block = _with_context(channels, first, count, tile)
    with pages_kept():
        pieces = run_in_tiles(network, torch.as_tensor(block, dtype=dtype), count, tile)
    if factor == 1:
        return pieces
    begin = cast("Index", tuple(int(a - factor * b) for a, b in zip(low, first, strict=True)))
    return {name: finer(torch.as_tensor(piece), factor, begin, size).numpy() for name, piece in pieces.items()}


def _blocks(factor: int, low: NDArray[np.int64], size: Index) -> tuple[NDArray[np.int64], Index]:
    """The first block (z, y, x), and how many, whose centres surround `size` voxels from voxel `low` on."""
    half = (factor - 1) / 2
    first = np.floor((low - half) / factor).astype(np.int64)
    z, y, x = (int(n) for n in np.ceil((low + size - 1 - half) / factor).astype(np.int64) - first + 1)
    return first, (z, y, x)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """auto: bfloat16 where the processor is quicker with it (AMX, CUDA from Ampere on), else float32."""
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if precision != "auto":
        raise UsageError(f"precision {precision!r}", where="precision", allowed="auto, fp32, bf16")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    return torch.bfloat16 if _cpu_has_amx() else torch.float32


def prepare(network: Network, device: torch.device, dtype: torch.dtype) -> Network:
    """A copy that computes the same, faster: batch norms folded into the convolutions, channels last.

    The heads stay float32: a field of 10 mm in bfloat16 would be rounded to 0.06 mm.
    """
    fast = copy.deepcopy(network).eval()
    for module in fast.modules():
        if isinstance(module, Conv):
            module[0], module[1] = _folded(module[0], module[1]), nn.Identity()
    fast.to(device, dtype)
    for heads in (fast.segment, fast.register_field):
        if heads is not None:
            heads.to(torch.float32)
    for parameter in fast.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return fast


def choose_tile(size: Index, voxels: float) -> Index:
    """The output tile, multiples of 4, that covers `size` with the fewest input voxels computed, none over `voxels`.

    Raises MemoryShort where a sixteenth of every side is still too large.
    """
    z_sides, y_sides, x_sides = ({-(-n // (STEP * k)) * STEP for k in range(1, 17)} for n in size)
    fitting = [
        tile
        for tile in itertools.product(sorted(z_sides), sorted(y_sides), sorted(x_sides))
        if _input_voxels(tile) <= voxels
    ]
    if not fitting:
        raise MemoryShort("the network does not fit", where="memory", allowed="1 GB free, or method refine")
    return min(fitting, key=lambda tile: _input_voxels(tile) * _tiles_needed(size, tile))


def _folded(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """The convolution that computes norm(conv(x)) by itself, in evaluation mode."""
    fusion: Any = nn.utils.fusion
    return cast(nn.Module, fusion.fuse_conv_bn_eval(conv, norm))


def run_in_tiles(network: Network, block: Tensor, size: Index, tile: Index) -> Pieces:
    """Field (3, *size) in mm and probabilities (K, *size) of a network over a block.

    block: (3, ...), fixed, moving and labels, scaled, with LOW voxels of context before and at least HIGH after, and
    enough for whole tiles: see `_with_context`. tile: output voxels a tile keeps, multiples of 4.
    """
    device = next(network.parameters()).device
    whole: Pieces = {}
    for start in itertools.product(*(range(0, n, t) for n, t in zip(size, tile, strict=True))):
        cut = tuple(slice(a, a + t + LOW + HIGH) for a, t in zip(start, tile, strict=True))
        for name, piece in _run_tile(network, block[:, *cut].to(device)).items():
            out = whole.setdefault(name, np.empty((len(piece), *size), np.float32))
            keep = tuple(slice(0, min(t, n - a)) for a, t, n in zip(start, tile, size, strict=True))
            place = tuple(slice(a, a + t) for a, t in zip(start, tile, strict=True))
            out[:, *place] = piece[:, *keep].numpy()
    return whole


@torch.inference_mode()
def _run_tile(network: Network, patch: Tensor) -> dict[str, Tensor]:
    """(3, t + LOW + HIGH) -> field and probabilities (channels, t), float32, on the CPU."""
    output = network(*patch[:, None, None])
    drop_low, drop_high = LOW - 20, HIGH - 20  # the fine output starts 20 voxels in
    inner = (slice(None), *(slice(drop_low, -drop_high),) * 3)
    out: dict[str, Tensor] = {}
    if output.field_mm is not None:
        out["field"] = output.field_mm[2][0][inner].float().cpu()
    if output.logits is not None:
        out["probabilities"] = output.logits[2][0][inner].float().softmax(dim=0).cpu()
    return out


def _offset(fixed: Volume, moving: Volume, region: Grid) -> NDArray[np.int64]:
    """The voxel (z, y, x) of the scans' grid at which the region begins."""
    if not fixed.grid.same_as(moving.grid):
        raise UsageError("the two scans lie on different grids", where="predict", allowed="one 1 mm grid for both")
    for name, grid in (("fixed", fixed.grid), ("region", region)):
        if not grid.is_axial() or not np.allclose(grid.spacing_mm, 1.0, atol=1e-4):
            raise UsageError(f"{name}: spacing {grid.spacing_mm} mm", where="predict", allowed="axial, 1 mm isotropic")
    exact = fixed.grid.index_at(region.origin_mm)
    low = np.rint(exact).astype(np.int64)
    if np.abs(exact - low).max() > 1e-2:
        raise UsageError("the region lies between the voxels of the scans", where="predict", allowed="voxels of them")
    return low


def _channels(
    model: ReleasedModel, fixed: Volume, moving: Volume, labels: NDArray[np.uint8] | None
) -> NDArray[np.float32]:
    """(3, D, H, W): both scans and the labels as the network was trained on them, in its voxels."""
    if labels is None:
        if MOVING_LABELS in model.network.inputs + model.network.segmentation_inputs:
            raise UsageError("no planning labels", where=model.card.name, allowed="moving_labels for this model")
        labels = np.zeros(fixed.grid.size, np.uint8)
    if labels.shape != fixed.grid.size or int(labels.max(initial=0)) >= len(LABELS):
        found = f"labels of shape {labels.shape} up to {labels.max(initial=0)}"
        raise UsageError(found, where="moving_labels", allowed=f"shape {fixed.grid.size}, values below {len(LABELS)}")
    scans, factor = (fixed.array, moving.array), round(model.card.spacing_mm)
    if factor > 1:
        scans = tuple(coarser_scan(torch.as_tensor(scan), factor).numpy() for scan in scans)
        labels = coarser_labels(torch.as_tensor(labels), factor).numpy()
    return np.stack([*(scale_hu(scan, model.card) for scan in scans), labels.astype(np.float32)])


def scale_hu(array: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """HU, clipped to the card's window, in thousands."""
    return np.clip(array, *card.hu_window).astype(np.float32) / np.float32(1000.0)


def _with_context(
    channels: NDArray[np.float32], low: NDArray[np.int64], size: Index, tile: Index
) -> NDArray[np.float32]:
    """The channels from LOW before voxel `low` to HIGH after whole tiles; beyond the scans their border repeated."""
    axes = [
        np.clip(np.arange(a - LOW, a + -(-n // t) * t + HIGH), 0, have - 1)
        for a, n, t, have in zip((int(v) for v in low), size, tile, channels.shape[1:], strict=True)
    ]
    return channels[:, axes[0][:, None, None], axes[1][:, None], axes[2]]


def _tiles_needed(size: Index, tile: Index) -> float:
    return float(np.prod([-(-n // t) for n, t in zip(size, tile, strict=True)]))


def _input_voxels(tile: Index) -> float:
    return float(np.prod([t + LOW + HIGH for t in tile]))


def _voxels_that_fit(device: torch.device, dtype: torch.dtype) -> float:
    """Input voxels of the largest tile, from the memory that is free and the feature maps alive at once."""
    import psutil

    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    budget = 0.7 * free if device.type == "cuda" else min(0.5 * free, CPU_BYTES)
    return budget / BYTES_PER_VOXEL[dtype]


def _cpu_has_amx() -> bool:
    """Not AVX512_BF16: by it alone a bfloat16 convolution takes 1.6 times as long as a float32 one (measured)."""
    if not hasattr(torch.cpu, "get_capabilities"):  # added after torch 2.6
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))
