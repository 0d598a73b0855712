"""Language model and flow head on the demonstrations of several robots, over a tower that is kept as it is.

Of each robot only its own columns count.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames, action_chunks, base_chunks
from vla_policy.families.tiny.columns import (
    ARM,
    SLOTS,
    RobotColumns,
    widened_actions,
    widened_state,
)
from vla_policy.geometry import pose_steps
from vla_policy.models import flow, pointing, tokenizer
from vla_policy.models.vla import VLA, Prefix
from vla_policy.train.loop import LoopSettings, run
from vla_policy.train.tiny.heads import OWN_SENTENCES, correct, noisy
from vla_policy.train.tiny.multi_robot_pointing import arms_of
from vla_policy.train.tiny.pointing import PRECISION, encode_texts, make_batch

__all__ = ["RobotExamples", "join", "loss", "prepare", "train"]

MEASURED = 6  # every so many of the held-out frames


@dataclass(frozen=True, slots=True)
class RobotExamples:
    """n frames as the language model reads them, float32, q sentences; what a robot does not have is 0."""

    found: Tensor  # (n, q, arms, f) packed answers of the tower
    tool: Tensor  # (n, arms, 4)
    arms: Tensor  # bool (n, arms)
    state: Tensor  # (n, s)
    chunks: Tensor  # (n, t, d) normalised; see frames.action_chunks
    there: Tensor  # bool (n, d)
    texts: list[list[str]]
    robots: dict[str, tuple[int, int, int]]  # first frame, first held-out frame, end


def prepare(
    checkpoint: Checkpoint,
    body: RobotColumns,
    frames: Frames,
    name: str,
    *,
    folder: Path,
    held_out: int,
) -> RobotExamples:
    """Run the tower over all frames once; the answers stay in folder for a resumed run."""
    frames = frames.sentences(OWN_SENTENCES)
    model, arms, count = checkpoint.model.eval(), arms_of(frames), len(body.arms)
    if len(arms) != count or not 0 < held_out < len(frames):
        raise ValueError(
            f"{name}: got {len(frames)} frames of {len(arms)} arms, expected more than the {held_out} "
            f"held out, of {count}"
        )
    answers = torch.from_numpy(_answers(checkpoint, arms, name, folder))
    found = torch.zeros(*answers.shape[:2], len(SLOTS), answers.shape[3])
    tool = torch.zeros(len(frames), len(SLOTS), 4)
    for i, arm in enumerate(arms):
        found[:, :, i] = correct(answers[:, :, i], arm, model.config.pointing.value_width)
        state = arm.arrays["state"]
        tool[:, i] = torch.from_numpy(np.concatenate((state[:, :3], state[:, 7:8]), 1))
    width, rows = model.config.action_dim, model.config.flow.rows
    chunks = checkpoint.statistics.actions.normalise(_chunks(frames, arms, rows))
    return RobotExamples(
        found=found,
        tool=tool,
        arms=(torch.arange(len(SLOTS)) < count).expand(len(frames), -1),
        state=torch.from_numpy(_states(checkpoint, body, frames)).float(),
        chunks=torch.from_numpy(widened_actions(chunks, body, width)).float(),
        there=torch.from_numpy(body.there(width)).expand(len(frames), -1),
        texts=frames.texts,
        robots={name: (0, len(frames) - held_out, len(frames))},
    )


def _states(checkpoint: Checkpoint, body: RobotColumns, frames: Frames) -> np.ndarray:
    by_arm = frames.arrays["state"].astype(np.float64).reshape(len(frames), -1, len(ARM))
    state = pose_steps.canonical_state(by_arm).reshape(len(frames), -1)
    normalised = checkpoint.statistics.state.normalise(state)
    return widened_state(normalised, body, checkpoint.model.config.state_dim)


def _chunks(frames: Frames, arms: list[Frames], rows: int) -> np.ndarray:
    """float32[n, rows, d] in robot units, in the order of RobotColumns.model_action_names."""
    first, *more = (action_chunks(arm, rows) for arm in arms)
    return np.concatenate((first, *(m[..., 1:] for m in more), base_chunks(frames, rows)), -1)


@torch.no_grad()
def _answers(checkpoint: Checkpoint, arms: list[Frames], name: str, folder: Path) -> np.ndarray:
    """float32[n, q, arms of the robot, f]: the tower's answers, packed."""
    tower, tokens = checkpoint.model.vision, checkpoint.tokenizer
    digest = hashlib.sha256()
    for weight in tower.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    path = folder / f"{name}-{len(arms[0])}-{digest.hexdigest()[:16]}.npy"
    if path.is_file():
        kept: np.ndarray = np.load(path)
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for start in track(range(0, len(arms[0]), 64), f"pointing at {name}"):
        index = np.arange(start, min(start + 64, len(arms[0])))
        batches = [
            make_batch(a, index, tokens, checkpoint.model.config.max_text, None) for a in arms
        ]
        seen = tower.look(batches[0].front, batches[0].text, PRECISION)
        packed = [
            tower.look_closer(seen, b.wrist, b.tool, PRECISION).found.pack() for b in batches
        ]
        found.append(torch.stack(packed, 1).unflatten(0, (len(index), -1)))
    answers = torch.cat(found).numpy()
    np.save(path.with_suffix(".part.npy"), answers)
    path.with_suffix(".part.npy").replace(path)
    return answers


