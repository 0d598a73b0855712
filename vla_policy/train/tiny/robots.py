"""Contract and statistics of a new robot for a `tiny` policy: its limits define the ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.statistics import RangeNormalizer, Statistics
from vla_policy.embodiment import Embodiment, GroupLimits, Workspace
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.tiny.columns import ARM, SLOTS, RobotColumns, body_of
from vla_policy.families.tool_steps import row_ranges
from vla_policy.models import config, tokenizer
from vla_policy.models.vla import VLA


def contract_of(embodiment: Embodiment, image_px: int) -> Contract:
    """A tiny policy's contract for embodiment.

    Raises ValueError if the model lacks columns for it.
    """
    states, actions = tuple(embodiment.state_names), tuple(embodiment.action_names)
    return Contract(
        camera_names=tuple(embodiment.camera_names),
        image_px=image_px,
        state_names=states,
        action_names=actions,
        model_action_names=body_of(states, actions).model_action_names,
        spaces=tuple((g.name, g.space) for g in embodiment.actions),
        policy_hz=float(embodiment.policy_hz),
        embodiments=(embodiment.name,),
    )


def untrained(
    embodiment: Embodiment, words: Iterable[str], image_px: int, *, seed: int = 0
) -> Checkpoint:
    """`tiny` of random numbers for a robot of one arm, with words of its own and no token head."""
    torch.manual_seed(seed)
    tokens = tokenizer.build(words)
    sizes = config.tiny(tokens.get_vocab_size())
    sizes = replace(sizes, token=None, vision=replace(sizes.pointing, image_px=image_px))
    contract = contract_of(embodiment, image_px)
    body = body_of(contract.state_names, contract.action_names)
    return Checkpoint(VLA(sizes), contract, statistics_of(embodiment, body), tokens)


def statistics_of(embodiment: Embodiment, body: RobotColumns) -> Statistics:
    """Ranges of a robot's columns: workspaces of arms, steps of tools, limits of the base."""
    limits = {
        name: embodiment.limits.groups[g.name] for g in embodiment.actions for name in g.names
    }
    boxes = [_workspace(limits[arm + TOOL_POSE[0]], arm) for arm in body.arms]
    turned = [1.0] * (len(TOOL_POSE) - 3)
    low = np.concatenate([[*box.lower, *(-x for x in turned), 0.0] for box in boxes])
    high = np.concatenate([[*box.upper, *turned, 1.0] for box in boxes])
    row = row_ranges()
    terminate, *own = zip(row.names, zip(row.lower, row.upper, strict=True), strict=True)
    ends: dict[str, tuple[float, float]] = dict([terminate])
    for slot in SLOTS[: len(body.arms)]:
        ends |= {slot + name: pair for name, pair in own}
    for name in body.base:
        speed = _speed(limits[name], name)
        ends[name] = (-speed, speed)
    names = tuple(arm + name for arm in body.arms for name in ARM)
    order = body.model_action_names
    return Statistics(
        RangeNormalizer(names, low, high),
        RangeNormalizer(order, *np.array([ends[n] for n in order]).T),
    )


def _workspace(limits: GroupLimits, arm: str) -> Workspace:
    if limits.workspace is None:
        raise ValueError(f"arm {arm!r}: got no workspace, expected one: it scales the poses")
    return limits.workspace


def _speed(limits: GroupLimits, name: str) -> float:
    speed = limits.angular_speed_rad_s if "w" in name else limits.linear_speed_m_s
    if speed is None:
        raise ValueError(f"{name}: got no limit of speed, expected one: it scales the column")
    return speed
