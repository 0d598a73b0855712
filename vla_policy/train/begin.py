"""Initial weights from another network: matching tensors are copied."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def begin(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy matching weights of another model; returns the names of those that stay new.

    A longer tensor gets the other's values at its start. Raises ValueError if the other model has
    a tensor that this one lacks.
    """
    own, new = model.state_dict(), []
    if unknown := [key for key in weights if key not in own]:
        raise ValueError(f"begin: this model has no {', '.join(unknown)}")
    with torch.no_grad():
        for key, value in own.items():
            old = weights.get(key)
            if old is None:
                new.append(key)
            elif old.shape == value.shape:
                value.copy_(old)
            elif old.ndim == value.ndim and all(
                a <= b for a, b in zip(old.shape, value.shape, strict=True)
            ):
                value[tuple(slice(n) for n in old.shape)] = old
                new.append(f"{key} beyond {tuple(old.shape)} of {tuple(value.shape)}")
            else:
                raise ValueError(
                    f"begin: {key} is {tuple(old.shape)} there and {tuple(value.shape)} here"
                )
    return new
