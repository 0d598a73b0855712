"""The frozen tower's answers on every frame of a set, cached, for the lesson "answers".

Answers about a wrong object are replaced by the labelled positions; right ones keep their small
errors. The heads must trust the pointer: trained on its errors they follow the arm's own motion
instead, mostly for the sentences that are hardest to read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames, action_chunks, base_chunks, load_frames
from vla_policy.families.tiny import pointing_training
from vla_policy.families.tiny.columns import (
    ARM,
    SLOTS,
    robot_columns,
    widened_actions,
    widened_state,
)
from vla_policy.families.tiny.pointing_training import plain
from vla_policy.families.training import Labelled
from vla_policy.geometry import pose_steps
from vla_policy.models import pointing, tokenizer
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.tiny.scenes import part_of
from vla_policy.types import Array

WRONG_M = 0.03  # an answer this far off is about another object
OWN_SENTENCES = 3  # the first sentences of an episode's frame are its own instruction
AT_ONCE = 64  # frames


@dataclass(frozen=True, slots=True)
class Answers:
    """n frames as the language model's input, float32, q sentences; columns a robot lacks are 0.

    actions: float32[n, rows, d] normalised; None for scenes.
    """

    found: Array  # (n, q, slots, f) packed
    tool: Array  # (n, slots, 4)
    state: Array  # (n, s) normalised
    actions: Array | None
    arms: Array  # bool (slots,)
    columns: Array  # bool (d,)
    texts: list[list[str]]
    names: list[list[str]]
    places: list[list[str]]


class AnswerSource:
    """Frames of one set.

    asks: questions for name or position, alternating at random, not actions.
    """

    def __init__(self, label: str, answers: Answers, index: Array, *, asks: bool = False) -> None:
        self.label, self._answers, self._index, self._asks = label, answers, index, asks
        if not asks and answers.actions is None:
            raise ValueError(f"{label}: got frames without actions, expected demonstrations")

    def __len__(self) -> int:
        return len(self._index)

    def where(self, index: int) -> str:
        """The frame as text."""
        return f"{self.label}, frame {self._index[index]}"

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Labelled:
        """One sentence of the frame; rng chooses the sentence and the question."""
        a, i = self._answers, int(self._index[index])
        draw = rng or np.random.default_rng(index)
        count = a.found.shape[1] if self._asks else min(a.found.shape[1], OWN_SENTENCES)
        q = int(draw.integers(count))
        arrays = {"found": a.found[i, q], "tool": a.tool[i], "arms": a.arms, "state": a.state[i]}
        if a.actions is not None and not self._asks:
            arrays |= {"actions": a.actions[i], "columns": a.columns}
        if not self._asks:
            return Labelled(arrays, ("action", a.texts[i][q], ""))
        asked, said = (("name", a.names), ("point", a.places))[int(draw.integers(2))]
        return Labelled(arrays, (asked, a.texts[i][q], said[i][q]))


def open_answers(
    checkpoint: Checkpoint, root: Path, kept: Path, *, most: int | None = None
) -> Answers:
    """Answers for the frames below root; computed once and cached in a file in `kept`, by tower.

    most: use only the first frames; None: all.
    """
    frames = load_frames(root)
    frames = frames if most is None else frames.head(most)
    body = robot_columns(checkpoint.contract, checkpoint.model.config.action_dim)
    config, arms = checkpoint.model.config, arms_of(frames)
    if len(arms) != len(body.arms):
        raise ValueError(
            f"{root}: got frames of {len(arms)} arms, expected {len(body.arms)} as of {checkpoint.contract.embodiments[0]}"
        )
    if config.token is None:  # no questions, only actions
        frames = frames.sentences(OWN_SENTENCES)
        arms = arms_of(frames)
    packed = torch.from_numpy(_kept(checkpoint, arms, kept, root))
    slots = len(SLOTS[: config.arms])
    found = torch.zeros(*packed.shape[:2], slots, packed.shape[3])
    tool = np.zeros((len(frames), slots, 4), np.float32)
    for i, arm in enumerate(arms):
        found[:, :, i] = corrected(packed[:, :, i], arm, config.pointing.value_width)
        tool[:, i] = arm.arrays["state"][:, [0, 1, 2, 7]]
    actions = None
    if "action" in frames.arrays:
        rows = max(h.rows for h in (config.flow, config.token) if h is not None)
        own = checkpoint.statistics.actions.normalise(chunks_of(frames, arms, rows))
        actions = widened_actions(own, body, config.action_dim).astype(np.float32)
    by_arm = frames.arrays["state"].astype(np.float64).reshape(len(frames), -1, len(ARM))
    state = pose_steps.canonical_state(by_arm).reshape(len(frames), -1)
    state = widened_state(checkpoint.statistics.state.normalise(state), body, config.state_dim)
    return Answers(
        found.numpy(), tool, state.astype(np.float32), actions,
        np.arange(slots) < len(arms), body.there(config.action_dim), frames.texts,
        *((_names(frames), _places(frames)) if config.token is not None else ([], [])),
    )  # fmt: skip


def sources_of(
    answers: Answers, label: str, *, part: str = "all", held_out: float = 0.0, asks: bool = False
) -> AnswerSource:
    """A part of the frames as a source."""
    return AnswerSource(label, answers, part_of(len(answers.texts), part, held_out), asks=asks)


def arms_of(frames: Frames) -> list[Frames]:
    """The frames as seen by each arm."""
    return [frames.arm(i) for i in range(frames.arrays["state"].shape[1] // len(ARM))]


def chunks_of(frames: Frames, arms: list[Frames], rows: int) -> Array:
    """float32[n, rows, d] in robot units, in the order of RobotColumns.model_action_names."""
    first, *more = (action_chunks(arm, rows) for arm in arms)
    parts = (first, *(m[..., 1:] for m in more), base_chunks(frames, rows))
    chunks: Array = np.concatenate(parts, -1)
    return chunks


def _kept(checkpoint: Checkpoint, arms: list[Frames], kept: Path, root: Path) -> Array:
    """float32[n, q, arms, f], from the cached file or computed now."""
    digest = hashlib.sha256(str((root.name, len(arms[0]), arms[0].texts[:1])).encode())
    for weight in checkpoint.model.vision.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    path = kept / f"{checkpoint.contract.embodiments[0]}-{root.name}-{digest.hexdigest()[:16]}.npy"
    if not path.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, _answered(checkpoint, arms, root.name))
        partial.replace(path)
    found: Array = np.load(path)
    return found


@torch.no_grad()
def _answered(checkpoint: Checkpoint, arms: list[Frames], label: str) -> Array:
    tower, tokens, room = checkpoint.model.vision, checkpoint.tokenizer, checkpoint.model.config.max_text  # fmt: skip
    dtype, found = pointing_training.PRECISION, []
    for start in track(range(0, len(arms[0]), AT_ONCE), f"pointing at {label}"):
        index = np.arange(start, min(start + AT_ONCE, len(arms[0])))
        each = []
        seen = None
        for arm in arms:
            front, wrist = (plain(torch.from_numpy(i)) for i in arm.images(index))
            tool = torch.from_numpy(arm.arrays["state"][index][:, [0, 1, 2, 7]]).float()
            if seen is None:  # the front image and the sentences are the same for all arms
                said = [[tokenizer.clean(t) for t in arm.texts[i]] for i in index]
                ids = torch.tensor(
                    [[tokenizer.encode(tokens, t, room) for t in row] for row in said]
                )
                seen = tower.look(front, ids[..., : int((ids != 0).sum(-1).max())], dtype)
            each.append(tower.look_closer(seen, wrist, tool, dtype).found.pack())
        found.append(torch.stack(each, 1).unflatten(0, (len(index), -1)))
    return torch.cat(found).numpy()


def corrected(packed: Tensor, frames: Frames, value_width: int) -> Tensor:
    """Replace answers about the wrong object by the labelled positions.

    packed: (n, q, f), one arm.
    """
    places = np.stack([frames.arrays[f"{p}_xyz"] for p in pointing.POINTERS], 2)
    truth = torch.from_numpy(places).float().flatten(0, 1)  # (n q, 3, 3)
    tool = torch.from_numpy(frames.arrays["state"][:, :3]).float()
    from_tool = truth[:, 0] - tool.repeat_interleave(places.shape[1], 0)
    visible = torch.from_numpy(frames.arrays["wrist_visible"]).flatten()
    found = pointing.unpack(packed.flatten(0, 1), value_width)
    wrong = (found.xyz - truth).norm(dim=-1) > WRONG_M  # false without such an object
    astray = visible & ((found.wrist_xyz - from_tool).norm(dim=-1) > WRONG_M)
    astray = (wrong[:, 0] | astray)[:, None]
    sure = torch.where(visible, 4.0, -4.0)[:, None]
    mended = replace(
        found,
        xyz=torch.where(wrong[..., None], truth, found.xyz),
        wrist_xyz=torch.where(astray, from_tool, found.wrist_xyz),
        wrist_visible=torch.where(astray, sure, found.wrist_visible),
    )
    right: Tensor = mended.pack().unflatten(0, packed.shape[:2])
    return right


def _names(frames: Frames) -> list[list[str]]:
    colour, shape = frames.arrays["target_colour"], frames.arrays["target_shape"]
    return [
        [f"{COLOURS[c]} {SHAPES[s]}" for c, s in zip(*row, strict=True)]
        for row in zip(colour, shape, strict=True)
    ]


def _places(frames: Frames) -> list[list[str]]:
    most = tokenizer.LOCATIONS - 1
    uv = np.clip(frames.arrays["front_uv"][:, :, 0] * tokenizer.LOCATIONS, 0, most)
    return [
        [" ".join(tokenizer.LOCATION.format(int(x)) for x in place) for place in row] for row in uv
    ]
