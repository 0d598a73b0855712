"""Normalisation: robot units to the model's [-1, 1] and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_policy.parsing.files import one_line
from vla_policy.parsing.strict_json import number_list, text_list
from vla_policy.types import Array, readonly

MIN_RANGE = 1e-6
RANGE_KEYS = {"names", "lower", "upper"}  # of a RangeNormalizer in a file


@dataclass(frozen=True, slots=True)
class RangeNormalizer:
    """Per-dimension lower and upper ends that map to -1 and 1, float64[d], in robot units.

    Raises ValueError, naming the dimension, for ends that are missing, not finite or closer than 1e-6: a
    constant dimension would otherwise be amplified without bound.
    """

    names: tuple[str, ...]
    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        for field in ("lower", "upper"):
            object.__setattr__(self, field, readonly(getattr(self, field)))
            got = getattr(self, field).shape
            if got != (len(self.names),):
                raise ValueError(
                    f"statistics.{field}: got shape {got}, expected ({len(self.names)},)"
                )
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and MIN_RANGE <= high - low < np.inf):
                raise ValueError(
                    f"statistics of {name!r}: got range {low} .. {high}, expected upper - lower >= {MIN_RANGE}"
                )

    def normalise(self, values: Array) -> Array:
        """float64[..., d] robot units to model units; values outside the range leave [-1, 1]."""
        normalised: Array = 2.0 * (values - self.lower) / (self.upper - self.lower) - 1.0
        return normalised

    def restore(self, values: Array) -> Array:
        """Inverse of normalise."""
        share = (np.asarray(values, dtype=np.float64) + 1.0) * 0.5
        restored: Array = share * (self.upper - self.lower) + self.lower
        return restored


@dataclass(frozen=True, slots=True)
class Statistics:
    """Ranges of the state and of the model's actions."""

    state: RangeNormalizer
    actions: RangeNormalizer


def to_dict(statistics: Statistics) -> dict[str, Any]:
    """Plain JSON data."""
    return {"state": range_to_dict(statistics.state), "actions": range_to_dict(statistics.actions)}


def from_dict(data: Mapping[str, Any]) -> Statistics:
    """Inverse of to_dict. Raises ValueError naming what is missing."""
    ranges = {}
    for key in ("state", "actions"):
        entry = data.get(key)
        if not isinstance(entry, Mapping) or not set(entry) >= RANGE_KEYS:
            got = one_line(repr(entry), 80)
            raise ValueError(f"statistics.{key}: got {got}, expected names, lower and upper")
        ranges[key] = range_from_dict(entry, f"statistics.{key}")
    return Statistics(**ranges)


def part_of(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The statistics of state or actions in plain data. Raises ValueError if they are not a mapping."""
    part = data.get(key)
    if not isinstance(part, Mapping):
        got = one_line(repr(part), 80)
        raise ValueError(f"statistics.{key}: got {got}, expected a mapping")
    return part


def range_to_dict(ends: RangeNormalizer) -> dict[str, Any]:
    """Plain JSON data, with RANGE_KEYS."""
    return {"names": list(ends.names), "lower": ends.lower.tolist(), "upper": ends.upper.tolist()}


def range_from_dict(entry: Mapping[str, Any], where: str) -> RangeNormalizer:
    """entry: names, lower and upper as JSON has them. Raises ValueError that begins with where."""
    return RangeNormalizer(
        text_list(entry["names"], f"{where}.names"),
        np.array(number_list(entry["lower"], f"{where}.lower")),
        np.array(number_list(entry["upper"], f"{where}.upper")),
    )
