"""The mean of two networks' weights: of a model and of what it became when it was trained on, the mean is often better
than either (Wortsman et al., ICML 2022, "Model soups"). It costs nothing when it is used."""

from __future__ import annotations

import copy

import torch

from recontour.errors import ModelRefused
from recontour.network.architectures import Network
from recontour.network.released import open_model


def mean_with(network: Network, model: str) -> Network:
    """A copy of `network` whose weights, and the running figures of whose norms, are the means of its own and those of
    `model`: a released model's name, or a model folder. Raises ModelRefused where that is missing, damaged, or another
    network."""
    other = open_model(model).network
    own, given = ((n.architecture.name, n.inputs, n.segmentation_inputs) for n in (network, other))
    if own != given:
        raise ModelRefused(f"a model of {given[0]}", where=model, allowed=f"one of {own[0]} with the same inputs")
    mean = copy.deepcopy(network)
    mine, theirs = network.state_dict(), other.state_dict()
    with torch.no_grad():
        mean.load_state_dict({name: _mean(mine[name], theirs[name]) for name in mine})
    return mean


def _mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Counts of steps stay the first's."""
    return (a + b) / 2 if a.is_floating_point() else a
