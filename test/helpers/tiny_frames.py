"""Synthetic frames as written by `vla generate`, for every robot of `tiny_cross`."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.statistics import Statistics
from vla_policy.embodiment import load_embodiment
from vla_policy.families.tiny.columns import COLUMNS, RobotColumns, robot_columns
from vla_policy.models import tokenizer
from vla_policy.models.vla import VLA
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.tiny.robots import contract_of, statistics_of

ROBOTS = ("vx300s", "vx300s_pair", "vx300s_mobile")
WORDS = "pick up the red green blue cube ball cylinder put in tray".split()
TOKENS = tokenizer.build([*WORDS, *COLOURS, *SHAPES])
Q, FRAMES = 4, 30


@dataclass(frozen=True)
class OneRobot:
    name: str
    body: RobotColumns
    contract: Contract
    statistics: Statistics

    def checkpoint(self, model: VLA) -> Checkpoint:
        return Checkpoint(model, self.contract, self.statistics, TOKENS)


def robot(name: str) -> OneRobot:
    embodiment = load_embodiment(name)
    contract = contract_of(embodiment, 96)
    body = robot_columns(contract, len(COLUMNS))
    return OneRobot(name, body, contract, statistics_of(embodiment, body))


def make_frames(folder: Path, name: str, count: int, *, episodes: bool = False) -> None:
    rng = np.random.default_rng(count)
    folder.mkdir(parents=True)
    own = robot(name)
    arms, base = len(own.body.arms), len(own.body.base)
    more = (arms,) if arms > 1 else ()
    uv = rng.random((count, Q, 3, 2)).astype(np.float32)
    xyz = rng.uniform([0.2, -0.2, 0], [0.5, 0.2, 0.1], (count, Q, 3)).astype(np.float32)
    sometimes = np.where(rng.random((count, Q, 1)) < 0.5, np.nan, xyz)
    state = np.tile([0.3, 0.0, 0.2, 0, 1, 0, 0, 0.5], (count, arms)).astype(np.float32)
    state += 0.01 * rng.standard_normal(state.shape, dtype=np.float32)
    arrays = {
        "front": rng.integers(0, 255, (count, 96, 96, 3), dtype=np.uint8),
        "wrist": rng.integers(0, 255, (count, *more, 96, 96, 3), dtype=np.uint8),
        "state": state, "target_xyz": xyz, "reference_xyz": sometimes, "destination_xyz": sometimes,
        "target_colour": rng.integers(0, 6, (count, Q)), "target_shape": rng.integers(0, 3, (count, Q)),
        "target_size": rng.uniform(0.015, 0.024, (count, Q)), "front_uv": uv,
        "wrist_uv": rng.random((count, Q, *more, 2)).astype(np.float32), "wrist_visible": rng.random((count, Q, *more)) > 0.5,
    }  # fmt: skip
    if episodes:
        arrays["action"] = rng.uniform(-0.03, 0.03, (count, 7 * arms + 1 + base)).astype(
            np.float32
        )
        arrays["episode"] = np.arange(count) // 7
    for key, values in arrays.items():
        np.save(folder / f"{key}.npy", values)
    (folder / "texts.json").write_text(
        json.dumps([[" ".join(rng.choice(WORDS, 5)) for _ in range(Q)] for _ in range(count)])
    )
    (folder / "meta.json").write_text(json.dumps({"robot": name}))
