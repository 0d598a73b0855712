"""A running mean of the weights, which performs more steadily than the last step's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Mean:
    """Exponential mean of parameters, float32. Single-threaded.

    decay grows from 0.1 to its full value, min(decay, (1 + step) / (10 + step)), so that the first
    weights do not dominate a short run.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self._parameters = parameters
        self.values = {name: p.detach().float().clone() for name, p in parameters.items()}

    def update(self, step: int) -> None:
        """Update the mean with the weights after step steps."""
        share = 1.0 - min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                self.values[name].lerp_(parameter.detach().float(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the mean as the network's weights until the block ends."""
        kept = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._copy(self.values)
        try:
            yield
        finally:
            self._copy(kept)

    def _copy(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])
