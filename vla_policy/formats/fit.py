"""The parsed content of a policy file: how another project's checkpoint fits a robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_policy.checkpoint.contract import Contract

COMPATIBILITY = {
    "letterbox_lerobot_0_4_4": "bars of an image that is not square are -3 instead of black",
    "no_state_in_prompt": "pi0.5 without the state in its prompt, as openpi's LIBERO checkpoints",
    "state_padded_in_prompt": "pi0.5 reads the padded state as text, as trained with lerobot 0.4.4",
    "openvla_centre_crop": "OpenVLA trained with random crops reads the middle 90 % of the image's area",
    "openvla_constrained": "OpenVLA may write action tokens only; its reference decodes without that",
}


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention head counts, which shapes do not show.

    language: language model and action expert.
    """

    language: int
    kv: int
    vision: int


@dataclass(frozen=True, slots=True)
class Rt2:
    """What a vision-language model needs to become an RT-2 policy.

    step_m, step_rad: largest step of the tool from one row to the next. plan: it writes
    `Plan: ... Action:` first.
    action_tokens: which of its tokens become actions, see models.paligemma.choose_action_ids.
    """

    step_m: float
    step_rad: float
    plan: bool
    action_tokens: str


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A parsed policy file. cameras: (checkpoint's name, robot's name), in the file's order.

    units: name -> one unit of the checkpoint in the robot's unit; 1 for names not listed.
    """

    path: Path
    checkpoint: Path
    format: str
    tokenizer: Path | None
    cameras: tuple[tuple[str, str], ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    spaces: tuple[tuple[str, str], ...]
    relative: tuple[str, ...]
    policy_hz: float
    embodiments: tuple[str, ...]
    statistics: str | None
    constant: tuple[str, ...]
    units: Mapping[str, float]
    rows: int | None
    heads: Heads | None
    compatibility: tuple[str, ...]
    rt2: Rt2 | None

    def contract(
        self,
        *,
        image_px: int,
        camera_names: tuple[str, ...] | None = None,
        model_action_names: tuple[str, ...] | None = None,
    ) -> Contract:
        """The contract given by the file and the checkpoint's image size.

        camera_names: the robot's names in the checkpoint's slot order, if not the file's order.
        """
        return Contract(
            camera_names=camera_names or tuple(robot for _, robot in self.cameras),
            image_px=image_px,
            state_names=self.state_names,
            action_names=self.action_names,
            model_action_names=model_action_names or self.action_names,
            spaces=self.spaces,
            policy_hz=self.policy_hz,
            embodiments=self.embodiments,
        )
