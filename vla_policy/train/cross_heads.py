# LEAD TO THE TRAINING ENGINEER: read /tmp/q/CROSS.md, change of 19:52 (no known rows in training), then delete this line
"""Language model and flow head on the demonstrations of several robots, over a tower that is kept as it is.

Of each robot only its own columns count. A part of the chunks goes on from rows that are known (as in
continuing.py), so that the head can continue what is being executed.
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

from .. import transforms
from ..families.bodies import (
    ARM,
    BASE,
    POSE,
    SLOTS,
    TERMINATE,
    Body,
    widened_actions,
    widened_state,
)
from ..models import flow, pointing, tokenizer
from ..models.vla import VLA, Prefix
from ..models.weights import Checkpoint
from .continuing import KNOWN_NOISE
from .cross_pointing import arms_of
from .frames import Frames, action_chunks, base_chunks, executed_chunks
from .heads import COLOURS, OWN_SENTENCES, SHAPES, correct, noisy
from .loop import Settings, run
from .pointing import PRECISION, encode_texts, make_batch

__all__ = ["COLOURS", "SHAPES", "Examples", "join", "loss", "prepare", "train"]

CONTINUED = 0.25  # of the chunks
MEASURED = 6  # every so many of the held-out frames


@dataclass(frozen=True, slots=True)
class Examples:
    """n frames as the language model sees them, float32, q sentences; what a robot does not have is 0."""

    found: Tensor  # (n, q, arms, f) packed answers of the tower
    tool: Tensor  # (n, arms, 4)
    arms: Tensor  # bool (n, arms)
    state: Tensor  # (n, s)
    planned: Tensor  # (n, t, d) normalised; see frames.action_chunks
    executed: Tensor  # (n, t, d), as the next see frames.executed_chunks; terminate is 0
    resumed: Tensor  # (n, t, d)
    driven: Tensor  # (n, t + 1, 3) where the base is after so many rows, see transforms.driven
    last: Tensor  # (n,) the last frame of the same episode
    there: Tensor  # bool (n, d)
    texts: list[list[str]]
    robots: dict[str, tuple[int, int, int]]  # first frame, first held-out frame, end


def prepare(
    checkpoint: Checkpoint, body: Body, frames: Frames, name: str, *, folder: Path, held_out: int
) -> Examples:
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
        found[:, :, i] = correct(answers[:, :, i], arm, model.config.vision.value_width)
        state = arm.arrays["state"]
        tool[:, i] = torch.from_numpy(np.concatenate((state[:, :3], state[:, 7:8]), 1))
    width, rows = model.config.action_dim, model.config.flow.rows
    planned, executed, resumed = (
        torch.from_numpy(widened_actions(checkpoint.statistics.actions.normalise(c), body, width)).float()
        for c in _chunks(frames, arms, rows)
    )  # fmt: skip
    executed[..., TERMINATE] = 0.0
    episode = frames.arrays["episode"]
    return Examples(
        found=found,
        tool=tool,
        arms=(torch.arange(len(SLOTS)) < count).expand(len(frames), -1),
        state=torch.from_numpy(_states(checkpoint, body, frames)).float(),
        planned=planned,
        executed=executed,
        resumed=resumed,
        driven=torch.from_numpy(_driven(checkpoint, frames, rows)).float(),
        last=torch.from_numpy(np.searchsorted(episode, episode, side="right") - 1),
        there=torch.from_numpy(body.there(width)).expand(len(frames), -1),
        texts=frames.texts,
        robots={name: (0, len(frames) - held_out, len(frames))},
    )


def _states(checkpoint: Checkpoint, body: Body, frames: Frames) -> np.ndarray:
    state = frames.arrays["state"].astype(np.float64).reshape(len(frames), -1, len(ARM))
    state = transforms.canonical_state(state).reshape(len(frames), -1)
    normalised = checkpoint.statistics.state.normalise(state)
    return widened_state(normalised, body, checkpoint.model.config.state_dim)


def _chunks(
    frames: Frames, arms: list[Frames], rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """planned, executed and resumed rows in robot units, in the order of Body.model_action_names."""
    each = [(action_chunks(arm, rows), *executed_chunks(arm, rows)) for arm in arms]
    base = base_chunks(frames, rows)
    return tuple(
        np.concatenate((kind[0], *(more[..., 1:] for more in kind[1:]), base), -1)
        for kind in zip(*each, strict=True)
    )


def _driven(checkpoint: Checkpoint, frames: Frames, rows: int) -> np.ndarray:
    speeds = base_chunks(frames, rows)
    speeds = speeds if speeds.shape[2] else np.zeros((*speeds.shape[:2], len(BASE)))
    return transforms.driven(speeds, checkpoint.contract.step_ns / 1e9)


@torch.no_grad()
def _answers(checkpoint: Checkpoint, arms: list[Frames], name: str, folder: Path) -> np.ndarray:
    """float32[n, q, arms of the robot, f]: what the tower says, packed."""
    tower, tokens = checkpoint.model.vision, checkpoint.tokenizer
    digest = hashlib.sha256()
    for weight in tower.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    path = folder / f"{name}-{len(arms[0])}-{digest.hexdigest()[:16]}.npy"
    if path.is_file():
        return np.load(path)
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


def join(parts: list[Examples]) -> Examples:
    """The examples of several robots as one."""
    robots, start, last = {}, 0, []
    for part in parts:
        robots |= {name: tuple(start + i for i in ends) for name, ends in part.robots.items()}
        last.append(part.last + start)
        start += len(part.texts)
    tensors = {
        f.name: torch.cat([getattr(p, f.name) for p in parts])
        for f in fields(Examples)
        if f.name not in ("last", "texts", "robots")
    }
    return Examples(
        **tensors, last=torch.cat(last), texts=[t for p in parts for t in p.texts], robots=robots
    )


def loss(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    *,
    draws: int,
    clean: Tensor,
) -> Tensor:
    """Flow-matching loss of each chunk, float32[b draws]: mean over its rows that are not clean and its columns.

    clean: int64[b], how many first rows are known. draws: noise and time samples of each frame.
    """
    prefix, state = _told(model, tokens, examples, index, rng, clean)
    i = torch.from_numpy(index)
    row, count = torch.arange(model.config.flow.rows)[None, :, None], clean[:, None, None]
    there = examples.there[i][:, None]  # (b, 1, d)
    executed = examples.executed[i]
    executed = executed + KNOWN_NOISE * torch.randn_like(executed)
    later = torch.where(row == count, examples.resumed[i], examples.planned[i])
    actions = torch.where(row < count, executed, later) * there
    actions, there, known = (x.repeat_interleave(draws, 0) for x in (actions, there, row < count))
    time = flow.sample_time(len(actions))
    mixed, velocity = flow.interpolate(actions, torch.randn_like(actions) * there, time)
    mixed = torch.where(known, actions, mixed)
    times = torch.where(known[..., 0], 0.0, time[:, None])
    said = model.flow(prefix.repeat(draws), state.repeat_interleave(draws, 0), mixed, times)
    counted = ~known & there
    return ((said - velocity).square() * counted).sum((1, 2)) / counted.sum((1, 2))


def _told(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    clean: Tensor,
) -> tuple[Prefix, Tensor]:
    """The prefix of frames with one of their own sentences each, and their states, both with noise.

    They are told as seen from where the clean rows end.
    """
    sentence = rng.integers(0, examples.found.shape[1], len(index))
    text = [
        tokenizer.prompt("action", examples.texts[i][s])
        for i, s in zip(index, sentence, strict=True)
    ]
    ids = encode_texts(tokens, text, model.config.max_text, rng)
    i, arms = torch.from_numpy(index), examples.arms.shape[1]
    packed = examples.found[i, torch.from_numpy(sentence)].flatten(0, 1)  # (b arms, f)
    found = noisy(packed, model.config.vision.value_width)
    tool, state = _arrived(examples, i, clean)
    base = examples.driven[i, clean].repeat_interleave(arms, 0)
    found = pointing.seen_from(found, examples.tool[i].flatten(0, 1), tool.flatten(0, 1), base)
    seen = pointing.tokens(found, tool.flatten(0, 1))
    seen = seen.unflatten(0, (-1, arms)).flatten(1, 2)  # (b, arms tokens, f)
    measured = examples.arms[i].repeat_interleave(len(ARM), 1)  # (b, 8 arms)
    measured = F.pad(measured, (0, state.shape[1] - measured.shape[1]))
    state = state + 0.01 * torch.randn_like(state) * measured
    valid = examples.arms[i].repeat_interleave(pointing.TOKENS, 1)
    return model.prefix(seen, ids, state, valid), state


def _arrived(examples: Examples, i: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Tools and state where the clean rows end. Grippers stay as they were seen: what becomes of them is in the rows."""
    arms, then = examples.arms.shape[1], torch.minimum(i + clean, examples.last[i])
    tool = torch.cat((examples.tool[then, :, :3], examples.tool[i, :, 3:]), -1)
    state = examples.state[i].clone()
    for arm in range(arms):
        pose = slice(len(ARM) * arm, len(ARM) * arm + len(POSE))
        state[:, pose] = examples.state[then, pose]
    return tool, state


