"""The pointing tower learns a new colour from objects of base scenes painted in it (painted.py).

Labels of the position are those of the base scene. The tokens for the language model, which is not trained, have as target
the teacher's tokens for the same object under the same light in its original colour.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames
from vla_policy.families.language import Language
from vla_policy.families.tiny.pointing_training import FOUND_M, arm_parts
from vla_policy.models.pointing import Pointing, PointingTower
from vla_policy.train.tiny.kept_answers import TOLD, encoded, lit, told, tools_of
from vla_policy.train.tiny.new_word import NewWord
from vla_policy.train.tiny.painted import PaintedThings
from vla_policy.train.tiny.phrases import twins
from vla_policy.types import Array

NO_LABEL = -100  # ignored by cross-entropy
LEFT_OUT = ("found", "name")  # parts of the loss whose labels demonstrations lack


def painted_parts(
    tower: PointingTower, teacher: PointingTower, checkpoint: Checkpoint, language: Language,
    new: NewWord, paints: PaintedThings, base: Frames, rng: np.random.Generator, *, count: int,
    questions: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The losses of the lesson "pointing" for count painted objects, with questions sentences each, and that of their tokens."""
    i = rng.integers(0, len(paints), count)
    row, query = paints.row[i], paints.query[i]
    seeds = rng.integers(2**62, size=count)
    was = lit(base.images(row), seeds)
    front, wrist = lit((paints.after[i], paints.wrist[i]), seeds)
    pairs = [twins(language, new, _looks(language, paints, k), questions, rng) for k in i]
    text, known = (
        torch.stack([encoded(checkpoint, [pair[k] for pair in one]) for one in pairs])
        for k in (0, 1)
    )
    room = int(max((text != 0).sum(-1).max(), (known != 0).sum(-1).max()))
    tool = tools_of(base, row)
    with torch.no_grad():
        seen = teacher.look(was[0], known[..., :room])
        old = teacher.look_closer(seen, was[1], tool)
    now = tower.look_closer(tower.look(front, text[..., :room]), wrist, tool)
    truth = truth_of(
        teacher, old, paints.xyz[i], paints.uv[i], base.arrays["wrist_uv"][row, query],
        paints.seen[i],
    )  # fmt: skip
    tool = tool.repeat_interleave(questions, 0)
    parts = arm_parts(tower, now, truth, tool[:, :3])
    # The teacher's tokens are no target where it did not find the object.
    found = (old.found.xyz[:, 0] - truth["xyz"][:, 0]).norm(dim=-1) < FOUND_M
    like = (told(now.found, old.found, tool) * found).sum() / found.sum().clamp(min=1)
    said = {f"painted_{k}": v for k, v in parts.items() if k not in LEFT_OUT}
    return said | {"painted_told": TOLD * like}


def truth_of(
    teacher: PointingTower, said: Pointing, xyz: Array, uv: Array, wrist_uv: Array, visible: Array
) -> dict[str, Tensor]:
    """Labels for `arm_parts` of b images with q sentences each, n = b q answers.

    xyz: float[b, 3], uv, wrist_uv: float[b, 2], visible: bool[b], of the target; reference and destination from the teacher.
    """
    q = len(said.found.xyz) // len(xyz)
    there = (said.found.present > 0)[..., None]  # (n, 3, 1)
    places = said.heat.softmax(-1) @ teacher.front.uv
    all_xyz = torch.where(there, said.found.xyz, torch.nan)
    all_uv = torch.where(there, places, torch.nan)
    all_xyz[:, 0] = torch.tensor(xyz).float().repeat_interleave(q, 0)
    all_uv[:, 0] = torch.tensor(uv).float().repeat_interleave(q, 0)
    none = torch.full((len(all_xyz),), NO_LABEL)
    return {
        "xyz": all_xyz, "uv": all_uv,
        "wrist_uv": torch.tensor(wrist_uv).float().repeat_interleave(q, 0),
        "wrist_visible": torch.tensor(visible).repeat_interleave(q, 0),
        "colour": none, "shape": none, "size": torch.zeros(len(all_xyz)),
    }  # fmt: skip


def _looks(language: Language, paints: PaintedThings, index: int) -> dict[str, str]:
    """The words for an object in its original colour."""
    found = {}
    for kind, numbers in (("colour", paints.colour), ("shape", paints.shape)):
        words = [w for w, n in language.looks[kind].items() if n == int(numbers[index])]
        found[kind] = words[0]
    return found
