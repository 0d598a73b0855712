"""SmolVLA's training: flow matching only. Its truncated language model has no output layer.

Source: lerobot, which counts real columns and valid rows, as here. Delays are refused: its flow
has one time for a whole chunk.
"""

from __future__ import annotations

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import losses, pi0, pi0_training, smolvla
from vla_policy.families.losses import Drawn
from vla_policy.families.training import (
    Batch,
    Demonstration,
    Loss,
    LossOptions,
    Question,
    Training,
)

HEADS = ("flow",)


def example(checkpoint: Checkpoint, heads: tuple[str, ...], demonstration: Demonstration) -> Batch:
    """The policy's inputs at the observation, and the chunk in the network's own units."""
    losses.require_heads(heads, HEADS, HEADS)
    observation, cpu = demonstration.observation, torch.device("cpu")
    pictures = pi0.pictures_of(checkpoint, observation)
    inputs = smolvla.inputs_of(
        checkpoint, pictures, observation.state, observation.instruction, device=cpu
    )
    return pi0_training.of_inputs(inputs) | pi0_training.actions_of(checkpoint, demonstration)


def question(checkpoint: Checkpoint, asked: Question) -> None:
    """None: it cannot learn to answer."""


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Flow matching."""
    losses.require_heads(options.heads, HEADS, HEADS)
    if options.max_delay:
        raise ValueError(
            f"max_delay: got {options.max_delay}, expected 0: SmolVLA has one time for a whole chunk"
        )
    drawn = losses.draw(batch, options, generator, checkpoint.device)
    return loss_of(checkpoint, batch, options, drawn)


def loss_of(checkpoint: Checkpoint, batch: Batch, options: LossOptions, drawn: Drawn) -> Loss:
    """The same for given draws."""
    model, device = checkpoint.model, checkpoint.device
    text, text_valid = losses.chosen_text(batch, drawn.without)
    seen, _ = losses.features(model.vision, batch, device)
    state, cameras = batch["state"].to(device), batch["image_valid"].to(device)
    prefix = model.prefix(
        seen, text, state, cameras, text_valid, detach=options.detach_prefix
    ).repeat(drawn.draws)
    state = state.repeat_interleave(drawn.draws, 0)
    part = losses.flow_matching(
        lambda x, t: model.flow(prefix, state, x, t), batch, drawn, options
    )
    return losses.weighted(batch["weight"].to(device), {"flow": part}, options)


TRAINING = Training(
    example=example,
    question=question,
    collate=losses.collate,
    loss=loss,
    parts={
        "vision": r"(vision|connector)\.",
        "language": r"(language|embed_tokens)\.",
        "expert": r"flow\.expert\.",
        "projections": r"flow\.(?!expert\.)|state_proj\.",
    },
    adapters=losses.layers_of(r"(language|flow\.expert)"),
)
