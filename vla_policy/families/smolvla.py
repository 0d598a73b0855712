"""SmolVLA: pi0's way of feeding and reading, with the picture in a corner and the instruction as it is.

    [pictures | words | newline] [state]   beside noisy actions

Source: SmolVLA (arXiv:2506.01844), as its weights are run by lerobot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..models.weights import Checkpoint
from ..types import Array, Observation
from . import pi0
from .family import Family, require_image, require_state


@dataclass(frozen=True, slots=True)
class Settings:
    """slots: the checkpoint's names of contract.camera_names. relative: see pi0.Settings."""

    slots: tuple[str, ...]
    relative: tuple[str, ...] = ()


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> pi0.Inputs:
    """Pictures with bars left and above, the state normalised, the instruction tokenised."""
    contract = checkpoint.contract
    require_state(observation, contract.state_names)
    pictures = {
        name: torch.tensor(require_image(observation.images, name)).permute(2, 0, 1).float() / 255
        for name in contract.camera_names
    }
    return inputs_of(checkpoint, pictures, observation.state, observation.instruction)


def inputs_of(
    checkpoint: Checkpoint, pictures: Mapping[str, torch.Tensor], state: Array, instruction: str
) -> pi0.Inputs:
    """The same from pictures float32[3, h, w] in [0, 1] by the robot's camera names, and state in robot units."""
    config, device = checkpoint.model.config, checkpoint.device
    images = [
        pi0.letterbox(
            pictures[name], config.vision.image_px, antialias=False, bars=-1.0, corner=True
        )
        for name in checkpoint.contract.camera_names
    ]
    normalised = checkpoint.statistics.state.normalise(state)
    padded = np.zeros(config.state_dim)
    padded[: len(normalised)] = normalised
    text, without = (
        torch.tensor([_ids(checkpoint, words)], device=device) for words in (instruction, "")
    )
    return pi0.Inputs(
        images=torch.stack(images)[None].to(device),
        text=text,
        text_without=without,
        state=torch.from_numpy(padded).float().to(device)[None],
    )


FAMILY = Family(
    heads=("flow",),
    rows=pi0.rows,
    prepare=prepare,
    sample=pi0.sample,
    restore=pi0.restore,
    express=pi0.express,
)


def _ids(checkpoint: Checkpoint, instruction: str) -> list[int]:
    text = instruction if instruction.endswith("\n") else f"{instruction}\n"
    ids, room = checkpoint.tokenizer.encode(text), checkpoint.model.config.max_text
    if len(ids) > room:
        raise ValueError(
            f"instruction: it has {len(ids)} tokens, the model takes at most {room}: {text!r}"
        )
    return ids
