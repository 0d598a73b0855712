"""RT-2's training: questions and robot samples in one batch, by next-token prediction.

A robot sample's answer is a plan, if the checkpoint writes one, and action tokens. Only the answer
counts, each sample by the mean of its tokens. Source: RT-2 (arXiv:2307.15818) section 3.2.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import losses, rt2
from vla_policy.families.family import require_image, require_state
from vla_policy.families.losses import NO_TOKENS
from vla_policy.families.tool_steps import ROW, steps_of
from vla_policy.families.training import (
    Batch,
    Demonstration,
    Loss,
    LossOptions,
    Question,
    Training,
)
from vla_policy.models import token_head
from vla_policy.types import Array

HEADS = ("token",)


def example(checkpoint: Checkpoint, heads: tuple[str, ...], demonstration: Demonstration) -> Batch:
    """The policy's prefix, and the expected answer.

    Raises ValueError if the checkpoint writes a plan and the demonstration has none.
    """
    losses.require_heads(heads, HEADS, HEADS)
    contract, observation = checkpoint.contract, demonstration.observation
    require_state(observation, contract.state_names)
    rows = checkpoint.model.config.token.rows
    learned = losses.learned_rows(demonstration, rows, contract.action_names)
    done = np.zeros(rows) if learned.done is None else learned.done
    steps = steps_of(learned.actions[:, :7], observation, arm="")
    own = np.column_stack((done, steps, learned.actions[:, 7]))
    actions = checkpoint.statistics.actions.normalise(own)
    side = checkpoint.model.config.vision.image_px
    images = [require_image(observation.images, name) for name in contract.camera_names]
    text, without = (
        torch.tensor(rt2.text_ids(checkpoint, rt2.prompt(words)))
        for words in (observation.instruction, "")
    )
    return {
        "images": torch.cat([rt2.picture(image, side) for image in images]),
        "image_valid": torch.ones(len(images), dtype=torch.bool),
        "text": text,
        "text_without": without,
        "answer": NO_TOKENS,
        "action_tokens": torch.tensor(_written(checkpoint, actions, learned), dtype=torch.long),
        "actions": torch.from_numpy(actions).float(),
        "columns": torch.ones(len(ROW), dtype=torch.bool),
        **losses.tensors_of(learned),
    }


def question(checkpoint: Checkpoint, asked: Question) -> Batch:
    """A question as `Policy.ask` formats it, with its answer as text and the end token."""
    config, words = checkpoint.model.config, checkpoint.tokenizer
    text, side = torch.tensor(rt2.text_ids(checkpoint, asked.text)), config.vision.image_px
    cameras = len(checkpoint.contract.camera_names)
    return {
        **losses.question_images(asked, cameras, partial(_square, side), side),
        "text": text,
        "text_without": text,
        "answer": torch.tensor([*words.encode(asked.answer), words.eos]),
        "action_tokens": NO_TOKENS,
        **losses.tensors_without_actions(asked, config.token.rows, len(ROW)),
    }


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Cross-entropy of every token of the answers: "token" of robots, "text" of questions."""
    losses.require_heads(options.heads, HEADS, HEADS)
    losses.refuse_flow_options(options, "RT-2")
    model, device = checkpoint.model, checkpoint.device
    drawn = losses.draw(batch, options, generator, device)
    text, _ = losses.chosen_text(batch, drawn.without)
    seen, there = losses.features(model.vision, batch, device)
    prefix = model.prefix(seen, text, torch.empty(len(text), 0, device=device), there)
    parts = {
        part: losses.answer_loss(model, prefix, batch[name].to(device))
        for part, name in (("token", "action_tokens"), ("text", "answer"))
    }
    return losses.weighted(batch["weight"].to(device), parts, options)


TRAINING = Training(
    example=example,
    question=question,
    collate=losses.collate,
    loss=loss,
    parts={
        "vision": r"(vision|projector)\.",
        "language": r"(language|embed_tokens)\.",
    },
    adapters=losses.layers_of("language"),
    half_base=True,
)


def _square(side_px: int, image: Array) -> torch.Tensor:
    return rt2.picture(image, side_px)[0]


def _written(checkpoint: Checkpoint, actions: Array, learned: Demonstration) -> list[int]:
    """Ids of the plan and of the rows before the first uncounted one; maybe none."""
    settings, words = checkpoint.settings, checkpoint.tokenizer
    if settings.plan and not learned.plan:
        raise ValueError(
            "Demonstration.plan: got none, the checkpoint writes a plan before it acts"
        )
    counts = learned.counts
    if not counts[0]:
        return []
    whole = len(counts) if counts.all() else int(np.argmin(counts))
    bins = token_head.bins_of(actions[:whole], checkpoint.model.config.token.bins)
    ids = [settings.action_ids[i] for i in bins.flatten()]
    if settings.plan:
        ids = [*words.encode(f"{rt2.PLAN} {learned.plan} {rt2.ACTION}"), *ids]
    return ids
