"""A PaliGemma folder becomes an RT-2 policy: action ids are chosen, and a robot's contract is written down."""

from __future__ import annotations

from pathlib import Path

import torch

from ..contract import Contract
from ..embodiment import Embodiment
from ..families.openvla import POSE, Statistics
from ..families.rt2 import Settings
from ..models.paligemma import choose_action_ids
from ..models.weights import Checkpoint
from ..stats import Range
from . import paligemma

FAMILY = "rt2"
NAMES = ("terminate", "dx", "dy", "dz", "drx", "dry", "drz", "gripper")


def make(
    folder: Path,
    embodiment: Embodiment,
    *,
    cameras: tuple[str, ...],
    step_m: float,
    step_rad: float,
    rows: int = 1,
    plan: bool = False,
    rule: str = "rare",
    tokenizer: Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """A policy for embodiment from a PaliGemma folder. It has to be trained: its action tokens mean nothing yet.

    cameras: which of the robot's it sees, in order. step_m, step_rad: largest step from one row to the next.
    plan: it is to write `Plan: ... Action:` first. rule: see choose_action_ids.
    Raises FileNotFoundError or ValueError for whatever does not fit.
    """
    if unknown := [name for name in cameras if name not in embodiment.camera_names]:
        raise ValueError(
            f"cameras: {embodiment.name!r} has no {', '.join(unknown)}; it has {', '.join(embodiment.camera_names)}"
        )
    if embodiment.action_names != (*POSE, "gripper"):
        raise ValueError(
            f"actions of {embodiment.name!r}: got {', '.join(embodiment.action_names)}, expected a pose "
            f"({', '.join(POSE)}) and the gripper, which RT-2's eight numbers move"
        )
    model, words = paligemma.load(
        folder, cameras=len(cameras), rows=rows, device=device, dtype=dtype, tokenizer=tokenizer
    )
    contract = Contract(
        camera_names=tuple(cameras),
        image_px=model.config.vision.image_px,
        state_names=tuple(embodiment.state_names),
        action_names=tuple(embodiment.action_names),
        model_action_names=NAMES,
        spaces=tuple((g.name, g.space) for g in embodiment.actions),
        policy_hz=float(embodiment.policy_hz),
        embodiments=(embodiment.name,),
    )
    reach = [step_m] * 3 + [step_rad] * 3
    actions = Range(NAMES, [0.0, *(-r for r in reach), 0.0], [1.0, *reach, 1.0])
    settings = Settings(choose_action_ids(words, rule), plan)
    if (highest := max(settings.action_ids)) >= model.config.vocab:
        raise ValueError(
            f"{words.source}: action id {highest}, the model has {model.config.vocab} tokens: another tokenizer"
        )
    return Checkpoint(model, contract, Statistics(actions), words, FAMILY, settings)
