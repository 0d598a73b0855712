"""Stage one: the vision tower learns to point at what a sentence names. Trained first and kept.

Every image is asked many sentences, so that only reading them tells where to point; imitation alone would
follow the arm's motion and never read (a policy that picks at chance while its loss looks fine).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.data.frames import Frames
from vla_policy.models import pointing, tokenizer
from vla_policy.models.pointing import PointingTower
from vla_policy.train.loop import LoopSettings, run, total

HEAT_SIGMA = 0.04  # of the image side
UNKNOWN_WORDS = 0.05
PRECISION = torch.bfloat16  # of the convolutions


@dataclass(frozen=True, slots=True)
class PointingBatch:
    """One batch: b images, q sentences about each; truth has n = b * q rows."""

    front: Tensor
    wrist: Tensor
    tool: Tensor
    text: Tensor
    truth: dict[str, Tensor]


def make_batch(
    frames: Frames,
    index: np.ndarray,
    tokens: Tokenizer,
    length: int,
    rng: np.random.Generator | None,
) -> PointingBatch:
    """rng: jitters colours and hides words for training; None leaves everything as it is."""
    front, wrist = (to_images(i, rng) for i in frames.images(index))
    a = frames.arrays
    q = a["target_xyz"].shape[1]
    text = encode_texts(
        tokens, [tokenizer.clean(t) for i in index for t in frames.texts[i]], length, rng
    ).unflatten(0, (-1, q))
    state = a["state"][index]
    tool = torch.from_numpy(np.concatenate((state[:, :3], state[:, 7:8]), 1)).float()
    xyz = np.stack([a[f"{p}_xyz"][index] for p in pointing.POINTERS], 2).reshape(-1, 3, 3)
    truth = {
        "xyz": torch.from_numpy(xyz).float(),
        "uv": torch.from_numpy(a["front_uv"][index].reshape(-1, 3, 2)).float(),
        "wrist_uv": torch.from_numpy(a["wrist_uv"][index].reshape(-1, 2)).float(),
        "wrist_visible": torch.from_numpy(a["wrist_visible"][index].reshape(-1)).bool(),
        "colour": torch.from_numpy(a["target_colour"][index].reshape(-1)).long(),
        "shape": torch.from_numpy(a["target_shape"][index].reshape(-1)).long(),
        "size": torch.from_numpy(a["target_size"][index].reshape(-1)).float(),
    }
    return PointingBatch(front, wrist, tool, text, truth)


def from_tool(batch: PointingBatch) -> Tensor:
    """float32[n, 3], m: the true target as seen from the tool."""
    sentences = batch.text.shape[1]
    return batch.truth["xyz"][:, 0] - batch.tool[:, :3].repeat_interleave(sentences, 0)


def to_images(images: np.ndarray, rng: np.random.Generator | None) -> Tensor:
    """uint8[b, h, w, 3] to float32[b, 3, h, w] in [-1, 1], with other light and noise if rng is given."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    if rng is None:
        return x
    b = len(images)
    gain = torch.from_numpy(
        rng.uniform(0.85, 1.15, (b, 1, 1, 1)) * rng.uniform(0.93, 1.07, (b, 3, 1, 1))
    )
    shift = torch.from_numpy(rng.uniform(-0.12, 0.12, (b, 1, 1, 1)))
    noise = torch.from_numpy(rng.standard_normal((1, *x.shape[1:]), dtype=np.float32)) * 0.02
    return ((x + 1) * gain.float() - 1 + shift.float() + noise).clamp(-1, 1)


def encode_texts(
    tokens: Tokenizer, texts: list[str], length: int, rng: np.random.Generator | None
) -> Tensor:
    """int64[n, s] padded with 0 to the longest; with rng some words become unknown.

    texts: as the policy gives them to the model, cleaned or a prompt.
    """
    rows = [tokens.encode(t, add_special_tokens=False).ids for t in texts]
    longest = max(map(len, rows))
    if longest > length:
        raise ValueError(f"a sentence has {longest} tokens, the model takes at most {length}")
    ids = np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    if rng is not None:
        words = ids >= tokenizer.id_of(tokens, tokenizer.ACTION.format(0)) + tokenizer.ACTIONS
        unknown = (rng.random(ids.shape) < UNKNOWN_WORDS) & words
        ids[unknown] = tokenizer.id_of(tokens, tokenizer.UNK)
    return torch.from_numpy(ids)


