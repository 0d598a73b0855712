"""The lesson "pointing": trains the vision tower to point at the objects of a sentence.

The first one.
Every image has many sentences, so that only the text determines where to point; imitation alone
would follow the arm's motion and ignore the text (such a policy picks at chance although its loss
is low).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.tiny.columns import ARM, SLOTS
from vla_policy.families.training import Batch, Labelled, Loss, LossOptions
from vla_policy.models import pointing, tokenizer
from vla_policy.models.pointing import PointingTower

HEAT_SIGMA = 0.04  # of the image side
UNKNOWN_WORDS = 0.05
PRECISION = torch.bfloat16  # of the convolutions
TRUTH = ("xyz", "uv", "wrist_uv", "wrist_visible", "colour", "shape", "size")
FOUND_M = 0.025  # an answer this close is right
NOISE = 0.02  # of a pixel in [-1, 1], standard deviation


def example(checkpoint: Checkpoint, heads: tuple[str, ...], scene: Labelled) -> Batch:
    """Original images, uint8, tools, q sentences and the truth of each; 0 for absent arms."""
    config, a = checkpoint.model.config, scene.arrays
    slots = len(SLOTS[: config.arms])
    arms = a["state"].reshape(-1, len(ARM))
    count, q = len(arms), len(scene.texts)
    wrists = np.zeros((slots, *a["front"].shape), np.uint8)
    wrists[:count] = a["wrist"] if a["wrist"].ndim == 4 else a["wrist"][None]
    tool, uv = np.zeros((slots, 4), np.float32), np.full((q, slots, 2), np.nan, np.float32)
    tool[:count] = arms[:, [0, 1, 2, 7]]
    uv[:, :count] = a["wrist_uv"].reshape(q, count, 2)
    visible = np.zeros((q, slots), bool)
    visible[:, :count] = a["wrist_visible"].reshape(q, count)
    room = config.max_text
    words = [tokenizer.encode(checkpoint.tokenizer, tokenizer.clean(t), room) for t in scene.texts]
    places = np.stack([a[f"{p}_xyz"] for p in pointing.POINTERS], 1)
    truth = {
        "xyz": places.astype(np.float32), "uv": a["front_uv"].astype(np.float32),
        "wrist_uv": uv, "wrist_visible": visible,
        "colour": a["target_colour"].astype(np.int64), "shape": a["target_shape"].astype(np.int64),
        "size": a["target_size"].astype(np.float32),
    }  # fmt: skip
    return {
        "front": torch.tensor(a["front"]),
        "wrists": torch.from_numpy(wrists),
        "arms": torch.arange(slots) < count,
        "tool": torch.from_numpy(tool),
        "sentences": torch.tensor(words),
        **{key: torch.tensor(value) for key, value in truth.items()},
    }


def collate(examples: Sequence[Batch]) -> Batch:
    """One batch; all scenes have the same number of sentences."""
    return {name: torch.stack([e[name] for e in examples]) for name in examples[0]}


def loss(
    checkpoint: Checkpoint, batch: Batch, options: LossOptions, generator: torch.Generator
) -> Loss:
    """The sum of the parts below; means are over the batch.

    Light, noise, unknown words per sample.
    """
    seeds = batch.get("seed")
    if seeds is None:
        seeds = torch.randint(2**62, (len(batch["front"]),), generator=generator)
    each = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    words = unknown_words(batch["sentences"], checkpoint.tokenizer, each)
    # The front image and the wrist images get the same light, whichever arms a robot has.
    light = [relit(batch["front"], each)]
    light += [relit(batch["wrists"][:, i], each) for i in range(batch["wrists"].shape[1])]
    parts = parts_of(checkpoint.model.pointing, batch, light, words)
    found = parts.pop("found").detach()
    total = torch.stack(list(parts.values())).sum()
    said = {name: value.detach() for name, value in parts.items()} | {"found": found}
    return Loss(total, torch.tensor(float(len(batch["front"]))), said)


def plain(images: Tensor) -> Tensor:
    """uint8[b, h, w, 3] to float32[b, 3, h, w] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def relit(images: Tensor, each: Sequence[torch.Generator]) -> Tensor:
    """uint8[b, h, w, 3] to float32[b, 3, h, w] in [-1, 1], each with its own light and noise."""
    x = plain(images)
    drawn = torch.stack([torch.rand(5, generator=g) for g in each]).to(x.device)
    gain = (0.85 + 0.3 * drawn[:, :1]) * (0.93 + 0.14 * drawn[:, 1:4])
    shift = -0.12 + 0.24 * drawn[:, 4]
    noise = NOISE * torch.randn(x.shape[1:], generator=each[0]).to(x.device)
    return ((x + 1) * gain[:, :, None, None] - 1 + shift[:, None, None, None] + noise).clamp(-1, 1)


def unknown_words(ids: Tensor, tokens: Tokenizer, each: Sequence[torch.Generator]) -> Tensor:
    """ids with some words replaced by unknown, int64[b, q, s], cut to the longest sentence."""
    ids = ids[..., : int((ids != 0).sum(-1).max())]
    first = tokenizer.id_of(tokens, tokenizer.ACTION.format(0)) + tokenizer.ACTIONS
    drawn = torch.stack([torch.rand(ids.shape[1:], generator=g) for g in each]).to(ids.device)
    unknown = tokenizer.id_of(tokens, tokenizer.UNK)
    return torch.where((drawn < UNKNOWN_WORDS) & (ids >= first), unknown, ids)


