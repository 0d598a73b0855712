"""pi0's and pi0.5's training: flow matching, with action tokens and text for the language model.

The action tokens (knowledge insulation, arXiv:2505.23705) are RT-2's bins of every real column of
the valid rows, row by row, as ids from the vocabulary's end; they follow the prompt in the
language model only, the expert never attends to them.
Differs from the paper in: bins instead of FAST (arXiv:2501.09747), so there are more tokens.
Source of the flow's loss: openpi, lerobot. lerobot counts real columns, openpi
(`padding_columns`) all of them; both count rows after the end of an episode, which repeat the
last action; here such rows do not count.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import losses, pi0
from vla_policy.families.losses import NO_TOKENS, Drawn
from vla_policy.families.training import (
    HEADS,
    Batch,
    Demonstration,
    Loss,
    LossOptions,
    Question,
    Training,
)
from vla_policy.models.codec import UniformBins
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import ActionChunk, Array

USUAL = ("flow",)
BINS = 256
SKIPPED = 128  # ids at the very end of the vocabulary that keep their meaning: <seg...>
DEVIATIONS = 3.0  # range of the outermost bins, for a column normalised by its deviation


def example(checkpoint: Checkpoint, heads: tuple[str, ...], demonstration: Demonstration) -> Batch:
    """The policy's inputs at the observation, and the chunk in the network's own units."""
    heads = losses.require_heads(heads, HEADS, USUAL)
    observation, cpu = demonstration.observation, torch.device("cpu")
    pictures = pi0.pictures_of(checkpoint, observation)
    inputs = pi0.inputs_of(
        checkpoint, pictures, observation.state, observation.instruction, device=cpu
    )
    batch = of_inputs(inputs) | actions_of(checkpoint, demonstration)
    if "token" in heads:
        real = batch["actions"][:, batch["columns"]][batch["valid"]].numpy()
        batch["action_tokens"] = torch.from_numpy(action_tokens(checkpoint, real))
    return batch


def of_inputs(inputs: pi0.Pi0Inputs) -> Batch:
    """The network's inputs without a batch dimension; all cameras are present."""
    return {
        "images": inputs.images[0],
        "image_valid": torch.ones(inputs.images.shape[1], dtype=torch.bool),
        "text": inputs.text[0],
        "text_without": inputs.text_without[0],
        "state": inputs.state[0],
        "answer": NO_TOKENS,
        "action_tokens": NO_TOKENS,
    }


def actions_of(checkpoint: Checkpoint, demonstration: Demonstration) -> Batch:
    """The chunk from `express`, padded with columns of 0, and the mask of counted elements."""
    contract, config = checkpoint.contract, checkpoint.model.config
    learned = losses.learned_rows(demonstration, config.flow.rows, contract.action_names)
    observation = learned.observation
    chunk = ActionChunk(
        learned.actions, contract.action_names, observation.obs_ns, contract.step_ns, 0, ""
    )
    expressed = pi0.express(checkpoint, chunk, observation)
    real = np.arange(config.action_dim) < len(contract.action_names)
    return {
        "actions": torch.from_numpy(expressed.model_actions).float(),
        "columns": torch.from_numpy(real),
        **losses.tensors_of(replace(learned, done=None)),
    }


def action_tokens(checkpoint: Checkpoint, actions: Array) -> Array:
    """int64[rows columns]: ids of normalised actions float[rows, columns].

    Raises ValueError if the vocabulary is too small.
    """
    vocab: int = checkpoint.model.config.vocab
    if vocab < SKIPPED + BINS:
        raise ValueError(
            f"heads: got a vocabulary of {vocab} ids, expected at least {SKIPPED + BINS} for action tokens"
        )
    mean_std = checkpoint.statistics.actions.mode == "mean_std"
    bins = UniformBins(BINS).encode(actions / (DEVIATIONS if mean_std else 1.0))
    return vocab - 1 - SKIPPED - bins.flatten()


