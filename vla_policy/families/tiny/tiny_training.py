"""The `tiny` policies' training: both heads over one prefix of the tower's answers.

A robot with fewer arms or without a base is one of the batch: columns that it lacks are masked
and 0. The row after the end of an episode that reached its goal (`done`) has terminate set, and
zero steps.
"""

from __future__ import annotations

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import losses
from vla_policy.families.family import require_image, require_state
from vla_policy.families.losses import NO_TOKENS, Drawn
from vla_policy.families.tiny import tiny
from vla_policy.families.tiny.columns import SLOTS, TERMINATE, robot_columns
from vla_policy.families.training import (
    HEADS,
    Batch,
    Demonstration,
    Loss,
    LossOptions,
    Question,
    Training,
)
from vla_policy.models import pointing, token_head, tokenizer
from vla_policy.models.config import ModelConfig
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import ActionChunk, Array, Observation


def example(checkpoint: Checkpoint, heads: tuple[str, ...], demonstration: Demonstration) -> Batch:
    """Images of all arms of the model, or what `see` answered; the text for tower and language model, state and chunk."""
    config, contract = checkpoint.model.config, checkpoint.contract
    heads = losses.require_heads(heads, _heads(config), _heads(config))
    observation = demonstration.observation
    require_state(observation, contract.state_names)
    rows = max(getattr(config, head).rows for head in heads)
    learned = losses.learned_rows(demonstration, rows, contract.action_names)
    chunk = _chunk(checkpoint, learned)
    tokens = NO_TOKENS
    if "token" in heads:
        tokens = torch.from_numpy(_tokens(checkpoint, chunk, learned.counts))
    there = robot_columns(contract, config.action_dim).there(config.action_dim)
    return {
        **_seen(checkpoint, observation, demonstration.seen),
        **_words(checkpoint, observation),
        "action_tokens": tokens,
        "actions": torch.from_numpy(chunk).float(),
        "columns": torch.from_numpy(there),
        **losses.tensors_of(learned),
    }


@torch.no_grad()
def see(checkpoint: Checkpoint, observation: Observation) -> Array:
    """float32[arms, f]: the packed answers of the tower for each arm, where the second look has its say as in inference."""
    hands = tiny.look(checkpoint, observation)
    answered: Array = torch.cat([hand.found.pack() for hand in hands]).float().cpu().numpy()
    return answered


def question(checkpoint: Checkpoint, asked: Question) -> None:
    """None: its two questions, of name and position, are no free text."""


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """Flow matching and cross-entropy of the action tokens, over one prefix."""
    config = checkpoint.model.config
    losses.require_heads(options.heads, _heads(config), _heads(config))
    if options.max_delay:
        raise ValueError(
            f"max_delay: got {options.max_delay}, expected 0: this family continues a chunk by rolling its inputs ahead"
        )
    return loss_of(
        checkpoint, batch, options, losses.draw(batch, options, generator, checkpoint.device)
    )


def loss_of(checkpoint: Checkpoint, batch: Batch, options: LossOptions, drawn: Drawn) -> Loss:
    """The same for given draws."""
    state = batch["state"].to(checkpoint.device)
    prefix = prefix_of(checkpoint.model, batch, state, drawn)
    return heads_loss(checkpoint, prefix, state, batch, options, drawn)


def heads_loss(
    checkpoint: Checkpoint,
    prefix: Prefix,
    state: torch.Tensor,
    batch: Batch,
    options: LossOptions,
    drawn: Drawn,
) -> Loss:
    """The loss of both heads, and of text if the batch has any, over one prefix."""
    model, device = checkpoint.model, checkpoint.device
    heads = options.heads or _heads(model.config)
    parts = {}
    if "flow" in heads:
        shown = losses.detached(prefix) if options.detach_prefix else prefix
        parts["flow"] = _flow(model, shown, state, batch, options, drawn)
    start = tokenizer.id_of(checkpoint.tokenizer, tokenizer.END)
    if "token" in heads:
        tokens = batch["action_tokens"].to(device)
        parts["token"] = losses.answer_loss(model, prefix, tokens, start=start)
    if "answer" in batch and batch["answer"].shape[1]:
        said = batch["answer"].to(device)
        parts["text"] = losses.answer_loss(model, prefix, said, start=start)
    return losses.weighted(batch["weight"].to(device), parts, options)


def prefix_of(model: VLA, batch: Batch, state: torch.Tensor, drawn: Drawn) -> Prefix:
    """The tower's output for each arm, the text and the state, read by the language model."""
    device, tower = state.device, model.pointing
    text, _ = losses.chosen_text(batch, drawn.without)
    if "found" in batch:
        return answered_prefix(model, batch, state, text)
    asked = {k: batch[k].to(device) for k in ("sentence", "sentence_without")}
    sentence = torch.where(drawn.without[:, None], asked["sentence_without"], asked["sentence"])
    arms, tool = batch["image_valid"].to(device), batch["tool"].to(device)
    wrists = batch["wrists"].to(device)
    seen = tower.look(batch["front"].to(device), sentence[:, None])
    found = []
    for arm in range(int(arms.any(0).sum())):
        closer = tower.look_closer(seen, wrists[:, arm], tool[:, arm]).found
        found.append(pointing.tokens(closer, tool[:, arm]))
    valid = arms[:, : len(found)].repeat_interleave(pointing.TOKENS, 1)
    return model.prefix(torch.cat(found, 1), text, state, valid)


