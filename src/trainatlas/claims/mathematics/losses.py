"""The loss and its gradient: softmax cross-entropy (A18) and the first loss (T1)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import Tensor

from trainatlas.claims.observations import Check
from trainatlas.optim.regularisation import StackedRegularisation
from trainatlas.study.texts import worded
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.losses import soft_cross_entropy
from trainatlas.train.reference import train_reference


def _hard(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y)


def _soft(logits: Tensor, y: Tensor) -> Tensor:
    """Return the same through the loss of mixed and smoothed labels, nothing mixed and nothing smoothed."""
    return soft_cross_entropy(logits, y, y, torch.ones((), dtype=logits.dtype), 0.0)


_LOSSES = {worded("cross-entropy"): _hard, worded("cross-entropy of soft labels"): _soft}


def softmax_gradient() -> list[Check]:
    """Check that softmax overflows, that the loss in use does not, and that its gradient is p - y (A18).

    At logits 1e4, -1e4 and 0 the loss is the difference between the largest logit and the class's own: 0, 2e4 and 1e4. The
    gradient is compared with SciPy's softmax less the one-hot class, over the number of examples.
    """
    extreme = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.float64)
    naive = extreme.exp() / extreme.exp().sum()
    overflows = float(not naive.isfinite().all())
    checks = [Check(worded("whether exp(z) / sum exp(z) overflows at logits of 1e4 (1: yes)"), 1.0, overflows, 0.0)]
    logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 10
    y = torch.arange(20) % 7
    expected = (special.softmax(logits.numpy(), axis=1) - np.eye(7)[y.numpy()]) / 20
    for name, loss in _LOSSES.items():
        for target, value in enumerate((0.0, 2e4, 1e4)):
            found = loss(extreme, torch.tensor([target])).item()
            what = worded("{loss} at logits 1e4, -1e4, 0, class {number}", loss=name, number=target + 1)
            checks.append(Check(what, value, found, 1e-9))
        leaf = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, y), leaf)
        deviation = float(np.abs(gradient.numpy() - expected).max())
        what = worded("gradient of {loss} less (p - y) / n, largest", loss=name)
        checks.append(Check(what, 0.0, deviation, 1e-15))
    return checks


def first_loss() -> list[Check]:
    """Check that the loss of zero logits is ln C, and that penalties add what their formulas say (T1).

    Also by the first loss of a trial on digits whose weights start at 0: ln 10 = 2.303 (CS231n 2016, lecture 5).
    """
    checks = []
    for classes in (2, 10, 100):
        for name, loss in _LOSSES.items():
            found = loss(torch.zeros(classes, classes, dtype=torch.float64), torch.arange(classes)).item()
            what = worded("{loss} of {classes} equal logits", loss=name, classes=classes)
            checks.append(Check(what, math.log(classes), found, 1e-14))
    trial = Trial("digits", "mlp(depth=2, width=8)", "relu", "zeros", "none", "sgd", "raw", 0.1, 64, 1, 0)
    store = ExampleStore(torch.device("cpu"), torch.float64)
    first = train_reference(trial, store, 1, torch.float64).losses[0]
    checks.append(Check(worded("first loss of a trial that starts at 0, 10 classes"), math.log(10), first, 1e-14))
    weight = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    sums = {"l1": float(np.abs(weight.numpy()).sum()), "l2": float((weight.numpy() ** 2).sum()) / 2}
    for name, total in sums.items():
        penalised = trial._replace(regularisation=f"{name}(strength=0.3)")
        added = StackedRegularisation([penalised.regularisation], ["w"]).penalties({"w": weight}).item()
        what = worded("what {penalty} of strength 0.3 adds to the loss", penalty=name)
        checks.append(Check(what, 0.3 * total, added, 1e-12))
    return checks
