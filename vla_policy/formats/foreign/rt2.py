"""Turns a PaliGemma folder into an RT-2 policy: action ids and the contract with a robot.

The result must still be trained (families/rt2_training.py): its action tokens have no meaning yet.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.openvla import OpenVlaStatistics
from vla_policy.families.rt2 import Rt2Settings
from vla_policy.families.tool_steps import ROW, STEP_M, STEP_RAD, row_ranges
from vla_policy.formats import tool_columns
from vla_policy.formats.fit import PolicyFile, Rt2
from vla_policy.formats.foreign import paligemma
from vla_policy.models.paligemma import choose_action_ids

SKELETON = """\
# What turns {folder} into an RT-2 policy; see docs/rt2.md.
checkpoint: {folder}
cameras: {{first: my_camera}}
state: [{pose}, gripper]
actions:
  names: [{pose}, gripper]
  spaces: {{arm: ee_pose, hand: gripper}}
policy_hz: 10
embodiments: [my_robot]
{rt2}
"""
STEPS = f"step_m: {STEP_M}, step_rad: {STEP_RAD}"
LINE = f"rt2: {{{STEPS}, plan: false, action_tokens: rare}}"
TOOL = tool_columns.ToolColumns("RT-2", {"ee_pose": TOOL_POSE})


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The policy made from the PaliGemma in folder by the policy file.

    Raises FileNotFoundError or ValueError.
    """
    rt2 = require_columns(file)
    model, words = paligemma.load(
        folder,
        cameras=len(file.cameras),
        rows=file.rows or 1,
        device=device,
        dtype=dtype,
        tokenizer=file.tokenizer,
    )
    settings = Rt2Settings(choose_action_ids(words, rt2.action_tokens), rt2.plan)
    if (highest := max(settings.action_ids)) >= model.config.vocab:
        raise ValueError(
            f"{words.source}: action id {highest}, the model has {model.config.vocab} tokens: another tokenizer"
        )
    actions = row_ranges(rt2.step_m, rt2.step_rad)
    contract = file.contract(image_px=model.config.siglip.image_px, model_action_names=ROW)
    return Checkpoint(model, contract, OpenVlaStatistics(actions), words, "rt2", settings)


def skeleton(folder: Path) -> str:
    """The start of a policy file for folder."""
    return SKELETON.format(folder=folder, pose=", ".join(TOOL_POSE), rt2=LINE)


def require_columns(file: PolicyFile) -> Rt2:
    """The rt2 settings.

    Raises ValueError without them, or unless pose and gripper of one tool are commanded.
    """
    if file.rt2 is None:
        raise ValueError(
            f"{file.path}: rt2 is missing: a PaliGemma needs it to act, e.g. rt2: {{{STEPS}}}"
        )
    tool_columns.require(TOOL, file.path, file.action_names, file.spaces, file.state_names)
    return file.rt2
