"""The range of nearly all training data of a column, in robot units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vla_policy.checkpoint.normalization import NEEDS, Normalizer
from vla_policy.types import Array

# Statistics that bound nearly all training data, the best first.
ENDS = (("q01", "q99"), ("min", "max"), ("lower", "upper"))
DEVIATIONS = 2.0  # from the mean, without such statistics


@dataclass(frozen=True, slots=True)
class TrainingRanges:
    """The range of nearly all training data, robot units. low, high: float64[len(names)].

    where: the file with the statistics. relative: names of columns that are steps, not positions.
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    where: str
    relative: frozenset[str] = frozenset()


def columns(
    names: tuple[str, ...], values: Mapping[str, Array], where: str, relative: frozenset[str]
) -> TrainingRanges | None:
    """From statistics by their usual names, each float64[d], d >= len(names); None if none is known."""
    for low, high in ENDS:
        if low in values and high in values:
            ends = values[low], values[high]
            break
    else:
        if not {"mean", "std"} <= set(values):
            return None
        spread = DEVIATIONS * values["std"]
        ends = values["mean"] - spread, values["mean"] + spread
    return TrainingRanges(names, ends[0][: len(names)], ends[1][: len(names)], where, relative)


def normalised_columns(found: Normalizer, relative: frozenset[str]) -> TrainingRanges | None:
    """The columns that the network reads or predicts. relative: those that are steps."""
    # The network's own normalisation counts, not other statistics in the file.
    used = {key: found.statistics[key] for key in NEEDS[found.mode]}
    return columns(found.names, used or found.statistics, found.what, relative)
