"""The mean of two networks' weights: of a model and of what it became when it was trained on, the mean is often better
than either (Wortsman et al., ICML 2022, "Model soups"). It costs nothing when it is used."""

from __future__ import annotations

import copy

import torch

from recontour.network.architectures import Network
from recontour.train.ready import take_weights


def mean_with(network: Network, model: str) -> Network:
    """A copy of `network` whose weights, and the running figures of whose norms, are the means of its own and those of
    `model`: what `take_weights` takes. Raises ModelRefused where that is missing, damaged, or another network."""
    mean = copy.deepcopy(network)
    take_weights(mean, model, where="--mean-of")
    mine, theirs = network.state_dict(), mean.state_dict()
    with torch.no_grad():
        mean.load_state_dict({name: _mean(mine[name], theirs[name]) for name in mine})
    return mean


def _mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Counts of steps stay the first's."""
    return (a + b) / 2 if a.is_floating_point() else a
