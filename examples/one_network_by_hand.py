"""Run one network of the paper on a patch: what goes in, what comes out.

python examples/one_network_by_hand.py
"""

import torch

from recontour.network.architectures import build_network, parameter_count


def main() -> None:
    network = build_network("cross-stitch").eval()
    print(f"cross-stitch: {parameter_count(network):,} trainable parameters without the stitch weights")

    # (B, C, D, H, W) at 1 mm: the daily and the planning scan in thousands of HU, and the planning label map.
    fixed, moving, labels = torch.randn(1, 1, 64, 64, 64), torch.randn(1, 1, 64, 64, 64), torch.zeros(1, 1, 64, 64, 64)
    with torch.no_grad():
        out = network(fixed, moving, labels)

    # Valid convolutions: the fine output is 40 voxels smaller than the input.
    assert out.field_mm is not None and out.logits is not None
    print("field in mm:", tuple(out.field_mm[-1].shape), " class logits:", tuple(out.logits[-1].shape))


if __name__ == "__main__":
    main()
