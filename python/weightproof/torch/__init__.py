"""Losses for PyTorch that are built on the bounds of `certify`, so that networks are trained where they are used to, and proved here.

>>> import torch, weightproof as wp
>>> from weightproof.torch import IntervalLoss, ramp
>>> module = torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
>>> loss = IntervalLoss(module, (784,), wp.Threat.absolute(0.001))
>>> x, y = torch.rand(8, 784), torch.zeros(8, dtype=torch.long)
>>> loss(x, y).backward()
>>> network = wp.Network.from_torch(module, (784,))  # for wp.certify

A loss holds the module, not a copy: gradients reach its parameters. `margins` gives its lower bounds of ``f_y − f_j``, (batch, classes), which tests
hold equal to the core's; they are not charged for rounding, so a proof is always `weightproof.certify`. The threat model is the one that `certify` takes,
of the kinds ``absolute`` and ``relative``. Losses run where the module is, and under ``torch.compile``.

| loss | bound of the margin | source |
|---|---|---|
| `RobustLoss` | products of norms (theory.md §4.1), hinge or softplus of the worst | Tsai et al., arXiv 2103.02200 |
| `IntervalLoss` | intervals (§4.2), cross-entropy of the worst case | Gowal et al., arXiv 1810.12715; for weights Dang et al., AISTATS 2025 |
| `LinearLoss` | linear bounds over intervals (§4.3), cross-entropy of the worst case | CROWN-IBP, Zhang et al., arXiv 1906.06316 |
| `NoiseLoss` | linear bounds that Gaussian noise of the weights leaves at a quantile (§14) | theory.md §14 |
| `norms` | none: the norms that the generalization bound grows with (§8) | Tsai et al., arXiv 2103.02200 |

`AdversarialWeights` (AWP) and `SharpnessAware` (SAM) wrap an optimizer.
"""

from __future__ import annotations

try:
    import torch as _installed  # noqa: F401
except ImportError as error:
    raise ImportError("weightproof.torch needs PyTorch\nhint: pip install 'weightproof[torch]'") from error

from ._interval import IntervalLoss
from ._linear import LinearLoss
from ._noise import NoiseLoss
from ._norm_product import RobustLoss, norms
from ._optimizer import AdversarialWeights, SharpnessAware
from ._schedule import ramp

__all__ = ["AdversarialWeights", "IntervalLoss", "LinearLoss", "NoiseLoss", "RobustLoss", "SharpnessAware", "norms", "ramp"]