def answered_prefix(model: VLA, batch: Batch, state: torch.Tensor, text: torch.Tensor) -> Prefix:
    """The same from the tower's answers in the batch, `found`."""
    device, arms = state.device, batch["image_valid"].to(state.device)
    slots = int(arms.any(0).sum())
    found, tool = (batch[k][:, :slots].flatten(0, 1).to(device) for k in ("found", "tool"))
    places = pointing.unpack(found, model.config.pointing.value_width)
    seen = pointing.tokens(places, tool).unflatten(0, (-1, slots)).flatten(1, 2)
    valid = arms[:, :slots].repeat_interleave(pointing.TOKENS, 1)
    return model.prefix(seen, text, state, valid)


def _flow(
    model: VLA,
    prefix: Prefix,
    state: torch.Tensor,
    batch: Batch,
    options: LossOptions,
    drawn: Drawn,
) -> losses.Part:
    acts = batch["demonstrated"].to(state.device)
    if not acts.all():  # questions have no flow
        prefix, state = losses.some_rows(prefix, acts.nonzero()[:, 0]), state[acts]
        batch = losses.of_some(batch, ("actions", "valid", "columns"), acts)
        drawn = losses.drawn_of_some(drawn, acts)
    rows, n = model.config.flow_head.rows, drawn.draws
    columns = batch["columns"].to(state.device).repeat_interleave(n, 0)[:, None]
    # Columns that the robot lacks stay 0, as in inference.
    noise = drawn.noise[:, :rows] * columns
    cut = batch | {k: batch[k][:, :rows] for k in ("actions", "valid")}
    repeated, read = prefix.repeat(n), state.repeat_interleave(n, 0)
    part = losses.flow_matching(
        lambda x, t: model.flow_head(repeated, read, x, t),
        cut,
        Drawn(noise, drawn.time, drawn.delay, drawn.without),
        options,
    )
    return part if acts.all() else losses.spread(*part, acts)


def _heads(config: ModelConfig) -> tuple[str, ...]:
    return tuple(head for head in HEADS if getattr(config, head) is not None)


def _chunk(checkpoint: Checkpoint, learned: Demonstration) -> Array:
    """float64[rows, action_dim]: the inverse of `restore`, with terminate in rows that are done."""
    contract, observation = checkpoint.contract, learned.observation
    body = robot_columns(contract, checkpoint.model.config.action_dim)
    done = np.zeros(len(learned.valid), bool) if learned.done is None else learned.done
    actions = learned.actions.copy()
    for name in body.base:
        actions[done, contract.action_names.index(name)] = 0.0
    chunk = ActionChunk(
        actions, contract.action_names, observation.obs_ns, contract.step_ns, 0, ""
    )
    expressed = tiny.express(checkpoint, chunk, observation).model_actions
    expressed[done, TERMINATE] = 1.0
    return expressed


def _tokens(checkpoint: Checkpoint, chunk: Array, counts: Array) -> Array:
    """int64[k]: ids of the leading counted rows, at most as many as the token head writes."""
    config = checkpoint.model.config.token
    counts = counts[: config.rows]
    whole = len(counts) if counts.all() else int(np.argmin(counts))
    bins = token_head.bins_of(chunk[:whole], config.bins)
    first = tokenizer.id_of(checkpoint.tokenizer, tokenizer.ACTION.format(0))
    ids: Array = first + bins.flatten()
    return ids


def _seen(checkpoint: Checkpoint, observation: Observation, answered: Array | None) -> Batch:
    contract, config = checkpoint.contract, checkpoint.model.config
    body = robot_columns(contract, config.action_dim)
    measured = np.stack([tiny.measured_of(observation, arm) for arm in body.arms])
    slots = len(SLOTS[: config.arms])
    tool = torch.zeros(slots, 4)
    for i, arm in enumerate(measured):
        tool[i] = torch.tensor([*arm[:3], arm[7]])
    if answered is None:
        looked_at = _pictures(checkpoint, observation, slots)
    else:
        found = torch.zeros(slots, answered.shape[1])
        found[: len(answered)] = torch.from_numpy(answered)
        looked_at = {"found": found}
    return {
        **looked_at,
        "tool": tool,
        "image_valid": torch.arange(slots) < len(body.arms),
        "state": tiny.state_of(checkpoint, measured),
    }


def _pictures(checkpoint: Checkpoint, observation: Observation, slots: int) -> Batch:
    front, *wrists = (
        tiny.picture(require_image(observation.images, name), checkpoint.contract.image_px)
        for name in checkpoint.contract.camera_names
    )
    near = torch.zeros(slots, *front.shape)
    near[: len(wrists)] = torch.stack(wrists)
    return {"front": front, "wrists": near}


def _words(checkpoint: Checkpoint, observation: Observation) -> Batch:
    """The instruction as input of the tower and of the language model, and no instruction."""
    words, room = checkpoint.tokenizer, checkpoint.model.config.max_text
    found = {}
    for name, said in (("", tiny.trained_sentence(checkpoint, observation)), ("_without", "")):
        asked = tokenizer.prompt("action", said)
        found[f"text{name}"] = torch.tensor(tokenizer.encode(words, asked, room))
        sentence = tokenizer.encode(words, tokenizer.clean(said), room)
        found[f"sentence{name}"] = torch.tensor(sentence)
    return found


TRAINING = Training(
    example=example,
    question=question,
    collate=losses.collate,
    loss=loss,
    parts={
        "vision": r"vision\.",
        "language": r"(language|embed_tokens)\.",
        "expert": r"flow\.expert\.",
        "projections": r"flow\.(?!expert\.)|projector\.|state_proj\.|arm_slots",
    },
    adapters=losses.layers_of(r"(language|flow\.expert)"),
    bound_by="its tower",
    see=see,
)