def losses(
    tower: PointingTower, answer: pointing.Pointing, batch: PointingBatch
) -> dict[str, Tensor]:
    """The parts of the loss. Places in 10 cm (wrist 5 cm) units; heat-maps against the projected places."""
    truth, uv = batch.truth, tower.front.uv
    there = torch.isfinite(truth["xyz"]).all(-1)  # (n, 3)
    error = F.smooth_l1_loss(
        answer.found.xyz / 0.1, truth["xyz"].nan_to_num() / 0.1, beta=0.1, reduction="none"
    ).sum(-1)
    in_view = there & ((truth["uv"] > 0) & (truth["uv"] < 1)).all(-1)
    close = truth["wrist_visible"]
    wrist = F.smooth_l1_loss(
        answer.found.wrist_xyz / 0.05, from_tool(batch) / 0.05, beta=0.1, reduction="none"
    ).sum(-1)
    return {
        "xyz": error[there].mean(),
        "heat": 0.3 * heat_loss(answer.heat, truth["uv"], in_view, uv),
        "present": 0.2 * F.binary_cross_entropy_with_logits(answer.found.present, there.float()),
        "wrist": (wrist * close).sum() / close.sum().clamp(min=1),
        "wrist_heat": 0.3 * heat_loss(answer.wrist_heat, truth["wrist_uv"], close, uv),
        "visible": 0.2
        * F.binary_cross_entropy_with_logits(answer.found.wrist_visible[:, 0], close.float()),
        "name": 0.4 * name_loss(tower, answer.values, truth, in_view[:, 0]),
    }


def name_loss(
    tower: PointingTower, values: Tensor, truth: dict[str, Tensor], in_view: Tensor
) -> Tensor:
    """What stands at the true place: colour, shape and size (in cm) from the value of the patch there."""
    side = tower.config.image_px // 4
    column, row = ((truth["uv"][:, 0].nan_to_num().clamp(0, 0.999) * side).long()).unbind(-1)
    image_of = torch.arange(len(values)).repeat_interleave(len(row) // len(values))
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


def train(
    tower: PointingTower, tokens: Tokenizer, scenes: Frames, held_out: Frames, folder: Path, *,
    settings: LoopSettings, batch_size: int, length: int, seed: int,
) -> None:  # fmt: skip
    """Train tower on scenes, in folder (resumable)."""

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed, step))
        batch = make_batch(scenes, rng.integers(0, len(scenes), batch_size), tokens, length, rng)
        answer = tower(batch.front, batch.wrist, batch.tool, batch.text, PRECISION)
        parts = losses(tower, answer, batch)
        return total(parts.values()), {key: value.item() for key, value in parts.items()}

    run(
        "pointing",
        tower,
        loss_of,
        settings,
        folder,
        evaluate=lambda: score(tower, tokens, held_out, length),
    )


@torch.no_grad()
def score(
    tower: PointingTower, tokens: Tokenizer, frames: Frames, length: int, count: int = 300
) -> dict[str, float]:
    """On held-out frames: share of targets found within 2.5 cm, median and 90 % error in cm, named right."""
    errors, wrist_errors, named = [], [], []
    for start in range(0, min(count, len(frames)), 50):
        batch = make_batch(
            frames, np.arange(start, min(start + 50, len(frames))), tokens, length, None
        )
        answer = tower(batch.front, batch.wrist, batch.tool, batch.text)
        errors.append((answer.found.xyz - batch.truth["xyz"]).norm(dim=-1))
        value = answer.found.value[:, 0]
        same = tower.colour(value).argmax(-1) == batch.truth["colour"]
        named.append((same & (tower.shape(value).argmax(-1) == batch.truth["shape"])).float())
        wrist_errors.append(
            (answer.found.wrist_xyz - from_tool(batch)).norm(dim=-1)[batch.truth["wrist_visible"]]
        )
    error, wrist = torch.cat(errors), torch.cat(wrist_errors)
    target, destination = error[:, 0], error[:, 2][torch.isfinite(error[:, 2])]
    return {
        "found": (target < 0.025).float().mean().item(),
        "cm_median": target.median().item() * 100,
        "cm_p90": target.quantile(0.9).item() * 100,
        "destination_cm": destination.median().item() * 100,
        "wrist_cm": wrist.median().item() * 100,
        "named": torch.cat(named).mean().item(),
    }