def question(checkpoint: Checkpoint, asked: Question) -> Batch:
    """The question as a prompt, its images in the first cameras' places."""
    config, words = checkpoint.model.config, checkpoint.tokenizer
    ids = pi0.encode(words, f"{' '.join(asked.text.split())}\n")
    if len(ids) > config.max_text:
        raise ValueError(
            f"Question.text: got {len(ids)} tokens, expected at most {config.max_text}: {asked.text!r}"
        )
    side, cameras = config.vision.image_px, len(checkpoint.contract.camera_names)
    text, end = torch.tensor(ids), [] if words.eos is None else [words.eos]
    return {
        **losses.question_images(asked, cameras, partial(_square, checkpoint), side),
        "text": text,
        "text_without": text,
        "state": torch.zeros(config.state_dim),
        "answer": torch.tensor([*words.encode(asked.answer), *end]),
        "action_tokens": NO_TOKENS,
        **losses.tensors_without_actions(asked, config.flow.rows, config.action_dim),
    }


def _square(checkpoint: Checkpoint, image: Array) -> torch.Tensor:
    settings = checkpoint.settings
    return pi0.letterbox(
        torch.tensor(image).permute(2, 0, 1).float() / 255,
        checkpoint.model.config.vision.image_px,
        antialias=settings.antialias,
        bars=settings.bars,
        corner=settings.corner,
    )


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Flow matching of demonstrations, cross-entropy of action tokens and answers."""
    losses.require_heads(options.heads, HEADS, USUAL)
    drawn = losses.draw(batch, options, generator, checkpoint.device)
    return loss_of(checkpoint, batch, options, drawn)


def loss_of(checkpoint: Checkpoint, batch: Batch, options: LossOptions, drawn: Drawn) -> Loss:
    """The same for given draws."""
    heads, model, device = options.heads or USUAL, checkpoint.model, checkpoint.device
    text, _ = losses.chosen_text(batch, drawn.without)
    seen, there = losses.features(model.vision, batch, device)
    state = batch["state"].to(device)
    prefix = model.prefix(seen, text, state, there)
    parts = {"text": losses.answer_loss(model, prefix, batch["answer"].to(device))}
    if "token" in heads:
        tokens = batch["action_tokens"].to(device)
        parts["token"] = losses.answer_loss(model, prefix, tokens)
    if "flow" in heads:
        shown = losses.detached(prefix) if options.detach_prefix else prefix
        parts["flow"] = flow_part(model, shown, state, batch, options, drawn)
    return losses.weighted(batch["weight"].to(device), parts, options)


def flow_part(
    model: VLA,
    prefix: Prefix,
    state: torch.Tensor,
    batch: Batch,
    options: LossOptions,
    drawn: Drawn,
) -> losses.Part:
    """The flow's loss of the samples that have actions."""
    rows = batch["valid"].any(1).to(state.device)
    if not rows.any():
        return losses.none_of(prefix.out, rows)
    owner = rows.nonzero()[:, 0]
    some, n = losses.drawn_of_some(drawn, rows), drawn.draws
    repeated, read = (
        losses.some_rows(prefix, owner).repeat(n),
        state[owner].repeat_interleave(n, 0),
    )
    each = losses.flow_matching(
        lambda x, t: model.flow_head(repeated, read, x, t),
        losses.of_some(batch, ("actions", "valid", "columns"), rows),
        some,
        options,
    )
    return losses.spread(*each, rows)


TRAINING = Training(
    example=example,
    question=question,
    collate=losses.collate,
    loss=loss,
    parts={
        "vision": r"(vision|projector)\.",
        "language": r"(language|embed_tokens)\.",
        "expert": r"flow\.expert\.",
        "projections": r"flow\.(?!expert\.)",
    },
    adapters=losses.layers_of(r"(language|flow\.expert)"),
    half_base=True,
)
