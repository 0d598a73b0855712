"""Adapts a policy's cameras and columns to another robot, for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment.spaces import JOINT_PREFIX
from vla_policy.families import FAMILIES

NEAR_THE_HAND = ("wrist", "hand", "gripper")


def for_robot(
    checkpoint: Checkpoint, contract: Contract, cameras: Mapping[str, str]
) -> Checkpoint:
    """The checkpoint with the contract of another robot; its statistics are still the old one's.

    cameras: the network's name of a camera -> the robot's, if their order does not match.
    Raises ValueError for a family that is built for its robot, and for more columns than the
    network has.
    """
    training = FAMILIES[checkpoint.family].training
    if training is not None and training.bound_by:
        raise ValueError(
            f"policy: got a {checkpoint.family} model for {', '.join(checkpoint.contract.embodiments)} and data of "
            f"{contract.embodiments[0]}, expected data of its robot: {training.bound_by} is built for that arm"
        )
    old, settings = checkpoint.contract, checkpoint.settings
    slots = getattr(settings, "slots", None) or old.camera_names
    chosen = cameras_of(slots, contract.camera_names, cameras)
    contract = replace(contract, camera_names=tuple(chosen.values()))
    changes: dict[str, Any] = {}
    if hasattr(settings, "slots"):
        changes["slots"] = tuple(chosen)
    if old.model_action_names == old.action_names:
        _require_room(checkpoint, contract)
        if getattr(settings, "relative", ()):  # as before: joints relative, grippers absolute
            changes["relative"] = tuple(
                n for n in contract.action_names
                if n.startswith(JOINT_PREFIX) and n in contract.state_names
            )  # fmt: skip
        if getattr(settings, "state_words", 0) == len(old.state_names):
            changes["state_words"] = len(contract.state_names)
    else:  # steps of a tool, the same for every arm
        contract = replace(contract, model_action_names=old.model_action_names)
    return replace(
        checkpoint,
        contract=contract,
        settings=replace(settings, **changes) if changes else settings,
    )


def cameras_of(
    slots: Sequence[str], there: Sequence[str], said: Mapping[str, str]
) -> dict[str, str]:
    """Network's camera -> robot's: as given, wrist to wrist, then in order; the rest is unused.

    Raises ValueError for unknown names.
    """
    for slot, camera in said.items():
        if slot not in slots or camera not in there:
            raise ValueError(
                f"cameras: got {slot}: {camera}, expected one of {', '.join(slots)}: one of {', '.join(there)}"
            )
    chosen = dict(said)
    for near in (True, False, None):
        free = [s for s in slots if s not in chosen and near in (None, _near(s))]
        left = [c for c in there if c not in chosen.values() and near in (None, _near(c))]
        chosen |= dict(zip(free, left, strict=False))
    return {slot: chosen[slot] for slot in slots if slot in chosen}


def _near(name: str) -> bool:
    return any(word in name.lower() for word in NEAR_THE_HAND)


def _require_room(checkpoint: Checkpoint, contract: Contract) -> None:
    config = checkpoint.model.config
    for what, names, most in (
        ("state entries", contract.state_names, getattr(config, "state_dim", None)),
        ("action columns", contract.action_names, getattr(config, "action_dim", None)),
    ):
        if most is not None and len(names) > most:
            raise ValueError(
                f"policy: got a network with {most} {what}, expected at least the {len(names)} of {contract.embodiments[0]}"
            )
