"""A PaliGemma folder becomes an RT-2 policy: action ids are chosen, and the contract with a robot is written down.

What comes out has still to be trained (train/cotrain.py): its action tokens mean nothing yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.families.openvla import POSE, Statistics
from vla_policy.families.rt2 import Settings
from vla_policy.formats import tool_columns
from vla_policy.formats.fit import PolicyFile, Rt2
from vla_policy.formats.foreign import paligemma
from vla_policy.models.paligemma import choose_action_ids

SKELETON = """\
# What turns {folder} into an RT-2 policy; see docs/rt2.md.
checkpoint: {folder}
cameras: {{first: my_camera}}
state: [ee.x, ee.y, ee.z, ee.qx, ee.qy, ee.qz, ee.qw, gripper]
actions:
  names: [ee.x, ee.y, ee.z, ee.qx, ee.qy, ee.qz, ee.qw, gripper]
  spaces: {{arm: ee_pose, hand: gripper}}
policy_hz: 10
embodiments: [my_robot]
rt2: {{step_m: 0.04, step_rad: 0.1, plan: false, action_tokens: rare}}
"""
TOOL = tool_columns.ToolColumns("RT-2", {"ee_pose": POSE})
NAMES = ("terminate", "dx", "dy", "dz", "drx", "dry", "drz", "gripper")


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The policy that file makes of the PaliGemma in folder.

    Raises FileNotFoundError or ValueError for whatever does not fit.
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
    settings = Settings(choose_action_ids(words, rt2.action_tokens), rt2.plan)
    if (highest := max(settings.action_ids)) >= model.config.vocab:
        raise ValueError(
            f"{words.source}: action id {highest}, the model has {model.config.vocab} tokens: another tokenizer"
        )
    reach = [rt2.step_m] * 3 + [rt2.step_rad] * 3
    actions = RangeNormalizer(
        NAMES, np.array([0.0, *(-r for r in reach), 0.0]), np.array([1.0, *reach, 1.0])
    )
    contract = file.contract(image_px=model.config.vision.image_px, model_action_names=NAMES)
    return Checkpoint(model, contract, Statistics(actions), words, "rt2", settings)


def skeleton(folder: Path) -> str:
    """The start of a policy file for folder."""
    return SKELETON.format(folder=folder)


def require_columns(file: PolicyFile) -> Rt2:
    """What makes an RT-2 of it. Raises ValueError if that is missing, or other than pose and gripper of one tool is commanded."""
    if file.rt2 is None:
        raise ValueError(
            f"{file.path}: rt2 is missing: a PaliGemma needs it to act, e.g. rt2: {{step_m: 0.04, step_rad: 0.1}}"
        )
    tool_columns.require(TOOL, file.path, file.action_names, file.spaces, file.state_names)
    return file.rt2
