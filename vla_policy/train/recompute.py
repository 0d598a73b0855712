"""Gradient checkpointing: activations are recomputed in the backward pass, to save memory."""

from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_layers(model: nn.Module) -> int:
    """Let every layer of every stack of model keep only its inputs; returns their number.

    Idempotent.
    """
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    inner = {
        id(m) for stack in stacks for layer in stack for m in layer.modules() if m is not layer
    }
    layers = [layer for stack in stacks for layer in stack if id(layer) not in inner]
    for layer in layers:
        if "forward" not in vars(layer):
            layer.forward = _again(layer.forward)
    return len(layers)


def _again(forward: Any) -> Any:
    def run(*args: Any, **named: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **named)

    return run
