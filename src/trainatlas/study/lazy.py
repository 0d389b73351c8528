"""A module that is imported when it is first used.

The tables of activations, optimizers and preprocessings name their implementations in torch or
scikit-learn, yet planning reads those tables for their names and options alone. `LazyModule`
lets one small file hold both without planning paying the seconds that `import torch` takes.
"""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stand-in for the module `name`; the first attribute read imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
