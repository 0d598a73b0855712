"""Rolls a `tiny` policy's inputs forward over the frozen rows, which its chunk then continues.

Tools and base are at the end of those rows, grippers as far open as they can be by then, and an
object inside a closed gripper moves with it. The pointing tower reports positions in metres, so
all others that it found are transformed; nothing is trained for this.

After VLASH, which rolls the robot's state forward; differs in: found positions are transformed
too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from vla_policy.families.tool_steps import GRIPPER, STEP
from vla_policy.geometry import pose_steps
from vla_policy.models import pointing
from vla_policy.types import Array

AROUND_M = 0.03  # an object this close to a closing gripper is inside it
CLOSED = 0.5  # a gripper below it is closing
OPENING_PER_ROW = 0.6  # largest change of the opening in a row of 0.1 s
HELD_OPENING = 0.4  # of a gripper around an object, if not measured
LOOSE_OPENING = 0.75  # a gripper this far open holds nothing yet


@dataclass(frozen=True, slots=True)
class Hand:
    """One arm as input of a policy.

    found: the tower's answer. measured: float64[8], pose, opening.
    """

    found: pointing.PointedPlaces
    measured: Array

    @property
    def tool(self) -> torch.Tensor:
        """The tool in the form of pointing.tokens, float32[1, 4]."""
        return tool_of(self.measured, self.found.xyz.device)


def tool_of(measured: Array, device: torch.device | str) -> torch.Tensor:
    """x y z and opening, float32[1, 4], of a pose and opening float64[8]."""
    values = [[*measured[:3], measured[7]]]
    return torch.tensor(values, dtype=torch.float32, device=device)


def ahead(
    hands: tuple[Hand, ...], said: tuple[dict[str, Array], ...], way: Array | None
) -> tuple[Hand, ...]:
    """hands at the end of the known rows, in the base frame at that time.

    said: for each arm its columns STEP and GRIPPER, float64[k] in robot units. way: float64[k +
    1, 3], the path of the base, x, y and yaw before and after each row, in its current frame;
    None: no motion.
    """
    if way is None:
        way = np.zeros((len(said[0][GRIPPER]) + 1, 3))
    moved = [_hand_ahead(hand, rows, way) for hand, rows in zip(hands, said, strict=True)]
    carried = max((shift for _, shift in moved), key=np.linalg.norm)
    return tuple(
        replace(there, found=_seen(hand, there, carried, way[-1]))
        for hand, (there, _) in zip(hands, moved, strict=True)
    )


def _hand_ahead(hand: Hand, rows: dict[str, Array], way: Array) -> tuple[Hand, Array]:
    """The arm at the end of its rows, and its target's motion, float64[3], current base frame."""
    steps = np.stack([rows[name] for name in STEP], axis=1)
    poses = pose_steps.steps_to_poses(hand.measured[:7], steps)
    place, opening = _target(hand), float(hand.measured[7])
    before, carried = hand.measured[:3], np.zeros(3)
    for pose, gripper, base in zip(poses, rows[GRIPPER], way[1:], strict=True):
        tool = _in_room(pose[:3], base)
        around = bool(np.linalg.norm(place + carried - before) < AROUND_M)
        if gripper < CLOSED and around:
            carried = carried + tool - before
        opening = _opening(opening, closes=gripper < CLOSED, around=around)
        before = tool
    return replace(hand, measured=np.array([*poses[-1], opening])), carried


def _in_room(xyz: Array, base: Array) -> Array:
    """A position in the frame of a base at x, y, yaw, float64[3], in the current base frame."""
    x, y, turn = base
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([x + cos * xyz[0] - sin * xyz[1], y + sin * xyz[0] + cos * xyz[1], xyz[2]])


def _opening(opening: float, *, closes: bool, around: bool) -> float:
    if not closes:
        return min(1.0, opening + OPENING_PER_ROW)
    least = 0.0
    if around:
        least = opening if opening < LOOSE_OPENING else HELD_OPENING
    return max(least, opening - OPENING_PER_ROW)


def _target(hand: Hand) -> Array:
    """Position of the target, float64[3]: from the wrist camera if visible, else the front one."""
    found = hand.found
    if found.wrist_visible[0, 0] > 0:
        seen: Array = hand.measured[:3] + found.wrist_xyz[0].double().cpu().numpy()
        return seen
    return found.xyz[0, 0].double().cpu().numpy()


def _seen(hand: Hand, there: Hand, carried: Array, base: Array) -> pointing.PointedPlaces:
    """hand's answer with the target moved, in the tool and base frames at that time."""
    found = hand.found
    shift = torch.from_numpy(carried).to(found.xyz)
    xyz = found.xyz.clone()
    xyz[:, 0] += shift
    found = replace(found, xyz=xyz, wrist_xyz=found.wrist_xyz + shift)
    way = torch.from_numpy(base[None]).to(found.xyz)
    return pointing.seen_from(found, hand.tool, there.tool, way)
