"""The lesson "answers": trains language model and heads on the frozen tower's answers.

The tower is the most expensive part and does not change, so a sample has its answers instead of
images, packed (models/pointing.py), one for each arm. A sample's label is the action, or,
additionally, the name or the position of the sentence's object, which the same language model
answers as text.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import losses
from vla_policy.families.tiny.columns import ARM
from vla_policy.families.tiny.pointing_training import unknown_words
from vla_policy.families.tiny.tiny_training import answered_prefix, heads_loss
from vla_policy.families.training import HEADS, Batch, Labelled, Loss, LossOptions
from vla_policy.models import pointing, token_head, tokenizer
from vla_policy.models.config import ModelConfig

PLACE_M, WRIST_M, STATE = (
    0.003,
    0.001,
    0.01,
)  # errors of the tower on unseen images, and of sensors
SALT = 0x5EED  # separates these draws from those of noise and time with the same seed


def example(checkpoint: Checkpoint, heads: tuple[str, ...], kept: Labelled) -> Batch:
    """arrays: found, tool, arms, state, and of a demonstration actions and columns. texts: question, sentence, answer."""
    config, a = checkpoint.model.config, kept.arrays
    heads = losses.require_heads(heads, _heads(config), _heads(config))
    asked, sentence, answer = kept.texts
    words, room = checkpoint.tokenizer, config.max_text
    text = torch.tensor(tokenizer.encode(words, tokenizer.prompt(asked, sentence), room))
    without = torch.tensor(tokenizer.encode(words, tokenizer.prompt("action", ""), room))
    rows, demonstrated = config.flow_head.rows, asked == "action"
    actions = torch.zeros(rows, config.action_dim)
    columns = torch.zeros(config.action_dim, dtype=torch.bool)
    tokens = said = losses.NO_TOKENS
    if demonstrated:
        columns = torch.tensor(a["columns"])
        actions = torch.tensor(a["actions"]) * columns
        if "token" in heads:
            bins = token_head.bins_of(a["actions"][: config.token_head.rows], config.token.bins)
            first = tokenizer.id_of(words, tokenizer.ACTION.format(0))
            tokens = torch.from_numpy(first + bins.flatten())
    else:
        said = torch.tensor(
            words.encode(f"{answer} {tokenizer.END}", add_special_tokens=False).ids
        )
    return {
        "found": torch.tensor(a["found"]),
        "tool": torch.tensor(a["tool"]),
        "image_valid": torch.tensor(a["arms"]),
        "state": torch.tensor(a["state"]),
        "text": text,
        "text_without": without,
        "actions": actions,
        "action_tokens": tokens,
        "answer": said,
        "columns": columns,
        "valid": torch.full((rows,), demonstrated),
        "weight": torch.tensor(1.0),
        "demonstrated": torch.tensor(demonstrated),
    }  # fmt: skip


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Flow matching, action tokens and text.

    Errors and unknown words are drawn for each sample.
    """
    if options.max_delay or options.instruction_dropout:
        raise ValueError(
            "loss: got max_delay or instruction_dropout, expected neither with the lesson answers"
        )
    if "seed" not in batch:
        seeds = torch.randint(2**62, (len(batch["found"]),), generator=generator)
        batch = batch | {"seed": seeds}
    each = [torch.Generator().manual_seed(int(seed) ^ SALT) for seed in batch["seed"]]
    words = unknown_words(batch["text"], checkpoint.tokenizer, each)
    batch = batch | {"text": words} | disturbed(checkpoint.model.config, batch, each)
    drawn = losses.draw(batch, options, generator, checkpoint.device)
    return loss_of(checkpoint, batch, options, drawn)


def loss_of(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, drawn: losses.Drawn
) -> Loss:
    """The same for given draws."""
    state, text = batch["state"].to(checkpoint.device), batch["text"].to(checkpoint.device)
    prefix = answered_prefix(checkpoint.model, batch, state, text)
    return heads_loss(checkpoint, prefix, state, batch, options, drawn)


def disturbed(config: ModelConfig, batch: Batch, each: list[torch.Generator]) -> Batch:
    """found and state of demonstrations with simulated errors of tower and sensors."""
    acts = batch["demonstrated"].float()
    found = pointing.unpack(batch["found"].flatten(0, 1), config.pointing.value_width)
    slots = batch["found"].shape[1]

    def errors(like: Tensor) -> Tensor:
        shape = (len(each), slots, *like.shape[1:])
        drawn = torch.stack([torch.randn(shape[1:], generator=g) for g in each])
        return (drawn * acts.reshape(-1, *[1] * (drawn.ndim - 1))).flatten(0, 1)

    found = replace(
        found,
        xyz=found.xyz + PLACE_M * errors(found.xyz),
        wrist_xyz=found.wrist_xyz + WRIST_M * errors(found.wrist_xyz),
    )
    state = batch["state"]
    noise = torch.stack([torch.randn(state.shape[1], generator=g) for g in each])
    measured = batch["image_valid"].repeat_interleave(len(ARM), 1)
    measured = F.pad(measured, (0, state.shape[1] - measured.shape[1]))
    state = state + STATE * noise * measured * acts[:, None]
    return {"found": found.pack().unflatten(0, (-1, slots)), "state": state}


def _heads(config: ModelConfig) -> tuple[str, ...]:
    return tuple(head for head in HEADS if getattr(config, head) is not None)
