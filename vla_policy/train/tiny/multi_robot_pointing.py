"""Pointing of one tower on several robots: the same losses as of one (pointing.py), robots in equal parts."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.data.frames import Frames
from vla_policy.models.pointing import PointingTower
from vla_policy.train.loop import LoopSettings, run, total
from vla_policy.train.tiny import pointing


def arms_of(frames: Frames) -> list[Frames]:
    """The frames as each arm sees them."""
    return [frames.arm(i) for i in range(frames.arrays["state"].shape[1] // 8)]


def losses(
    tower: PointingTower,
    arms: list[Frames],
    index: np.ndarray,
    tokens: Tokenizer,
    length: int,
    seed: tuple[int, ...],
) -> dict[str, Tensor]:
    """The parts of the loss on some frames of one robot, mean over its arms; the front image is read once."""
    # One seed for all arms: they share the front image and the sentences.
    batches = [
        pointing.make_batch(arm, index, tokens, length, np.random.default_rng(seed))
        for arm in arms
    ]
    dtype = pointing.PRECISION
    seen = tower.look(batches[0].front, batches[0].text, dtype)
    parts = [
        pointing.losses(tower, tower.look_closer(seen, b.wrist, b.tool, dtype), b) for b in batches
    ]
    return {key: total(p[key] for p in parts) / len(parts) for key in parts[0]}


def train(
    tower: PointingTower, tokens: Tokenizer, scenes: dict[str, Frames], held_out: dict[str, Frames], folder: Path, *,
    settings: LoopSettings, batch_size: int, length: int, seed: int,
) -> None:  # fmt: skip
    """Train tower on the scenes of each robot, in folder (resumable). batch_size: images of all robots together."""
    arms = {name: arms_of(frames) for name, frames in scenes.items()}
    tested = {name: arms_of(frames) for name, frames in held_out.items()}
    each = max(1, batch_size // len(arms))

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        mean, shown = torch.zeros(()), {}
        for robot, (name, views) in enumerate(arms.items()):
            draw = np.random.default_rng((seed, step, robot))
            index = draw.integers(0, len(views[0]), each)
            parts = losses(tower, views, index, tokens, length, (seed, step, robot, 1))
            loss = total(parts.values())
            mean, shown[name] = mean + loss / len(arms), loss.item()
        return mean, shown

    def evaluate() -> dict[str, float]:
        found: dict[str, float] = {}
        for name, views in tested.items():
            for number, view in enumerate(views):
                scores = pointing.score(tower, tokens, view, length)
                scores = scores if number == 0 else {"wrist_cm": scores["wrist_cm"]}
                arm = f"{name}.{number + 1}" if number else name
                found |= {f"{arm}.{key}": value for key, value in scores.items()}
        return found

    run("pointing", tower, loss_of, settings, folder, evaluate=evaluate)
