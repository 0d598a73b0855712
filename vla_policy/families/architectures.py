"""Published architectures by name; network, parameter count and operations of any sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from vla_policy.families import FAMILIES
from vla_policy.families.family import Family
from vla_policy.models.blank import without_weights
from vla_policy.models.roofline import Stage


def published() -> dict[str, Callable[[], Any]]:
    """Name of an architecture -> its sizes, for all families."""
    return {name: of for family in FAMILIES.values() for name, of in family.published.items()}


def network(sizes: Any) -> nn.Module:
    """The network of sizes, untrained, on torch's default device."""
    return _family_of(sizes).network(sizes)


def parameters(sizes: Any) -> int:
    """Number of the network's parameters, without allocating them."""
    with without_weights():
        return sum(p.numel() for p in network(sizes).parameters())


def stages(sizes: Any, *, cameras: int, prompt: int) -> tuple[Stage, ...]:
    """Vision, prefix and actions of one chunk for one observation.

    cameras: images present. prompt: tokens present. steps and rows: those of sizes.
    """
    work = _family_of(sizes).work
    if work is None:
        raise ValueError(f"{type(sizes).__name__}: the work of this network is not known")
    return work(sizes, cameras, prompt)


def _family_of(sizes: Any) -> Family:
    # Families with the same type of sizes have the same network and operations.
    return next(family for family in FAMILIES.values() if type(sizes) is family.sizes)