def train(
    model: VLA, tokens: Tokenizer, examples: Examples, folder: Path, *,
    settings: Settings, batch_size: int, draws: int, seed: int,
) -> None:  # fmt: skip
    """Train everything but the tower. batch_size: frames of all robots together."""
    for p in model.vision.parameters():
        p.requires_grad_(False)
    ends, longest = list(examples.robots.values()), model.config.flow.rows - 2
    each = max(1, batch_size // len(ends))

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed, 13, step))
        torch.manual_seed(seed * 1_000_003 + step)
        index = np.concatenate([rng.integers(first, held, each) for first, held, _ in ends])
        clean = torch.randint(1, longest + 1, (len(index),))
        clean[torch.rand(len(clean)) > CONTINUED] = 0
        losses = loss(model, tokens, examples, index, rng, draws=draws, clean=clean)
        shown = losses.detach().unflatten(0, (len(ends), -1)).mean(1).tolist()
        return losses.mean(), dict(zip(examples.robots, shown, strict=True))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        found = {}
        for name, (_, held, end) in examples.robots.items():
            index = np.arange(held, end, MEASURED)
            for rows in (0, 3):
                torch.manual_seed(0)
                clean = torch.full((len(index),), rows)
                losses = loss(
                    model, tokens, examples, index, np.random.default_rng(0), draws=4, clean=clean
                )
                found[f"{name}.held_out_{rows}"] = losses.mean().item()
        return found

    run("heads", model, loss_of, settings, folder, evaluate=evaluate)
