"""Statistics of other projects' checkpoints: normalisation of their features, and its inverse.

Two conventions, which differ in the epsilon added to the divisor:

    openpi     mean_std  (x - mean) / (std + 1e-6)        quantiles  (x - q01) / (q99 - q01 + 1e-6) * 2 - 1
    lerobot    mean_std  (x - mean) / (std + 1e-8)        quantiles  (x - q01) / (q99 - q01) * 2 - 1
               min_max   the same with min and max; identity leaves x as it is

Source: openpi transforms.py, lerobot 0.4.4 normalize_processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from vla_policy.parsing.files import one_line
from vla_policy.parsing.strict_json import number_list, text_list
from vla_policy.types import Array, readonly

NEEDS = {
    "mean_std": ("mean", "std"),
    "quantiles": ("q01", "q99"),
    "min_max": ("min", "max"),
    "identity": (),
}
MIN_SPREAD = 1e-5  # below it, noise of a joint at rest would fill the model's whole range


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Normalisation of the columns names of a feature.

    statistics: mean, std, q01, ... float64[len(names)]; at least those that mode needs.
    eps, eps_inverse: added to the divisor of mean_std and quantiles, forward and inverse.
    constant: names constant in training: 0 for the model, their mean or middle for the robot.
    Raises ValueError, naming the column, for statistics that are missing, not finite or without
    spread.
    """

    what: str
    names: tuple[str, ...]
    mode: str
    statistics: Mapping[str, Array]
    eps: float = 0.0
    eps_inverse: float = 0.0
    constant: tuple[str, ...] = ()
    _offset: Array = field(init=False, repr=False)
    _spread: Array = field(init=False, repr=False)

    def __reduce__(self) -> tuple[type[Normalizer], tuple[Any, ...]]:
        """To another process: a view of a mapping cannot be pickled."""
        more = (self.eps, self.eps_inverse, self.constant)
        return Normalizer, (self.what, self.names, self.mode, dict(self.statistics), *more)

    def __post_init__(self) -> None:
        if self.mode not in NEEDS:
            raise ValueError(
                f"statistics of {self.what}: got mode {self.mode!r}, expected one of {', '.join(NEEDS)}"
            )
        kept = {key: readonly(values) for key, values in self.statistics.items()}
        object.__setattr__(self, "statistics", MappingProxyType(kept))
        for key in NEEDS[self.mode]:
            if key not in kept:
                raise ValueError(
                    f"statistics of {self.what}: {key} is missing, mode {self.mode} needs "
                    f"{' and '.join(NEEDS[self.mode])}; there are {', '.join(kept) or 'none'}"
                )
            if kept[key].shape != (len(self.names),):
                raise ValueError(
                    f"statistics of {self.what}: {key} has shape {list(kept[key].shape)}, expected "
                    f"[{len(self.names)}]: {', '.join(self.names)}"
                )
        object.__setattr__(self, "_offset", readonly(self._offsets()))
        object.__setattr__(self, "_spread", readonly(self._spreads()))
        self._require_spread()

    @property
    def middles(self) -> dict[str, float]:
        """Name -> the value normalised to 0, in robot units; empty without normalisation."""
        if self.mode == "identity":
            return {}
        return dict(zip(self.names, self._offset.tolist(), strict=True))

    def normalise(self, values: Array) -> Array:
        """float64[..., d] robot units to model units."""
        out = (np.asarray(values, np.float64) - self._offset) / self._divisor(self.eps)
        return np.where(self._still(), 0.0, out)

    def restore(self, values: Array) -> Array:
        """Inverse of normalise, float64[..., d]."""
        values = np.where(self._still(), 0.0, np.asarray(values, np.float64))
        restored: Array = values * self._divisor(self.eps_inverse) + self._offset
        return restored

    def _divisor(self, eps: float) -> Array:
        # The quantile forms scale to [-1, 1]: half the range is 1.
        half = 0.5 if self.mode in ("quantiles", "min_max") else 1.0
        divisor: Array = self._spread * half + (eps * half if self.mode != "identity" else 0.0)
        return divisor

    def _offsets(self) -> Array:
        s = self.statistics
        if self.mode == "mean_std":
            return s["mean"]
        if self.mode == "identity":
            return np.zeros(len(self.names))
        low, high = NEEDS[self.mode]
        # (x - low) / (range + eps) * 2 - 1 = (x - (low + range / 2 + eps / 2)) / (range / 2 + eps / 2)
        middle: Array = (s[low] + s[high] + self.eps) / 2
        return middle

    def _spreads(self) -> Array:
        s = self.statistics
        if self.mode == "mean_std":
            return s["std"]
        if self.mode == "identity":
            return np.ones(len(self.names))
        low, high = NEEDS[self.mode]
        spread: Array = s[high] - s[low]
        return spread

    def _still(self) -> Array:
        return np.array([name in self.constant for name in self.names], dtype=bool)

    def _require_spread(self) -> None:
        for i, name in enumerate(self.names):
            values = {key: float(self.statistics[key][i]) for key in NEEDS[self.mode]}
            shown = ", ".join(f"{key} {value:g}" for key, value in values.items())
            if not all(np.isfinite(v) for v in values.values()):
                raise ValueError(f"statistics of {self.what}, {name!r}: got {shown}, not finite")
            if name not in self.constant and not self._spread[i] >= MIN_SPREAD:
                raise ValueError(
                    f"statistics of {self.what}, {name!r}: got {shown}, expected a spread of at least "
                    f"{MIN_SPREAD:g}: it did not move in training; if that is so, list it under `constant`"
                )


def to_dict(normaliser: Normalizer) -> dict[str, Any]:
    """Plain JSON data."""
    return {
        "what": normaliser.what,
        "names": list(normaliser.names),
        "mode": normaliser.mode,
        "eps": normaliser.eps,
        "eps_inverse": normaliser.eps_inverse,
        "constant": list(normaliser.constant),
        "statistics": {key: values.tolist() for key, values in normaliser.statistics.items()},
    }


def from_dict(data: Mapping[str, Any]) -> Normalizer:
    """Inverse of to_dict. Raises ValueError naming what is missing or wrong."""
    keys = {"what", "names", "mode", "eps", "eps_inverse", "constant", "statistics"}
    if set(data) != keys:
        raise ValueError(
            f"statistics: got the keys {', '.join(sorted(data))}, expected {', '.join(sorted(keys))}"
        )
    plain = dict(data)
    for key in ("names", "constant"):
        plain[key] = text_list(data[key], f"statistics.{key}")
    for key in ("what", "mode"):
        if not isinstance(data[key], str):
            raise ValueError(
                f"statistics.{key}: got {one_line(repr(data[key]), 80)}, expected a text"
            )
    plain["eps"], plain["eps_inverse"] = number_list(
        [data["eps"], data["eps_inverse"]], "statistics.eps, eps_inverse"
    )
    values = data["statistics"]
    if not isinstance(values, Mapping):
        raise ValueError(f"statistics: got {one_line(repr(values), 80)}, expected a mapping")
    plain["statistics"] = {key: number_list(v, f"statistics.{key}") for key, v in values.items()}
    return Normalizer(**plain)
