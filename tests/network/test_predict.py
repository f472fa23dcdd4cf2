"""Tiles: the same answer whatever their size; the right place, the right scale, the right refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recontour.errors import MemoryShort, UsageError
from recontour.geometry.grid import Grid
from recontour.geometry.volume import Volume
from recontour.network import predict as room
from recontour.network.architectures import Network, Output, build_network
from recontour.network.catalogue import ARCHITECTURES, LABELS
from recontour.network.predict import HIGH, LOW, choose_precision, choose_tile, predict, prepare, run_in_tiles
from recontour.network.released import ModelCard, ReleasedModel

CPU = torch.device("cpu")


def lively(name: str) -> Network:
    """Weights and batch statistics as after a training: activations neither vanish nor explode, no norm is trivial."""
    torch.manual_seed(11)
    network = build_network(name)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            fan_in = module.weight[0].numel()
            torch.nn.init.normal_(module.weight, 0.0, (2.0 / fan_in) ** 0.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
        elif isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
    return network.eval()


def model_of(name: str) -> ReleasedModel:
    network = lively(name)
    return ReleasedModel(ModelCard("test", name, network.inputs), network)


def scans(size: tuple[int, int, int] = (60, 64, 68)) -> tuple[Volume, Volume, np.ndarray]:
    rng = np.random.default_rng(7)
    grid = Grid.of(size, (1, 1, 1), (-10.0, 20.0, 5.0))
    fixed, moving = (Volume(grid, rng.normal(0, 400, size).astype(np.float32)) for _ in range(2))
    return fixed, moving, rng.integers(0, len(LABELS), size).astype(np.uint8)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_result_does_not_depend_on_the_tile(name: str):
    size = (7, 8, 11)
    torch.manual_seed(1)
    block = torch.randn(3, 8 + LOW + HIGH, 8 + LOW + HIGH, 12 + LOW + HIGH)
    network = prepare(lively(name), CPU, torch.float32)
    one = run_in_tiles(network, block, size, (8, 8, 12))
    for tile in ((8, 4, 12), (4, 8, 8)):
        other = run_in_tiles(network, block, size, tile)
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].shape == (3 if key == "field" else len(LABELS), *size)
            scale = np.abs(one[key]).max()
            assert np.abs(one[key] - other[key]).max() < 1e-5 * max(scale, 1.0), key


def test_the_margins_are_as_small_as_they_can_be():
    # Were one layer of voxels fewer dropped, a low or a high border would show: 7 and 3 voxels of the fine output.
    network = lively("cross-stitch")
    torch.manual_seed(1)
    patch = torch.randn(3, 1, 1, 60, 60, 84)
    with torch.inference_mode():
        long = network(*patch).logits[2]
        short = network(*patch[..., 8:76]).logits[2]  # x 8 .. 76
    apart = (long[..., 8:36] - short).abs().amax((0, 1, 2, 3)) / long.abs().max()
    assert apart.shape == (28,)
    touched = [k for k in range(28) if apart[k] > 1e-4]
    assert touched == [0, 1, 2, 3, 4, 5, 6, 25, 26, 27]
    assert LOW - 20 >= 7 and HIGH - 20 >= 3


@pytest.mark.parametrize("name", ["seg", "cross-stitch"])
def test_folded_and_channels_last_computes_the_same(name: str):
    network = lively(name)
    torch.manual_seed(2)
    patch = torch.randn(3, 1, 1, 52, 56, 60)
    with torch.inference_mode():
        plain, fast = network(*patch), prepare(network, CPU, torch.float32)(*patch)
    for a, b in ((plain.logits, fast.logits), (plain.field_mm, fast.field_mm)):
        if a is not None and b is not None:
            assert float((a[2] - b[2]).abs().max()) < 2e-5 * float(a[2].abs().max())


def test_preparing_leaves_the_model_as_it_was():
    network = lively("reg")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    prepare(network, CPU, torch.bfloat16)
    after = network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_bfloat16_is_close_to_the_reference():
    model = model_of("cross-stitch")
    fixed, moving, labels = scans()
    region = fixed.grid.crop((28, 28, 28), (36, 36, 36))
    exact = predict(model, fixed, moving, labels, region, "cpu", "fp32")
    rough = predict(model, fixed, moving, labels, region, "cpu", "bf16")
    assert np.abs(exact.field.array - rough.field.array).max() < 0.05 * np.abs(exact.field.array).max()
    assert np.abs(exact.probabilities - rough.probabilities).max() < 0.1


class Echo(Network):
    """Answers with what it was given: field = (fixed, moving, labels), so that place and scale can be seen."""

    def forward(self, fixed, moving, moving_labels):
        inner = (..., *(slice(20, -20),) * 3)
        fine = torch.cat([fixed, moving, moving_labels], dim=1)[inner].float()
        return Output((fine, fine, fine), None)


def echo() -> ReleasedModel:
    row = ARCHITECTURES["jrs-reg"]
    inputs = ("fixed", "moving", "moving_labels")
    return ReleasedModel(ModelCard("echo", "jrs-reg", inputs, hu_window=(-500.0, 700.0)), Echo(row, inputs))


@pytest.mark.parametrize(
    ("has", "auto"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.float32),  # it can, and is slower
        ({}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_processor_is_quicker(monkeypatch: pytest.MonkeyPatch, has: dict, auto: torch.dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == auto
    assert (choose_precision("bf16", cpu), choose_precision("fp32", cpu)) == (torch.bfloat16, torch.float32)


def test_the_region_lies_where_it_should_and_hu_are_clipped_and_scaled():
    fixed, moving, labels = scans()
    region = fixed.grid.crop((3, 30, 41), (12, 37, 46))
    got = predict(echo(), fixed, moving, labels, region, "cpu", "fp32")
    assert got.probabilities is None and got.field.grid is region
    cut = (slice(3, 12), slice(30, 37), slice(41, 46))
    assert np.allclose(got.field.array[0], np.clip(fixed.array[cut], -500, 700) / 1000)
    assert np.allclose(got.field.array[1], np.clip(moving.array[cut], -500, 700) / 1000)
    assert np.array_equal(got.field.array[2], labels[cut])


@pytest.mark.parametrize("low", [(4, 6, 10), (3, 7, 11)])  # on blocks' borders, and between
def test_a_coarser_model_sees_blocks_and_answers_in_voxels(low: tuple[int, int, int]):
    """On ramps of place the means of blocks, brought back, are the ramps themselves."""
    grid = Grid.of((60, 64, 68), (1, 1, 1), (-10.0, 20.0, 5.0))
    points = grid.points()
    fixed, moving = (Volume(grid, (points @ slope).astype(np.float32)) for slope in ((3, 2, -1), (-2, 1, 4)))
    labels = np.zeros(grid.size, np.uint8)
    labels[:, :, 30:] = 3
    region = grid.crop(low, (20, 24, 40))
    coarse = echo()
    coarse = replace(coarse, card=replace(coarse.card, spacing_mm=2.0))
    got = predict(coarse, fixed, moving, labels, region, "cpu", "fp32").field
    assert got is not None and got.grid is region
    cut = tuple(slice(a, b) for a, b in zip(low, (20, 24, 40), strict=True))
    assert np.allclose(got.array[0], fixed.array[cut] / 1000, atol=1e-5)
    assert np.allclose(got.array[1], moving.array[cut] / 1000, atol=1e-5)
    across = got.array[2][0, 0]  # linear over the two voxels around the border, which lies between 29 and 30
    assert np.allclose(across, np.clip((np.arange(low[2], 40) - 28.5) / 2, 0, 1) * 3)


def test_beyond_the_scans_their_border_repeats():
    fixed, moving, labels = scans()
    region = Grid.of((5, 4, 4), (1, 1, 1), np.add(fixed.grid.origin_mm, (10, 12, -3)))  # begins 3 slices below
    got = predict(echo(), fixed, moving, labels, region, "cpu", "fp32").field.array[0]
    first = np.clip(fixed.array[0, 12:16, 10:14], -500, 700) / 1000
    assert all(np.allclose(got[k], first) for k in range(4))
    assert not np.allclose(got[4], first)


def test_probabilities_sum_to_one():
    fixed, moving, _ = scans()
    got = predict(model_of("seg"), fixed, moving, None, fixed.grid.crop((20, 20, 20), (25, 27, 24)), "cpu", "fp32")
    assert got.field is None and got.probabilities.shape == (len(LABELS), 5, 7, 4)
    assert np.allclose(got.probabilities.sum(axis=0), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    "size, voxels, tile",
    [
        ((100, 90, 80), 1e9, (100, 92, 80)),  # one tile, rounded up to multiples of 4
        ((100, 90, 80), 152 * 144 * 92, (52, 92, 80)),  # two of 104 * 144 * 132: fewer than two of 152 * 144 * 92
        ((10, 10, 200), 64 * 64 * 152, (12, 12, 100)),
    ],
)
def test_tiles_are_as_large_as_the_memory_allows(size, voxels, tile):
    assert choose_tile(size, voxels) == tile


def test_too_little_memory_is_said():
    with pytest.raises(MemoryShort, match="memory"):
        choose_tile((100, 100, 100), 60**3 - 1)  # a sixteenth of 100 is 8, in fours


def test_memory_decides_the_tile_of_a_run_and_not_its_result(monkeypatch: pytest.MonkeyPatch):
    model = echo()
    fixed, moving, labels = scans()
    region = fixed.grid.crop((4, 4, 4), (44, 40, 33))
    whole = predict(model, fixed, moving, labels, region, "cpu", "fp32")
    monkeypatch.setattr(room, "CPU_BYTES", 700.0 * 80**3)
    assert np.array_equal(predict(model, fixed, moving, labels, region, "cpu", "fp32").field.array, whole.field.array)


def test_wrong_calls_are_refused():
    model = echo()
    fixed, moving, labels = scans()
    region = fixed.grid.crop((10, 10, 10), (14, 14, 14))
    thick = Volume(Grid.of((60, 64, 68), (3, 1, 1), (0, 0, 0)), fixed.array)
    between = Grid.of((4, 4, 4), (1, 1, 1), np.array(fixed.grid.origin_mm) + 0.5)
    for wrong, words in (
        ((model, fixed, moving, labels, region, "cuda:99"), "no device 'cuda:99'"),
        ((model, fixed, moving, labels, region, "gpu"), "unknown device"),
        ((model, fixed, moving, labels, region, "cpu", "fp8"), "precision 'fp8'"),
        ((model, fixed, thick, labels, region), "different grids"),
        ((model, thick, thick, labels, region), "1 mm isotropic"),
        ((model, fixed, moving, labels, between), "between the voxels"),
        ((model, fixed, moving, None, region), "no planning labels"),
        ((model, fixed, moving, labels + 5, region), "values below 5"),
        ((model, fixed, moving, labels[1:], region), "shape"),
    ):
        with pytest.raises(UsageError, match=words):
            predict(*wrong)
