"""Shared by the families' losses: random draws, flow matching, cross-entropy, means, padding.

A part of a loss is float[b], each sample's mean over its counted elements, with bool[b], which
samples have any.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vla_policy.families.training import Batch, Demonstration, Loss, LossOptions, Question
from vla_policy.models import flow
from vla_policy.models.siglip import Siglip
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import Array

IGNORED = -100  # padding id
TOKENS = (
    "text",
    "text_without",
    "answer",
    "action_tokens",
)  # padded with IGNORED, all others with 0
Part = tuple[Float[Tensor, " b"], Bool[Tensor, " b"]]
NO_TOKENS = torch.empty(0, dtype=torch.long)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Random draws for each of b samples, n noises each, side by side.

    delay: rows given as data.
    """

    noise: Float[Tensor, "bn t d"]
    time: Float[Tensor, " bn"]
    delay: Int[Tensor, " bn"]
    without: Bool[Tensor, " b"]

    @property
    def draws(self) -> int:
        """n."""
        return len(self.noise) // len(self.without)


def draw(
    batch: Batch,
    options: LossOptions,
    generator: torch.Generator,
    device: torch.device,
) -> Drawn:
    """From each sample's own generator, on the CPU: the same in every batch and process."""
    rows, columns = batch["actions"].shape[1:]
    if options.max_delay >= rows:
        raise ValueError(
            f"max_delay: got {options.max_delay}, expected fewer than the {rows} rows"
        )
    seeds = batch.get("seed")
    if seeds is None:
        seeds = torch.randint(2**62, (len(batch["actions"]),), generator=generator)
    each = [_draw(int(seed), options, rows, columns) for seed in seeds]
    noise, time, delay, without = (
        torch.cat(parts).to(device) for parts in zip(*each, strict=True)
    )
    return Drawn(noise, time, delay, without & batch["demonstrated"].to(device))


def _draw(seed: int, options: LossOptions, rows: int, columns: int) -> tuple[Tensor, ...]:
    own = torch.Generator().manual_seed(seed)
    n = options.draws
    without = torch.rand(1, generator=own) < options.instruction_dropout
    delay = torch.randint(options.max_delay + 1, (n,), generator=own)
    time = flow.sample_time(n, generator=own)
    return torch.randn(n, rows, columns, generator=own), time, delay, without


def flow_matching(
    velocity: Callable[[Tensor, Tensor], Tensor],
    batch: Batch,
    drawn: Drawn,
    options: LossOptions,
) -> Part:
    """Mean square error of the velocity over each sample's valid rows, real columns and draws.

    velocity: (noisy[b n, t, d], time[b n] or, with delays, time[b n, t]) -> dx/dt. Rows given as
    data have time 0 and do not count. Columns that the robot lacks are noise, with end 0, and do
    not count unless requested.
    """
    n, device = drawn.draws, drawn.noise.device
    names = ("actions", "valid", "columns")
    actions, valid, columns = (batch[k].to(device).repeat_interleave(n, 0) for k in names)
    counts = valid[:, :, None] & (columns[:, None] | options.padding_columns)
    time = drawn.time
    if options.max_delay:
        given = torch.arange(actions.shape[1], device=device) < drawn.delay[:, None]  # (bn, t)
        time = time[:, None].masked_fill(given, 0.0)
        counts = counts & ~given[:, :, None]
    noisy, wanted = flow.interpolate(actions, drawn.noise, time)
    error = (velocity(noisy, time) - wanted).square() * counts
    total, count = (x.sum((1, 2)).unflatten(0, (-1, n)).sum(1) for x in (error, counts))
    return total / count.clamp(min=1), count > 0


def cross_entropy(
    logits_of: Callable[[Tensor], Tensor],
    states: Float[Tensor, "b s e"],
    answer: Int[Tensor, "b s"],
) -> Part:
    """Mean over each answer's tokens. states: before each token. logits_of: states to logits."""
    counts = answer != IGNORED
    each = F.cross_entropy(logits_of(states[counts]).float(), answer[counts], reduction="none")
    owner = counts.nonzero()[:, 0]
    total = each.new_zeros(len(answer)).index_add(0, owner, each)
    count = counts.sum(1)
    return total / count.clamp(min=1), count > 0


