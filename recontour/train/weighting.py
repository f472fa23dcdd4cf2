"""One loss out of several terms (Elmahdy et al. 2021, section II-D).

Bending energy, true field, cross-entropy, boundary and adversarial term keep the weights that they are given, whatever
the weighting: a network that may choose would buy overlap with a field that is not smooth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recontour.network.catalogue import BENDING, DICE_REGISTRATION, DICE_SEGMENTATION, SIMILARITY
from recontour.train.losses import BOUNDARY, CROSS_ENTROPY, FIELD
from recontour.train.settings import LossSettings

ADVERSARIAL = "adversarial"
ADAPTED = (SIMILARITY, DICE_REGISTRATION, DICE_SEGMENTATION)  # the terms that eq. 7 and 8 weigh
NOTHING = 1e-6  # a loss below it has no rate of change


def make_weighting(loss: LossSettings, names: Sequence[str]) -> Weighting:
    """The weighting that `loss` asks for, of the terms `names` that a network is trained with."""
    kinds = {"equal": EqualWeights, "homoscedastic": HomoscedasticWeights, "dwa": DynamicWeights}
    return kinds[loss.weighting](loss, names)


def boundary_share(loss: LossSettings, step: int) -> float:
    """alpha of Kervadec et al. 2019: what the boundary term has at `step`, and the segmentation's Dice lacks."""
    return loss.boundary * min(1.0, step / loss.boundary_full_at)


class Weighting(nn.Module):
    """Terms by name -> their sum, each times its weight. What a weighting learns or remembers is in its state."""

    def __init__(self, loss: LossSettings, names: Sequence[str]) -> None:
        super().__init__()
        self.loss = loss
        given = {name: float(getattr(loss, f"w_{name}")) for name in (*ADAPTED, BENDING, FIELD, CROSS_ENTROPY)}
        self.given = {**given, ADVERSARIAL: loss.adversarial}
        self.adapted = [name for name in ADAPTED if name in names and self.given[name] > 0]

    def forward(self, terms: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of step `step` (from 0), and the weight that each term had in it (the paper's figure 3).

        terms: float32 scalars, with or without "boundary" and "adversarial".
        """
        alpha = boundary_share(self.loss, step) if BOUNDARY in terms else 0.0
        fixed = {**self.given, DICE_SEGMENTATION: self.given[DICE_SEGMENTATION] * (1.0 - alpha), BOUNDARY: alpha}
        factors, extra = self.factors(terms)
        weights = {name: fixed[name] * factors[name] if name in factors else fixed[name] for name in terms}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum() + extra
        return total, {name: float(torch.as_tensor(weight).detach()) for name, weight in weights.items()}

    def factors(self, terms: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | float]:
        """What the terms `self.adapted` are multiplied with, beside the weights they are given; and what is added."""
        raise NotImplementedError

    def remembered(self) -> Tensor | None:
        """What this step left for later ones, None for nothing: several processes average it in place, after each
        step, so that all of them give the same weights."""
        return None


class EqualWeights(Weighting):
    """Eq. 6: the weights as they are given."""

    def factors(self, terms: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | float]:
        """None."""
        return {}, 0.0


class HomoscedasticWeights(Weighting):
    """Eq. 7 (Kendall et al. 2018): sum of L_i / sigma_i^2 + log sigma_i. sigma is trained, as its logarithm: so it
    stays positive, and begins at 1."""

    def __init__(self, loss: LossSettings, names: Sequence[str]) -> None:
        super().__init__(loss, names)
        self.log_sigma = nn.Parameter(torch.zeros(len(self.adapted)))

    def factors(self, terms: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | float]:
        """1 / sigma^2 each, and the sum of log sigma."""
        inverse = torch.exp(-2.0 * self.log_sigma)
        return {name: inverse[i] for i, name in enumerate(self.adapted)}, self.log_sigma.sum()


class DynamicWeights(Weighting):
    """Eq. 8 (DWA, Liu et al. 2019): K exp(r_k / T) / sum_i exp(r_i / T), where r_k = L_k(t-1) / L_k(t-2) says how
    little a term has fallen; 1 at the first two steps. `before` and `last`: the losses of the two steps before."""

    before: Tensor
    last: Tensor

    def __init__(self, loss: LossSettings, names: Sequence[str]) -> None:
        super().__init__(loss, names)
        for name in ("before", "last"):  # zeros: no step has been yet
            self.register_buffer(name, torch.zeros(len(self.adapted)))

    def factors(self, terms: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | float]:
        """The weights from the steps before; in training, what `terms` are now is remembered."""
        rate = torch.where(self.before > NOTHING, self.last / self.before.clamp(min=NOTHING), 1.0)
        weights = len(self.adapted) * torch.softmax(rate / self.loss.temperature, dim=0)
        if self.training:
            self.before.copy_(self.last)
            self.last.copy_(torch.stack([terms[name].detach() for name in self.adapted]))
        return {name: weights[i] for i, name in enumerate(self.adapted)}, 0.0

    def remembered(self) -> Tensor | None:
        """(number of adapted terms,): their losses at the step just taken."""
        return self.last