def join(parts: list[RobotExamples]) -> RobotExamples:
    """The examples of several robots as one."""
    robots: dict[str, tuple[int, int, int]] = {}
    start = 0
    for part in parts:
        for name, (first, held, end) in part.robots.items():
            robots[name] = start + first, start + held, start + end
        start += len(part.texts)
    tensors = {
        f.name: torch.cat([getattr(p, f.name) for p in parts])
        for f in fields(RobotExamples)
        if f.name not in ("texts", "robots")
    }
    return RobotExamples(**tensors, texts=[t for p in parts for t in p.texts], robots=robots)


def loss(
    model: VLA,
    tokens: Tokenizer,
    examples: RobotExamples,
    index: np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> Tensor:
    """Flow-matching loss of each chunk, float32[b draws]: mean over its rows and the robot's columns.

    draws: noise and time samples of each frame, which stand together.
    """
    prefix, state = _told(model, tokens, examples, index, rng)
    i = torch.from_numpy(index)
    there = examples.there[i][:, None]  # (b, 1, d)
    actions, there = (x.repeat_interleave(draws, 0) for x in (examples.chunks[i] * there, there))
    time = flow.sample_time(len(actions))
    noisy_actions, velocity = flow.interpolate(actions, torch.randn_like(actions) * there, time)
    repeated = state.repeat_interleave(draws, 0)
    predicted = model.flow_head(prefix.repeat(draws), repeated, noisy_actions, time)
    error = (predicted - velocity).square() * there
    mean: Tensor = error.sum((1, 2)) / (there.sum((1, 2)) * actions.shape[1])
    return mean


def _told(
    model: VLA,
    tokens: Tokenizer,
    examples: RobotExamples,
    index: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Prefix, Tensor]:
    """The prefix of frames with one of their own sentences each, and their states, both with noise."""
    sentence = rng.integers(0, examples.found.shape[1], len(index))
    text = [
        tokenizer.prompt("action", examples.texts[i][s])
        for i, s in zip(index, sentence, strict=True)
    ]
    ids = encode_texts(tokens, text, model.config.max_text, rng)
    i, arms = torch.from_numpy(index), examples.arms.shape[1]
    packed = examples.found[i, torch.from_numpy(sentence)].flatten(0, 1)  # (b arms, f)
    found = noisy(packed, model.config.pointing.value_width)
    seen = pointing.tokens(found, examples.tool[i].flatten(0, 1))
    seen = seen.unflatten(0, (-1, arms)).flatten(1, 2)  # (b, arms tokens, f)
    state = examples.state[i]
    measured = examples.arms[i].repeat_interleave(len(ARM), 1)  # (b, 8 arms)
    measured = F.pad(measured, (0, state.shape[1] - measured.shape[1]))
    state = state + 0.01 * torch.randn_like(state) * measured
    valid = examples.arms[i].repeat_interleave(pointing.TOKENS, 1)
    return model.prefix(seen, ids, state, valid), state


def train(
    model: VLA, tokens: Tokenizer, examples: RobotExamples, folder: Path, *,
    settings: LoopSettings, batch_size: int, draws: int, seed: int,
) -> None:  # fmt: skip
    """Train everything but the tower. batch_size: frames of all robots together."""
    for p in model.vision.parameters():
        p.requires_grad_(False)
    ends = list(examples.robots.values())
    each = max(1, batch_size // len(ends))

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed, 13, step))
        torch.manual_seed(seed * 1_000_003 + step)
        index = np.concatenate([rng.integers(first, held, each) for first, held, _ in ends])
        losses = loss(model, tokens, examples, index, rng, draws)
        shown = losses.detach().unflatten(0, (len(ends), -1)).mean(1).tolist()
        return losses.mean(), dict(zip(examples.robots, shown, strict=True))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        found = {}
        for name, (_, held, end) in examples.robots.items():
            index = np.arange(held, end, MEASURED)
            torch.manual_seed(0)
            losses = loss(model, tokens, examples, index, np.random.default_rng(0), 4)
            found[f"{name}.held_out"] = losses.mean().item()
        return found

    run("heads", model, loss_of, settings, folder, evaluate=evaluate)
