"""OpenVLA's training: seven action tokens of a step and the end token, as greedy decoding.

    <s> | image patches | In: What action ... ? Out: [space] | seven action tokens </s>        these eight count

Source: OpenVLA (arXiv:2406.09246), whose fine-tuning counts the end token too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families import losses, openvla_inputs
from vla_policy.families.family import require_image, require_state
from vla_policy.families.losses import IGNORED, NO_TOKENS
from vla_policy.families.tool_steps import steps_of
from vla_policy.families.training import (
    Batch,
    Demonstration,
    Loss,
    LossOptions,
    Question,
    Training,
)
from vla_policy.geometry import quaternions
from vla_policy.geometry.rotation_formats import to_rpy
from vla_policy.models.codec import EdgeBins
from vla_policy.types import Array

HEADS = ("token",)


def example(checkpoint: Checkpoint, heads: tuple[str, ...], demonstration: Demonstration) -> Batch:
    """The policy's image and prompt, and the tokens of the first row."""
    losses.require_heads(heads, HEADS, HEADS)
    contract, settings = checkpoint.contract, checkpoint.settings
    observation, words = demonstration.observation, checkpoint.tokenizer
    require_state(observation, contract.state_names)
    learned = losses.learned_rows(demonstration, 1, contract.action_names)
    actions = checkpoint.statistics.actions.normalise(_steps(checkpoint, learned))
    pixels = openvla_inputs.pixels(
        require_image(observation.images, contract.camera_names[0]),
        contract.image_px,
        settings.mean,
        settings.std,
        crop=settings.crop,
    )
    text, without = (
        torch.tensor(openvla_inputs.prompt_ids(words, said))
        for said in (observation.instruction, "")
    )
    written = NO_TOKENS
    if learned.valid[0]:
        bins = EdgeBins().encode(actions[0])
        ids = checkpoint.model.config.action_vocab - 1 - bins
        written = torch.tensor([*ids.tolist(), *([] if words.eos is None else [words.eos])])
    return {
        "images": pixels[0],
        "text": text,
        "text_without": without,
        "action_tokens": written,
        "actions": torch.from_numpy(actions).float(),
        "columns": torch.ones(actions.shape[1], dtype=torch.bool),
        **losses.tensors_of(learned),
        "valid": torch.from_numpy(learned.valid.copy()),
    }


def question(checkpoint: Checkpoint, asked: Question) -> None:
    """None: OpenVLA is trained on actions only."""


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Cross-entropy of the tokens of the step."""
    losses.require_heads(options.heads, HEADS, HEADS)
    losses.refuse_flow_options(options, "OpenVLA")
    model, device = checkpoint.model, checkpoint.device
    drawn = losses.draw(batch, options, generator, device)
    text, there = losses.chosen_text(batch, drawn.without)
    written = batch["action_tokens"].to(device)
    said = [row[here] for row, here in zip(text, there, strict=True)]
    answers = [row[row != IGNORED] for row in written]
    pairs = list(zip(said, answers, strict=True))
    whole = pad_sequence([torch.cat(pair) for pair in pairs], batch_first=True)
    # The state after a token predicts the next one.
    wanted = pad_sequence(
        [torch.cat((torch.full_like(words, IGNORED)[1:], answer)) for words, answer in pairs],
        batch_first=True,
        padding_value=IGNORED,
    )
    pixels = batch["images"].to(device, model.projector.fc1.weight.dtype)
    states = model.states(pixels, whole)[:, :-1]
    part = losses.cross_entropy(model.lm_head, states, wanted)
    return losses.weighted(batch["weight"].to(device), {"token": part}, options)


def _steps(checkpoint: Checkpoint, learned: Demonstration) -> Array:
    """float64[1, 7]: the inverse of `restore` for one step."""
    if checkpoint.contract.action_names[:7] != TOOL_POSE:
        return learned.actions
    steps = steps_of(learned.actions[:, :7], learned.observation, arm="")
    turns = to_rpy(quaternions.rotvec_to_quaternion(steps[:, 3:]))
    return np.concatenate((steps[:, :3], turns, learned.actions[:, 7:]), 1)


TRAINING = Training(
    example=example,
    question=question,
    collate=losses.collate,
    loss=loss,
    parts={"vision": r"(vision|projector)\.", "language": r"(language|embed_tokens|lm_head)\."},
    # All linear layers, as in OpenVLA's own fine-tuning.
    adapters=(
        r"vision\.(dino|siglip)\.blocks\.\d+\.(attn|mlp)\.\w+",
        r"projector\.fc\d",
        *losses.layers_of("language"),
        r"lm_head",
    ),
    half_base=True,
)
