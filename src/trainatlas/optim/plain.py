"""Plain torch optimizers for methods that `torch.optim` lacks, one trial at a time.

They define what the stacked updates in `trainatlas.optim.optimizers` must equal, so they are written to be
read beside the papers, not to be fast. Parameters without a gradient are left alone, as torch does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class UncorrectedAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) without the division of the moments by 1 - beta^t.

    Parameters
    ----------
    params
        What to optimise, or groups of it, as for any torch optimizer.
    lr
        Learning rate.
    betas
        Shares of the first and of the second moment kept each step, in [0, 1).
    eps
        Added to the root of the second moment, > 0.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Take one step."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self._moment(p, "m")
                s = self._moment(p, "s")
                m.copy_(beta1 * m + (1 - beta1) * p.grad)
                s.copy_(beta2 * s + (1 - beta2) * p.grad**2)
                p.sub_(group["lr"] * m / (s.sqrt() + group["eps"]))

    def _moment(self, p: Tensor, name: str) -> Tensor:
        moment: Tensor = self.state[p].setdefault(name, torch.zeros_like(p))
        return moment


class Lookahead(torch.optim.Optimizer):
    """Lookahead (Zhang et al. 2019, algorithm 1) around any torch optimizer, whose state is kept.

    The parameters hold the fast weights; `state[p]["slow"]` holds the slow ones, which start at the
    parameters' values. The inner optimizer's state is not part of `state_dict`.

    Parameters
    ----------
    params
        What to optimise, or groups of it, as for any torch optimizer.
    lr
        Learning rate of the inner optimizer; its groups follow this one's "lr".
    inner
        (parameters, learning rate) -> the optimizer of the fast weights.
    k
        Steps between two meetings of fast and slow weights, >= 1.
    alpha
        Share of the way to the fast weights that the slow ones go, in (0, 1].
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        inner: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer],
        k: int,
        alpha: float,
    ) -> None:
        super().__init__(params, {"lr": lr, "k": k, "alpha": alpha})
        self._inner = [inner(group["params"], group["lr"]) for group in self.param_groups]
        self._steps = 0
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["slow"] = p.detach().clone()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Take one step of the inner optimizer and, every k-th time, let fast and slow weights meet."""
        self._steps += 1
        for group, inner in zip(self.param_groups, self._inner, strict=True):
            inner.param_groups[0]["lr"] = group["lr"]
            inner.step()
            if self._steps % group["k"] == 0:
                for p in group["params"]:
                    slow = self.state[p]["slow"]
                    slow.add_(group["alpha"] * (p - slow))
                    p.copy_(slow)
