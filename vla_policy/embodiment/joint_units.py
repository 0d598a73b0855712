"""Joint positions on a robot's topics in degrees or a calibrated range instead of rad or m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class JointEncoding:
    """position = scale * raw + offset, joint by joint. scale, offset: float64[j], scale not 0."""

    scale: Array
    offset: Array


def from_wire(
    wire: JointEncoding | None, raw: Array, joints: Array | slice = slice(None)
) -> Array:
    """Positions float64[j] in the joints' unit, from the numbers on the topics."""
    return raw if wire is None else wire.scale[joints] * raw + wire.offset[joints]


def to_wire(
    wire: JointEncoding | None, positions: Array, joints: Array | slice = slice(None)
) -> Array:
    """Inverse of from_wire. joints: indices of the joints that positions belong to."""
    return positions if wire is None else (positions - wire.offset[joints]) / wire.scale[joints]


def rate_to_wire(
    wire: JointEncoding | None, rates: Array, joints: Array | slice = slice(None)
) -> Array:
    """Velocities float64[j] in the unit of the topics."""
    return rates if wire is None else rates / wire.scale[joints]


def degrees(count: int) -> JointEncoding:
    """Topics in degrees, joints in rad."""
    return JointEncoding(np.full(count, np.pi / 180.0), np.zeros(count))


def calibrated(low: float, high: float, at_low: Array, at_high: Array) -> JointEncoding:
    """Topics from low to high, for at_low to at_high float64[j]; at_low may be larger."""
    scale = (at_high - at_low) / (high - low)
    return JointEncoding(scale, at_low - scale * low)
