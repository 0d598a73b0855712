"""A small random policy of every family for training: observations and demonstrations by seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pi0_folders
import test_openvla_folder
import test_rt2
import test_smolvla_folder
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.tiny.columns import COLUMNS, robot_columns
from vla_policy.families.tool_steps import STEP_M, STEP_RAD
from vla_policy.families.training import Demonstration, Loss, LossOptions, Training
from vla_policy.geometry.pose_steps import steps_to_poses
from vla_policy.models import config, tokenizer
from vla_policy.models.vla import VLA
from vla_policy.policy import Policy, load_policy
from vla_policy.train.tiny.robots import contract_of, statistics_of
from vla_policy.types import Array, Observation

TOKENS = tokenizer.build("pick up the red green cube ball put in tray".split())
WORDS = ("pick up the red cube", "put the green ball in the tray")
EYES = config.PointingConfig(48, (8, 16, 16), 16, 24, 32, 1)
POSE = np.array([0.3, 0.02, 0.2, 0.0, 1.0, 0.0, 0.0])


@dataclass(frozen=True)
class Case:
    """name: of CASES. actions: float64[rows + 2, a] close to the observation of that seed."""

    name: str
    policy: Policy
    observe: Callable[[int], Observation]
    actions: Callable[[int], Array]

    @property
    def checkpoint(self) -> Checkpoint:
        return self.policy.checkpoint

    @property
    def training(self) -> Training:
        training = self.policy.family.training
        assert training is not None
        return training

    def demonstration(self, seed: int, **changes: object) -> Demonstration:
        actions = self.actions(seed)
        values = {"observation": self.observe(seed), "actions": actions}
        return Demonstration(**(values | {"valid": np.ones(len(actions), bool)} | changes))

    def batch(
        self, demonstrations: list[Demonstration], heads: tuple[str, ...] = ()
    ) -> dict[str, torch.Tensor]:
        """A batch with a seed for each, in order."""
        examples = [self.training.example(self.checkpoint, heads, d) for d in demonstrations]
        return self.training.collate(examples) | {"seed": torch.arange(len(examples)) + 100}

    def loss(self, batch: dict[str, torch.Tensor], **options: object) -> Loss:
        chosen = LossOptions(**options)
        return self.training.loss(self.checkpoint, batch, chosen, torch.Generator())


def images(seed: int, *names: str, px: int = 56) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 255, (px, px, 3), dtype=np.uint8) for name in names}


def joints(name: str, policy: Policy, cameras: tuple[str, ...]) -> Case:
    """Actions through the middle half of the statistics' range."""
    normaliser, width = policy.checkpoint.statistics.actions, len(policy.contract.state_names)
    low, high = (normaliser.restore(np.full(width, end)) for end in (-1.0, 1.0))
    relative = np.isin(policy.contract.action_names, policy.checkpoint.settings.relative)

    def observe(seed: int) -> Observation:
        state = np.random.default_rng((seed, 1)).uniform(-0.5, 0.5, width)
        words = WORDS[seed % 2]
        return Observation(
            images(seed, *cameras), state, policy.contract.state_names, words, obs_ns=5
        )

    def actions(seed: int) -> Array:
        rng = np.random.default_rng((seed, 2))
        way = np.linspace(*rng.uniform(-0.5, 0.5, (2, width)), policy.rows + 2)
        return (low + high) / 2 + way * (high - low) / 2 + relative * observe(seed).state

    return Case(name, policy, observe, actions)


def _steps(seed: int, rows: int) -> Array:
    reach = np.array([STEP_M] * 3 + [STEP_RAD] * 3)
    return np.random.default_rng((seed, 2)).uniform(-0.9, 0.9, (rows, 6)) * reach


