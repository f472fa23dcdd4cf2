"""The networks of the paper: their parameters, their sizes, what their inputs can reach."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from recontour.errors import UsageError
from recontour.network.architectures import (
    STARTS,
    STRIDES,
    build_network,
    output_sizes,
    parameter_count,
    without_segmentation,
)
from recontour.network.blocks import CrossStitch, join, up
from recontour.network.catalogue import ARCHITECTURES, LABELS

# Section II of the paper.
PAPER = {
    "seg": 779_436,
    "reg": 779_733,
    "jrs-reg": 779_733,
    "dense": 781_164,
    "sedd": 722_936,
    "cross-stitch": 779_000,
}


def three_patches(*sides: int) -> list[torch.Tensor]:
    torch.manual_seed(3)
    return [torch.randn(1, 1, *sides) for _ in range(3)]


@pytest.mark.parametrize("name", PAPER)
def test_trainable_parameters_are_the_papers(name: str):
    assert parameter_count(build_network(name)) == PAPER[name] == ARCHITECTURES[name].parameters


def test_jrs_reg_with_planning_labels_has_780354_parameters():
    assert parameter_count(build_network("jrs-reg", ("fixed", "moving", "moving_labels"))) == 780_354


def test_cross_stitch_units_add_a_2x2_matrix_a_channel():
    network = build_network("cross-stitch")
    everything = sum(p.numel() for p in network.parameters())
    assert everything - parameter_count(network) == 4 * (16 + 32 + 64 + 32)


@pytest.mark.parametrize("n, sizes", [(96, (17, 30, 56)), (64, (9, 14, 24)), (44, (4, 4, 4))])
def test_output_sizes_are_the_papers(n: int, sizes: tuple[int, int, int]):
    assert output_sizes(n) == sizes == (n // 4 - 7, n // 2 - 18, n - 40)


@pytest.mark.parametrize("name", PAPER)
def test_outputs_have_three_resolutions_and_the_tables_heads(name: str):
    output = build_network(name).eval()(*three_patches(44, 48, 52))
    shapes = [(4, 5, 6), (4, 6, 8), (4, 8, 12)]
    heads = ARCHITECTURES[name].heads
    for given, head, channels in ((output.field_mm, "field", 3), (output.logits, "segmentation", len(LABELS))):
        assert (given is not None) == (head in heads)
        if given is not None:
            assert [tuple(t.shape) for t in given] == [(1, channels, *s) for s in shapes]


def test_outputs_lie_symmetrically_over_the_input():
    n = 96
    for start, stride, size in zip(STARTS, STRIDES, output_sizes(n), strict=True):
        after = n - (start + stride * size)  # a coarse voxel covers `stride` input voxels
        assert start == after


@pytest.mark.parametrize("name", PAPER)
def test_each_output_listens_to_exactly_the_declared_inputs(name: str):
    network = build_network(name).eval()
    patches = [p.requires_grad_() for p in three_patches(44, 44, 44)]
    output = network(*patches)
    sum(t.square().sum() for three in (output.field_mm, output.logits) if three for t in three).backward()
    heard = {i for i, p in zip(("fixed", "moving", "moving_labels"), patches, strict=True) if p.grad is not None}
    assert heard == set(ARCHITECTURES[name].inputs)


def test_segmentation_path_hears_of_the_planning_labels_through_the_units_only():
    network = build_network("cross-stitch").eval()
    fixed, moving, labels = three_patches(44, 44, 44)
    for unit in (m for m in network.modules() if isinstance(m, CrossStitch)):
        unit.weight.data.copy_(torch.eye(2).expand_as(unit.weight))
    before, after = network(fixed, moving, labels), network(fixed, moving, labels + 1)
    assert torch.equal(before.logits[2], after.logits[2])
    assert not torch.equal(before.field_mm[2], after.field_mm[2])


def test_cross_stitch_unit_is_equation_5():
    unit = CrossStitch(2)
    unit.weight.data = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.5, 0.0], [-1.0, 1.0]]])
    s = torch.tensor([10.0, 20.0]).reshape(1, 2, 1, 1, 1)
    r = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1, 1)
    to_s, to_r = unit(s, r)
    assert to_s.flatten().tolist() == [12.0, 10.0]
    assert to_r.flatten().tolist() == [34.0, -18.0]


def test_initial_weights_follow_the_paper():
    torch.manual_seed(0)
    network = build_network("cross-stitch")
    kernel = network.segmentation_decoder.level3[0][0].weight.detach()
    assert abs(float(kernel.mean())) < 5e-4 and abs(float(kernel.std()) - 0.02) < 5e-4
    units = torch.cat([m.weight.detach().flatten() for m in network.modules() if isinstance(m, CrossStitch)])
    assert float(units.min()) >= 0.0 and float(units.max()) <= 1.0
    assert abs(float(units.mean()) - 0.5) < 0.03 and 0.17 < float(units.std()) < 0.26  # 0.22: cut at 2 deviations


def test_up_puts_a_ramp_at_cell_centres():
    # A coarse voxel k covers fine voxels 2k and 2k + 1; on a ramp v(k) = k their values are k -+ 1/4.
    ramp = torch.arange(4.0).reshape(1, 1, 1, 1, 4)
    assert up(ramp)[0, 0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]


def test_join_takes_the_middle_of_the_skip():
    features, skip = torch.zeros(1, 1, 1, 2, 2), torch.arange(4 * 6.0).reshape(1, 1, 1, 4, 6)
    assert join(features, skip)[0, 1, 0].tolist() == [[8.0, 9.0], [14.0, 15.0]]


def test_unknown_name_or_input_is_refused():
    with pytest.raises(UsageError, match=r"unknown network .unet.*cross-stitch"):
        build_network("unet")
    with pytest.raises(UsageError, match="inputs"):
        build_network("reg", ("fixed", "dose"))
    with pytest.raises(UsageError, match="multiples of 4"):
        output_sizes(70)


def test_the_table_is_read_without_torch():
    code = "import sys, recontour.network.catalogue, recontour.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["cross-stitch", "dense", "sedd"])
def test_without_its_segmentation_a_network_registers_as_before(name: str):
    network = build_network(name).eval()
    scans = torch.randn(3, 1, 1, 44, 44, 44, generator=torch.Generator().manual_seed(1))
    both, one = network(*scans), without_segmentation(network)(*scans)
    assert both.logits is not None and one.logits is None
    for before, after in zip(both.field_mm, one.field_mm, strict=True):
        assert torch.equal(before, after)
