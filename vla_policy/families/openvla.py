"""OpenVLA: one image and one sentence in, one step of the tool out, decoded greedily.

Source: OpenVLA (arXiv:2406.09246). Its step is in the base frame: metres, then roll, pitch and
yaw in rad, then the gripper as in its data set. A robot gets it unchanged (space ee_delta) or
added to the measured pose (space ee_pose with a quaternion), depending on contract.action_names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.statistics import (
    RANGE_KEYS,
    RangeNormalizer,
    part_of,
    range_from_dict,
    range_to_dict,
)
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families import openvla_inputs as inputs
from vla_policy.families.family import (
    Codec,
    Family,
    Rows,
    Sampled,
    require_image,
    require_plain,
    require_state,
)
from vla_policy.geometry import pose_steps, quaternions
from vla_policy.geometry.rotation_formats import from_rpy
from vla_policy.models.openvla import OpenVla, OpenVlaConfig, openvla_7b, write_action
from vla_policy.models.roofline import openvla_work
from vla_policy.models.sampling import Sampling
from vla_policy.models.text import tokenizer_of
from vla_policy.types import Array, Observation

NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")


@dataclass(frozen=True, slots=True)
class OpenVlaStatistics:
    """Range of the actions of one data set; the state is not used."""

    actions: RangeNormalizer


@dataclass(frozen=True, slots=True)
class OpenVlaSettings:
    """mean, std: of a pixel, six numbers each, DINOv2's then SigLIP's.

    constrained: only action ids may be written; the reference decodes without that. crop: trained
    with random crops, so the middle of the image is used.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    constrained: bool = False
    crop: bool = False


@dataclass(frozen=True, slots=True)
class OpenVlaInputs:
    """pixels: float[1, 6, h, w]. text: int64[1, s]."""

    pixels: torch.Tensor
    text: torch.Tensor


def rows(checkpoint: Checkpoint, head: str) -> int:
    """OpenVLA predicts one step."""
    return 1


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> OpenVlaInputs:
    """The one image, normalised for both towers, and the prompt."""
    contract, settings, model = checkpoint.contract, checkpoint.settings, checkpoint.model
    require_state(observation, contract.state_names)
    pixels = inputs.pixels(
        require_image(observation.images, contract.camera_names[0]),
        contract.image_px,
        settings.mean,
        settings.std,
        crop=settings.crop,
    )
    ids = inputs.prompt_ids(checkpoint.tokenizer, observation.instruction)
    return OpenVlaInputs(
        pixels.to(checkpoint.device, model.projector.fc1.weight.dtype),
        torch.tensor([ids], device=checkpoint.device),
    )


def sample(checkpoint: Checkpoint, head: str, given: OpenVlaInputs, sampling: Sampling) -> Sampled:
    """Seven most likely tokens; the same for every candidate and seed."""
    require_plain(sampling, head=head, but=("candidates", "num_steps", "previous"))
    model = checkpoint.model
    ids, _ = write_action(
        model, given.pixels, given.text, constrained=checkpoint.settings.constrained
    )
    actions = inputs.actions_of(ids.cpu().numpy(), model.config.action_vocab)
    return Sampled(np.repeat(actions[None], sampling.candidates, 0))


def restore(checkpoint: Checkpoint, model_actions: Array, observation: Observation) -> Rows:
    """The step in robot units, or the resulting pose."""
    steps = checkpoint.statistics.actions.restore(model_actions)
    if checkpoint.contract.action_names[:7] != TOOL_POSE:
        return Rows(steps)
    names = observation.state_names
    start = observation.state[[names.index(name) for name in TOOL_POSE]]
    turns = quaternions.quaternion_to_rotvec(from_rpy(steps[:, 3:6]))
    poses = pose_steps.steps_to_poses(start, np.concatenate((steps[:, :3], turns), 1))
    return Rows(np.concatenate((poses, steps[:, 6:]), 1))


def statistics_to_dict(statistics: OpenVlaStatistics) -> dict[str, Any]:
    """Plain JSON data."""
    return {"actions": range_to_dict(statistics.actions)}


def statistics_from_dict(data: Mapping[str, Any]) -> OpenVlaStatistics:
    """Inverse of statistics_to_dict. Raises ValueError naming what is missing."""
    ends = part_of(data, "actions")
    if set(ends) != RANGE_KEYS:
        raise ValueError(
            f"statistics.actions: got {sorted(ends)}, expected names, lower and upper"
        )
    return OpenVlaStatistics(range_from_dict(ends, "statistics.actions"))


STATISTICS = Codec(statistics_to_dict, statistics_from_dict)
FAMILY = Family(
    heads=("token",),
    rows=rows,
    prepare=prepare,
    sample=sample,
    restore=restore,
    network=OpenVla,
    sizes=OpenVlaConfig,
    statistics=STATISTICS,
    settings=OpenVlaSettings,
    tokenizer=tokenizer_of,
    published={"openvla-7b": openvla_7b},
    work=openvla_work,
    not_normalised=inputs.NOT_NORMALISED,
    needs_state=lambda contract: contract.action_names[:7] == TOOL_POSE,
)
