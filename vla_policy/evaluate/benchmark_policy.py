"""Policies in the benchmarks of other projects, which have cameras and columns of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla_policy.checkpoint.contract import Contract
from vla_policy.evaluate.measures import Measures
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Array, Observation


@dataclass(frozen=True, slots=True)
class BenchmarkRobot:
    """A benchmark's robot. state, actions: its columns in order.

    cameras: its cameras, of which a policy may use some; by_name: whether a policy must call them so, else only their
    number counts.
    """

    name: str
    cameras: tuple[str, ...]
    state: tuple[str, ...]
    actions: tuple[str, ...]
    by_name: bool


def load_for(robots: tuple[BenchmarkRobot, ...], settings: Mapping[str, Any]) -> PolicyProtocol:
    """The policy of settings, for one of robots: the ways in which a benchmark's robot is driven, first the usual one.

    Raises as load_policy, and ValueError for other columns or cameras.
    """
    import torch

    from vla_policy.policy import load_policy

    torch.set_num_threads(1)
    robot = robots[0]
    policy = load_policy(
        settings["policy"], embodiment=robot.name, head=settings["head"], device=settings["device"]
    )
    contract = policy.contract
    cameras = contract.camera_names
    if not any(_fits(one, contract) for one in robots):
        told = (
            f"cameras among {', '.join(robot.cameras)}"
            if robot.by_name
            else f"{len(robot.cameras)} camera"
        )
        raise ValueError(
            f"policy {settings['policy']!r}: got {len(cameras)} cameras ({', '.join(cameras) or 'none'}), "
            f"{len(contract.state_names)} columns of state and {len(contract.action_names)} of actions, expected {told}, "
            f"{', '.join(robot.state)} and {', '.join(robot.actions)}"
        )
    return policy


def _fits(robot: BenchmarkRobot, contract: Contract) -> bool:
    cameras = contract.camera_names
    counts = (len(contract.state_names), len(contract.action_names))
    seen = (
        set(cameras) <= set(robot.cameras) if robot.by_name else len(cameras) == len(robot.cameras)
    )
    return bool(cameras) and seen and counts == (len(robot.state), len(robot.actions))


def timed_rows(
    policy: PolicyProtocol,
    observation: Observation,
    options: InferenceOptions,
    measures: Measures | None,
) -> Array:
    """Rows of a chunk; how long they took is noted."""
    asked_s, asked_cpu_s = time.perf_counter(), time.process_time()
    chunk = policy.infer_chunk(observation, None, options)
    if measures is not None:
        measures.chunk(time.perf_counter() - asked_s, time.process_time() - asked_cpu_s)
    return chunk.actions
