"""A robot's columns of a `tiny` model, by name: for one arm, two arms, or an arm on a base.

    model actions    terminate | first arm: dx dy dz drx dry drz gripper | second arm | base.vx base.wz
    model state      first arm: pose, gripper | second arm | for each action column, 1 if the robot has it

A model of one arm has the first eight of each. Columns that a robot lacks are 0 as input and
dropped from the output. The arms of a robot are in the order of its state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.tool_steps import GRIPPER, ROW
from vla_policy.types import Array

ARM = (*TOOL_POSE, GRIPPER)  # columns of an arm in the state, and in commands
SLOTS = ("", "second.")
BASE = ("base.vx", "base.wz")
TERMINATE = 0
COLUMNS = (ROW[TERMINATE], *(slot + name for slot in SLOTS for name in ROW[1:]), *BASE)


@dataclass(frozen=True, slots=True)
class RobotColumns:
    """A robot's columns of a model.

    arms: prefix of the names of each arm, ("",) or ("left.", "right."). base: columns of its base.
    """

    arms: tuple[str, ...]
    base: tuple[str, ...]

    @property
    def model_action_names(self) -> tuple[str, ...]:
        """Its columns of COLUMNS, in that order."""
        slots = SLOTS[: len(self.arms)]
        return (
            COLUMNS[TERMINATE],
            *(slot + name for slot in slots for name in ROW[1:]),
            *self.base,
        )

    @property
    def columns(self) -> list[int]:
        """Their indices."""
        return [COLUMNS.index(name) for name in self.model_action_names]

    def there(self, width: int) -> Array:
        """bool[width]: which of the first width of COLUMNS it has."""
        return np.isin(np.arange(width), self.columns)


def body_of(state_names: tuple[str, ...], action_names: tuple[str, ...]) -> RobotColumns:
    """The robot's columns by name. Raises ValueError unless they are complete arms and bases."""
    first = TOOL_POSE[0]
    arms = tuple(n.removesuffix(first) for n in state_names if n.endswith(first))
    base = tuple(n for n in BASE if n in action_names)
    whole = tuple(arm + name for arm in arms for name in ARM)
    if state_names != whole or not 1 <= len(arms) <= len(SLOTS):
        raise ValueError(
            f"state: got {', '.join(state_names)}; expected {', '.join(ARM)} of one arm or of two, "
            "with a word before each name"
        )
    if set(action_names) != {*whole, *base} or len(action_names) != len(whole) + len(base):
        raise ValueError(
            f"actions: got {', '.join(action_names)}; expected {', '.join((*whole, *base))} in any order"
        )
    return RobotColumns(arms, base)


def robot_columns(contract: Contract, width: int) -> RobotColumns:
    """The columns of the contract's robot.

    width: action columns of the model. Raises ValueError if the model lacks a column of the robot.
    """
    body = body_of(contract.state_names, contract.action_names)
    if contract.model_action_names != body.model_action_names:
        raise ValueError(
            f"model actions: got {', '.join(contract.model_action_names)}; "
            f"expected {', '.join(body.model_action_names)} for {', '.join(contract.action_names)}"
        )
    if max(body.columns) >= width:
        raise ValueError(
            f"the model has {width} action columns, {', '.join(COLUMNS[:width])}: "
            f"none for {COLUMNS[max(body.columns)]}"
        )
    if len(contract.camera_names) != 1 + len(body.arms):
        raise ValueError(
            f"cameras: got {', '.join(contract.camera_names)}; "
            f"expected one in front and one at each of {len(body.arms)} wrists"
        )
    return body


def widened_state(normalised: Array, body: RobotColumns, width: int) -> Array:
    """float[..., width]: the model's state from the robot's, float[..., 8 arms] normalised."""
    lead, known = normalised.shape[:-1], len(body.arms) * len(ARM)
    if width == known:
        return normalised
    columns = width - len(SLOTS) * len(ARM)
    state = np.zeros((*lead, width), normalised.dtype)
    state[..., :known] = normalised
    state[..., -columns:] = body.there(columns)
    return state


def widened_actions(own: Array, body: RobotColumns, width: int) -> Array:
    """float[..., width]: a robot's columns, float[..., n], at the model's indices; 0 elsewhere."""
    actions = np.zeros((*own.shape[:-1], width), own.dtype)
    actions[..., body.columns] = own
    return actions
