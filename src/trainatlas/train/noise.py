"""The random draws of dropout, from each trial's own streams.

Trials of one seed share their draws, whatever else differs between them and whatever they are packed
with; so a stack needs one set of draws for each of its few seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainatlas.model.modules import Dropout
from trainatlas.study.streams import stream_key

Shapes = dict[str, tuple[int, ...]]


def dropout_shapes(network: nn.Module, shape: tuple[int, ...]) -> Shapes:
    """Return the shape of one example's outputs at every dropout of a network on the CPU, by the module's path."""
    shapes: Shapes = {}
    handles = []
    for path, module in network.named_modules():
        if isinstance(module, Dropout):

            def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, path: str = path) -> None:
                shapes[path] = tuple(output.shape[1:])

            handles.append(module.register_forward_hook(note))
    if handles:
        was_training = network.training
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape, dtype=next(network.parameters()).dtype))
        network.train(was_training)
    for handle in handles:
        handle.remove()
    return shapes


class DropoutNoise:
    """Uniform draws for the dropouts of one seed in one epoch, step by step."""

    def __init__(self, seed: int, epoch: int, shapes: Shapes) -> None:
        self._shapes = shapes
        self._generators = {
            path: torch.Generator().manual_seed(stream_key(seed, f"dropout/{path}/{epoch}")) for path in shapes
        }

    def draw(self, examples: int) -> dict[str, Tensor]:
        """Return the next step's draws in [0, 1), (examples, *shape), float32 on the CPU, by the module's path."""
        return {
            path: torch.rand(examples, *shape, generator=self._generators[path]) for path, shape in self._shapes.items()
        }
