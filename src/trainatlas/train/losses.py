"""The loss that training minimises, beside penalties: cross-entropy, with smoothed or mixed labels where asked."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, y: Tensor, other: Tensor, share: Tensor, smoothing: Tensor | float) -> Tensor:
    """Return the mean cross-entropy (nats) against mixed, then smoothed labels.

    The label of an example is share * onehot(y) + (1 - share) * onehot(other); `smoothing` of it is spread over all
    classes alike (Zhang et al. 2018, eq. 1; Szegedy et al. 2016, section 7).

    Parameters
    ----------
    logits
        (examples, classes).
    y, other
        Classes, (examples,).
    share
        In [0, 1], a scalar or (examples,).
    smoothing
        In [0, 1).
    """
    logs = F.log_softmax(logits, dim=1)
    own = -logs.gather(1, y[:, None])[:, 0]
    mixed = -logs.gather(1, other[:, None])[:, 0]
    losses = (1 - smoothing) * (share * own + (1 - share) * mixed) - smoothing * logs.mean(1)
    return losses.mean()