def answer_loss(
    model: VLA, prefix: Prefix, answer: Int[Tensor, "b s"], *, start: int | None = None
) -> Part:
    """Cross-entropy of answers that follow the prefix, one token after another.

    start: a token before the answer; None: the last token of the prefix predicts the first. Rows without an
    answer are not computed.
    """
    there = (answer != IGNORED).any(1)
    some, owner = answer[there], there.nonzero()[:, 0]
    if not len(some):
        return none_of(prefix.out, there)
    prefix, before = some_rows(prefix, owner), some[:, :-1].clamp(min=0)
    if start is None:
        steps = torch.arange(prefix.out.shape[1], device=some.device)
        last = (prefix.valid[:, : len(steps)] * steps).argmax(-1)
        states = prefix.out[torch.arange(len(last), device=some.device), last][:, None]
        if before.shape[1]:
            states = torch.cat((states, model.extend(prefix, before).out), 1)
    else:
        states = model.extend(prefix, F.pad(before, (1, 0), value=start)).out
    each, _ = cross_entropy(model.logits, states, some)
    return each.new_zeros(len(answer)).index_add(0, owner, each), there


def features(vision: Siglip, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens of the present images, float[b, cameras patches, e], and their mask."""
    there = batch["image_valid"].to(device)
    images = batch["images"].to(device)[there]
    each = vision(images.to(vision.patch_embedding.weight.dtype))  # (n, patches, e)
    seen = each.new_zeros(*there.shape, *each.shape[1:]).masked_scatter(
        there[..., None, None].expand(*there.shape, *each.shape[1:]), each
    )
    return seen.flatten(1, 2), there.repeat_interleave(each.shape[1], 1)


def chosen_text(
    batch: Batch, without: Bool[Tensor, " b"]
) -> tuple[Int[Tensor, "b s"], Bool[Tensor, "b s"]]:
    """The prompts, some without instruction, with 0 for padding; and the mask of valid tokens."""
    both = (batch["text"].to(without.device), batch["text_without"].to(without.device))
    longest = max(text.shape[1] for text in both)
    text, empty = (F.pad(text, (0, longest - text.shape[1]), value=IGNORED) for text in both)
    chosen = torch.where(without[:, None], empty, text)
    return chosen.clamp(min=0), chosen != IGNORED


def some_rows(prefix: Prefix, owner: Int[Tensor, " n"]) -> Prefix:
    """The prefix of a subset of its batch."""
    if len(owner) == len(prefix.valid):
        return prefix
    cache = [(keys[owner], values[owner]) for keys, values in prefix.cache]
    return Prefix(prefix.out[owner], cache, prefix.valid[owner])


def detached(prefix: Prefix) -> Prefix:
    """The same values, without gradients."""
    cache = [(keys.detach(), values.detach()) for keys, values in prefix.cache]
    return Prefix(prefix.out.detach(), cache, prefix.valid)


def of_some(batch: Batch, names: Sequence[str], rows: Bool[Tensor, " b"]) -> Batch:
    """The entries names of the samples for which rows is true."""
    return {name: batch[name][rows.to(batch[name].device)] for name in names}


def drawn_of_some(drawn: Drawn, rows: Bool[Tensor, " b"]) -> Drawn:
    """The draws of the samples for which rows is true."""
    each = rows.repeat_interleave(drawn.draws)
    return Drawn(drawn.noise[each], drawn.time[each], drawn.delay[each], drawn.without[rows])


def none_of(out: Tensor, rows: Bool[Tensor, " b"]) -> Part:
    """A part that no sample has, with gradient 0."""
    return out.sum() * 0.0 + out.new_zeros(len(rows)), rows


def spread(each: Float[Tensor, " n"], has: Bool[Tensor, " n"], rows: Bool[Tensor, " b"]) -> Part:
    """Expands a part of the samples for which rows is true to all samples."""
    owner = rows.nonzero()[:, 0]
    part = each.new_zeros(len(rows)).index_add(0, owner, each)
    return part, rows.index_put((owner,), has)


def weighted(
    weight: Float[Tensor, " b"],
    parts: Mapping[str, Part],
    options: LossOptions,
) -> Loss:
    """sum_i w_i l_i / sum_i w_i over the samples with counted elements; 0 without any."""
    factors = {"flow": 1.0, "token": options.token_weight, "text": options.text_weight}
    weight = weight.to(next(iter(parts.values()))[0])
    anything = torch.stack([has for _, has in parts.values()]).any(0)
    each = torch.stack([factors[name] * part * has for name, (part, has) in parts.items()]).sum(0)
    means = {
        name: ((part * has * weight).sum() / (weight * has).sum()).detach()
        for name, (part, has) in parts.items()
        if (weight * has).sum() > 0
    }
    whole = (weight * anything).sum()
    total = (weight * each).sum() / torch.where(whole > 0, whole, 1.0)
    return Loss(total, whole.detach(), means)


def collate(examples: Sequence[Batch]) -> Batch:
    """One batch; sequences of different lengths are padded at the end.

    Raises ValueError if examples differ in their names or in more than their first size.
    """
    names = set(examples[0])
    if any(set(example) != names for example in examples):
        found = sorted(set.union(*(set(e) ^ names for e in examples)))
        raise ValueError(f"collate: not all examples have {', '.join(found)}")
    return {
        name: pad_sequence(
            [example[name] for example in examples],
            batch_first=True,
            padding_value=IGNORED if name in TOKENS else 0,
        )
        if examples[0][name].ndim
        else torch.stack([example[name] for example in examples])
        for name in examples[0]
    }


def layers_of(stack: str) -> tuple[str, str]:
    """The linear layers of attention and feed-forward of a stack, as expressions over module names."""
    return (
        rf"{stack}\.layers\.\d+\.self_attn\.[qkvo]_proj",
        rf"{stack}\.layers\.\d+\.mlp\.(gate|up|down)_proj",
    )


def require_heads(
    heads: tuple[str, ...], trainable: tuple[str, ...], usual: tuple[str, ...]
) -> tuple[str, ...]:
    """heads, or usual if none is given. Raises ValueError for one that cannot be trained."""
    for head in heads:
        if head not in trainable:
            raise ValueError(
                f"heads: got {head!r}, this family can be trained with {' and '.join(trainable)}"
            )
    return heads or usual


def refuse_flow_options(options: LossOptions, network: str) -> None:
    """Raises ValueError for an option that only a flow head has."""
    for name in ("detach_prefix", "max_delay", "padding_columns"):
        if value := getattr(options, name):
            raise ValueError(f"{name}: got {value}, but {network} has no flow head")
    if options.draws != 1:
        raise ValueError(f"draws: got {options.draws}, expected 1: {network} has no flow head")


def learned_rows(
    demonstration: Demonstration, rows: int, columns: tuple[str, ...]
) -> Demonstration:
    """Its first rows; invalid rows repeat the row before: their values are never used.

    Raises ValueError for too few rows or another number of columns.
    """
    actions, valid, done = demonstration.actions, demonstration.valid, demonstration.done
    if len(actions) < rows or actions.shape[1] != len(columns):
        raise ValueError(
            f"Demonstration.actions: got {len(actions)} rows of {actions.shape[1]} columns, expected at least {rows} "
            f"rows of {', '.join(columns)}"
        )
    done = None if done is None else done[:rows]
    # After an episode's end the robot rests at its last position; the first row there has it.
    known = valid[:rows] if done is None or valid[:rows].any() else done
    seen = demonstration.observation
    state = dict(zip(seen.state_names, seen.state, strict=True))
    still = np.array([state.get(name, 0.0) for name in columns])
    held = _held(actions[:rows], known, still)
    return replace(demonstration, actions=held, valid=valid[:rows], done=done)


def _held(actions: Array, known: Array, still: Array) -> Array:
    """Unknown rows as the last known before, leading ones as the first known; still if none is."""
    there = np.flatnonzero(known)
    if not len(there):
        return np.broadcast_to(still, actions.shape)
    before = np.searchsorted(there, np.arange(len(actions)), side="right") - 1
    held: Array = actions[there[before.clip(min=0)]]
    return held


def tensors_of(demonstration: Demonstration) -> Batch:
    """The tensors of a demonstration common to all families."""
    return {
        "valid": torch.from_numpy(demonstration.counts.copy()),
        "weight": torch.tensor(demonstration.weight),
        "demonstrated": torch.tensor(True),
    }


def tensors_without_actions(asked: Question, rows: int, columns: int) -> Batch:
    """The same for a question."""
    return {
        "actions": torch.zeros(rows, columns),
        "columns": torch.zeros(columns, dtype=torch.bool),
        "valid": torch.zeros(rows, dtype=torch.bool),
        "weight": torch.tensor(asked.weight),
        "demonstrated": torch.tensor(False),
    }


def question_images(
    asked: Question, cameras: int, square: Callable[[Array], Float[Tensor, "3 h w"]], side_px: int
) -> Batch:
    """The question's images in the first cameras' places.

    Raises ValueError for too many images.
    """
    if len(asked.images) > cameras:
        raise ValueError(f"Question.images: got {len(asked.images)}, expected at most {cameras}")
    images = torch.full((cameras, 3, side_px, side_px), -1.0)
    for i, image in enumerate(asked.images):
        images[i] = square(image)
    return {"images": images, "image_valid": torch.arange(cameras) < len(asked.images)}