def parts_of(
    tower: PointingTower, batch: Batch, images: Sequence[Tensor], words: Tensor
) -> dict[str, Tensor]:
    """The parts of the loss, and `found`, the share of targets pointed at within FOUND_M.

    Positions in 10 cm (wrist 5 cm) units; heat-maps against the projected positions. For each arm
    the mean over the samples that have it; arms are weighted by their number in the batch.
    """
    device = tower.asks.device
    front, *wrists = (x.to(device) for x in images)
    truth = {name: batch[name].to(device).flatten(0, 1) for name in TRUTH}
    tool, words, arms = (x.to(device) for x in (batch["tool"], words, batch["arms"]))
    seen = tower.look(front, words, PRECISION)
    share = arms / arms.sum(1, keepdim=True)  # weight of an arm in its sample
    parts: dict[str, Tensor] = {}
    for arm, wrist in enumerate(wrists):
        if not (own := arms[:, arm]).any():
            continue
        some = own.nonzero()[:, 0]
        answer = tower.look_closer(_of(seen, some), wrist[some], tool[some, arm], PRECISION)
        counts = own.repeat_interleave(words.shape[1])
        label = {name: value[counts] for name, value in truth.items()}
        label |= {name: label[name][:, arm] for name in ("wrist_uv", "wrist_visible")}
        at = tool[some, arm, :3].repeat_interleave(words.shape[1], 0)
        part = float(share[:, arm].sum()) / len(own)
        for name, value in arm_parts(tower, answer, label, at).items():
            parts[name] = part * value + (parts[name] if name in parts else 0.0)
    return parts


def arm_parts(
    tower: PointingTower, answer: pointing.Pointing, truth: dict[str, Tensor], tool: Tensor
) -> dict[str, Tensor]:
    """The parts for one arm. truth: of n answers. tool: float32[n, 3], m."""
    uv = tower.front.uv
    there = torch.isfinite(truth["xyz"]).all(-1)  # (n, 3)
    error = F.smooth_l1_loss(
        answer.found.xyz / 0.1, truth["xyz"].nan_to_num() / 0.1, beta=0.1, reduction="none"
    ).sum(-1)
    in_view = there & ((truth["uv"] > 0) & (truth["uv"] < 1)).all(-1)
    close = truth["wrist_visible"]
    wrist = F.smooth_l1_loss(
        answer.found.wrist_xyz / 0.05, (truth["xyz"][:, 0] - tool) / 0.05, beta=0.1, reduction="none"
    ).sum(-1)  # fmt: skip
    off = (answer.found.xyz[:, 0] - truth["xyz"][:, 0]).norm(dim=-1)
    return {
        "xyz": error[there].mean(),
        "heat": 0.3 * heat_loss(answer.heat, truth["uv"], in_view, uv),
        "present": 0.2 * F.binary_cross_entropy_with_logits(answer.found.present, there.float()),
        "wrist": (wrist * close).sum() / close.sum().clamp(min=1),
        "wrist_heat": 0.3 * heat_loss(answer.wrist_heat, truth["wrist_uv"], close, uv),
        "visible": 0.2
        * F.binary_cross_entropy_with_logits(answer.found.wrist_visible[:, 0], close.float()),
        "name": 0.4 * name_loss(tower, answer.values, truth, in_view[:, 0]),
        "found": (off < FOUND_M).float().mean(),
    }


def name_loss(
    tower: PointingTower, values: Tensor, truth: dict[str, Tensor], in_view: Tensor
) -> Tensor:
    """Classes at the true position: colour, shape and size (in cm) from the value of its patch."""
    side = tower.config.image_px // 4
    column, row = ((truth["uv"][:, 0].nan_to_num().clamp(0, 0.999) * side).long()).unbind(-1)
    image_of = torch.arange(len(values), device=row.device)
    image_of = image_of.repeat_interleave(len(row) // len(values))
    here = values[image_of, row * side + column]  # (n, v)
    colour = F.cross_entropy(tower.colour(here), truth["colour"], reduction="none")
    shape = F.cross_entropy(tower.shape(here), truth["shape"], reduction="none")
    size = (tower.size(here)[:, 0] - truth["size"] * 100).abs()
    mean: Tensor = ((colour + shape + size) * in_view).sum() / in_view.sum().clamp(min=1)
    return mean


def heat_loss(logits: Tensor, place: Tensor, valid: Tensor, uv: Tensor) -> Tensor:
    """Cross-entropy of attention against a Gaussian around place; logits [..., p], place [..., 2]."""
    d2 = (uv - place.nan_to_num()[..., None, :]).square().sum(-1)
    goal = (-d2 / (2 * HEAT_SIGMA**2)).softmax(-1)
    entropy = -(goal * logits.log_softmax(-1)).sum(-1)
    mean: Tensor = (entropy * valid).sum() / valid.sum().clamp(min=1)
    return mean


def _of(seen: pointing.Front, some: Tensor) -> pointing.Front:
    """A subset of the front answers."""
    if len(some) == len(seen.ask):
        return seen
    return pointing.Front(
        seen.ask[some], seen.xyz[some], seen.value[some], seen.confidence[some], seen.heat[some],
        seen.values[some],
    )  # fmt: skip
