"""SmolVLA: inputs and outputs as pi0's, with the image in a corner and the instruction unchanged.

    [images | text | newline] [state]   beside noisy actions

Source: SmolVLA (arXiv:2506.01844), as run by lerobot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import pi0
from vla_policy.families.family import Family
from vla_policy.models.engine.smolvla import engine_for_smolvla
from vla_policy.models.fitting import Scaling
from vla_policy.models.roofline import smolvla_work
from vla_policy.models.smolvla import SmolVla, SmolVlaConfig, smolvla_450m
from vla_policy.models.text import TextTokenizer, tokenizer_of
from vla_policy.types import Array, Observation


@dataclass(frozen=True, slots=True)
class SmolVlaSettings:
    """slots: the checkpoint's names of contract.camera_names. relative: see pi0.Pi0Settings."""

    slots: tuple[str, ...]
    relative: tuple[str, ...] = ()


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> pi0.Pi0Inputs:
    """Images with bars left and above, the state normalised, the instruction tokenised."""
    pictures = pi0.pictures_of(checkpoint, observation)
    return inputs_of(checkpoint, pictures, observation.state, observation.instruction)


def inputs_of(
    checkpoint: Checkpoint,
    pictures: Mapping[str, torch.Tensor],
    state: Array,
    instruction: str,
    *,
    device: torch.device | None = None,
) -> pi0.Pi0Inputs:
    """Inputs from images float32[3, h, w] in [0, 1] by robot camera, and state in robot units.

    device: of the tensors; None: the network's.
    """
    side = checkpoint.model.config.vision.image_px
    images = [
        pi0.letterbox(pictures[name], side, antialias=False, bars=-1.0, corner=True)
        for name in checkpoint.contract.camera_names
    ]
    normalised = checkpoint.statistics.state.normalise(state)
    ids = [_ids(checkpoint, words) for words in (instruction, "")]
    return pi0.assembled(checkpoint, images, normalised, ids, device=device)


def scaling(checkpoint: Checkpoint) -> Scaling:
    """As pi0.letterbox does it without a filter."""
    return Scaling(checkpoint.model.config.vision.image_px, antialias=False)


FAMILY = Family(
    heads=("flow",),
    rows=pi0.rows,
    prepare=prepare,
    sample=pi0.sample,
    restore=pi0.restore,
    express=pi0.express,
    network=SmolVla,
    sizes=SmolVlaConfig,
    statistics=pi0.STATISTICS,
    settings=SmolVlaSettings,
    tokenizer=tokenizer_of,
    published={"smolvla-450m": smolvla_450m},
    work=smolvla_work,
    engine=engine_for_smolvla,
    scaling=scaling,
    guided=True,
)


def _ids(checkpoint: Checkpoint, instruction: str) -> list[int]:
    text = instruction if instruction.endswith("\n") else f"{instruction}\n"
    tokens: TextTokenizer = checkpoint.tokenizer
    ids, room = tokens.encode(text), checkpoint.model.config.max_text
    if len(ids) > room:
        raise ValueError(
            f"instruction: it has {len(ids)} tokens, the model takes at most {room}: {text!r}"
        )
    return ids