def tools(name: str, policy: Policy) -> Case:
    """Poses and gripper of each arm, one step from row to row, and speeds of a base."""
    contract = policy.contract
    arms = tuple(
        n.removesuffix(TOOL_POSE[0]) for n in contract.state_names if n.endswith(TOOL_POSE[0])
    )

    def observe(seed: int) -> Observation:
        moved = np.random.default_rng((seed, 1)).uniform(-0.05, 0.05, (len(arms), 3))
        state = np.concatenate([[*(POSE[:3] + m), *POSE[3:], 0.5] for m in moved])
        seen = images(seed, *contract.camera_names, px=96)
        return Observation(seen, state, contract.state_names, WORDS[seed % 2], obs_ns=5)

    def actions(seed: int) -> Array:
        rows, rng = policy.rows + 2, np.random.default_rng((seed, 3))
        columns = {n: np.full(rows, rng.uniform(-0.1, 0.1)) for n in ("base.vx", "base.wz")}
        state = dict(zip(contract.state_names, observe(seed).state, strict=True))
        for i, arm in enumerate(arms):
            start = np.array([state[arm + n] for n in TOOL_POSE])
            poses = steps_to_poses(start, _steps(seed + 10 * i, rows))
            columns |= {arm + n: c for n, c in zip(TOOL_POSE, poses.T, strict=True)}
            columns[arm + "gripper"] = np.full(rows, rng.uniform(0.1, 0.9))
        return np.stack([columns[n] for n in contract.action_names], 1)

    return Case(name, policy, observe, actions)


def pi0(folder: Path, golden: str, **changes: object) -> Case:
    source = pi0_folders.GOLDEN / golden
    path = pi0_folders.policy_file(folder, source, **changes)
    return joints(golden, load_policy(str(path), engine="off"), ("front", "hand"))


def smolvla(folder: Path) -> Case:
    path = test_smolvla_folder.policy_file(test_smolvla_folder.write_smolvla(folder / "smolvla"))
    return joints("smolvla", load_policy(str(path), engine="off"), ("front", "wrist"))


def rt2(folder: Path) -> Case:
    path = test_rt2.policy_file(test_rt2.write_paligemma(folder), rows=2)
    return tools("rt2", load_policy(str(path)))


def openvla(folder: Path, *, poses: bool) -> Case:
    written = folder / "openvla"
    test_openvla_folder.write_folder(written, test_openvla_folder.tensors())
    names = [*TOOL_POSE, "gripper"]
    changed = {"actions": {"names": names, "spaces": {"arm": "ee_pose", "hand": "gripper"}}}
    path = test_openvla_folder.policy_file(written, **(changed if poses else {}))
    case = tools("openvla", load_policy(str(path)))
    ends = case.checkpoint.statistics.actions

    def actions(seed: int) -> Array:
        """A step between the ends of the statistics, and the resulting pose."""
        rng = np.random.default_rng((seed, 2))
        model_actions = rng.uniform(-0.9, 0.9, (3, 7))
        if poses:
            model_actions = model_actions[:1]
        rows = case.policy.family.restore(case.checkpoint, model_actions, case.observe(seed))
        assert ends.names[-1] == "gripper"
        return rows.actions

    return replace(case, actions=actions)


def tiny(folder: Path, robot: str, *, cross: bool) -> Case:
    """Random weights and a small vision tower; the robot's own contract."""
    torch.manual_seed(0)
    embodiment, vocab = load_embodiment(robot), TOKENS.get_vocab_size()
    contract = contract_of(embodiment, EYES.image_px)
    body = robot_columns(contract, len(COLUMNS))
    sizes = config.tiny_cross(vocab) if cross else config.tiny(vocab)
    statistics = statistics_of(embodiment, body)
    checkpoint = Checkpoint(VLA(replace(sizes, vision=EYES)).eval(), contract, statistics, TOKENS)
    return tools(f"tiny_{robot}", Policy(checkpoint, "flow"))


CASES: dict[str, Callable[[Path], Case]] = {
    "pi0": lambda folder: pi0(folder, "ckpt_pi0_tiny"),
    "pi05": lambda folder: pi0(folder, "ckpt_pi05_tiny"),
    "pi05_relative": lambda folder: pi0(folder, "ckpt061_pi05_relative"),
    "smolvla": smolvla,
    "rt2": rt2,
    "openvla": lambda folder: openvla(folder, poses=False),
    "openvla_poses": lambda folder: openvla(folder, poses=True),
    "tiny": lambda folder: tiny(folder, "vx300s", cross=False),
    "tiny_pair": lambda folder: tiny(folder, "vx300s_pair", cross=True),
    "tiny_mobile": lambda folder: tiny(folder, "vx300s_mobile", cross=True),
}
