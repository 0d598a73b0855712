"""Statistics of data sets for a family's normalisation, over all learned rows, in float64.

Actions are in the network's own columns, including steps and relative columns, from the same
functions as its training examples. Quantiles are those of all values together, not means over
episodes. Two floors keep normalised values bounded, even for columns that are constant in the
data:

* a spread of at least FLOOR in the column's unit: noise of a joint at rest is not amplified to the
  whole range;
* a spread that leaves no value of the data outside LIMIT: a gripper that is closed in one frame
  of a thousand has equal quantiles, and yet moves.

A column of a Normalizer that never moves is listed as constant: 0 for the network, its own value
for the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.normalization import MIN_SPREAD, NEEDS, Normalizer
from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.data.lerobot.statistics import QUANTILES
from vla_policy.families import FAMILIES
from vla_policy.families.training import Training
from vla_policy.train.training_set import TrainingSet
from vla_policy.types import Array, required

FLOOR = 2e-3  # rad, m, or of an opening
LIMIT = 20.0  # largest normalised value of the data
FIXED = ("terminate", "gripper")  # last part of the name of columns that are 0 to 1 by definition
UNUSED_PLAN = "-"


def statistics_of(checkpoint: Checkpoint, sets: Sequence[TrainingSet]) -> Any:
    """The statistics of the data of sets, in the form of checkpoint's family.

    Reads no image. Raises ValueError if the sets do not fit the checkpoint's contract, or the family is not trained.
    """
    if not sets:
        raise ValueError("statistics: got no data set, expected at least one")
    own = checkpoint.statistics
    values = {"actions": _actions(checkpoint, sets)}
    if any(f.name == "state" for f in fields(own)):
        values["state"] = np.concatenate([data.states() for data in sets])
    contract = checkpoint.contract
    made = {}
    for field in fields(own):
        like = getattr(own, field.name)
        names = contract.state_names if field.name == "state" else contract.model_action_names
        made[field.name] = normaliser_of(like, names, values[field.name])
    return type(own)(**made)


def normaliser_of(
    like: Normalizer | RangeNormalizer, names: tuple[str, ...], values: Array
) -> Any:
    """A normaliser of the kind of like, for columns names with values float64[n, d]."""
    if isinstance(like, RangeNormalizer):
        found = describe(values, "quantiles")
        bounded = np.array([name.rpartition(".")[2] in FIXED for name in names])
        lower, upper = np.where(bounded, 0.0, found["q01"]), np.where(bounded, 1.0, found["q99"])
        return RangeNormalizer(names, lower, upper)
    found = describe(values, like.mode)
    still = np.ptp(values, axis=0) < MIN_SPREAD
    constant = tuple(name for name, rests in zip(names, still, strict=True) if rests)
    return replace(like, names=names, statistics=found, constant=constant)


def describe(values: Array, mode: str) -> dict[str, Array]:
    """mean, std, min, max, q01, q10, q50, q90, q99 of columns, float64[d] each; those of mode with the two floors."""
    quantiles = np.quantile(values, tuple(QUANTILES.values()), axis=0)
    found = dict(zip(QUANTILES, quantiles, strict=True))
    found |= {
        "mean": values.mean(0),
        "std": values.std(0),
        "min": values.min(0),
        "max": values.max(0),
    }
    low, high = found["min"], found["max"]
    if mode == "mean_std":
        farthest = np.maximum(high - found["mean"], found["mean"] - low)
        least = np.maximum(FLOOR / 2, farthest / LIMIT)
        return found | {"std": np.maximum(found["std"], least)}
    if NEEDS[mode]:
        first, last = NEEDS[mode]
        middle = (found[first] + found[last]) / 2
        farthest = np.maximum(high - middle, middle - low)
        half = np.maximum(
            (found[last] - found[first]) / 2, np.maximum(FLOOR / 2, farthest / LIMIT)
        )
        widened = half > (found[last] - found[first]) / 2
        found[first] = np.where(widened, middle - half, found[first])
        found[last] = np.where(widened, middle + half, found[last])
    return found


def _actions(checkpoint: Checkpoint, sets: Sequence[TrainingSet]) -> Array:
    """float64[n, d]: all learned rows of all frames, in the network's columns, unnormalised."""
    family = FAMILIES[checkpoint.family]
    training: Training = required(family.training, f"family {checkpoint.family!r}: training")
    names = checkpoint.contract.model_action_names
    plain = replace(checkpoint, statistics=_unit(checkpoint, names), engine=None)
    rows = [np.zeros((0, len(names)))]
    for data in sets:
        for index in range(len(data)):
            shown = replace(data.blind(index), plan=UNUSED_PLAN)
            made = training.example(plain, family.heads[:1], shown)
            actions = made["actions"][made["valid"]][:, made["columns"]]
            if actions.shape[1] != len(names):
                raise ValueError(
                    f"statistics of actions: got {actions.shape[1]} columns, expected {', '.join(names)}"
                )
            rows.append(actions.double().numpy())
    return np.concatenate(rows)


def _unit(checkpoint: Checkpoint, names: tuple[str, ...]) -> Any:
    """Statistics that leave values unchanged."""
    made: dict[str, Normalizer | RangeNormalizer] = {}
    for field in fields(checkpoint.statistics):
        like = getattr(checkpoint.statistics, field.name)
        own = checkpoint.contract.state_names if field.name == "state" else names
        if isinstance(like, RangeNormalizer):
            ends = np.ones(len(own))
            made[field.name] = RangeNormalizer(own, -ends, ends)
        else:
            made[field.name] = Normalizer(like.what, own, "identity", {})
    return type(checkpoint.statistics)(**made)
