"""One trial: a policy, a scene and an instruction, judged by physics."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.evaluate.closed_loop import ControlLoop, Pace
from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.execution.replanning import (
    NOTHING,
    Delays,
    measured,
    next_observation_ns,
    plan_continuation,
    plan_to_compare,
    truncated,
)
from vla_policy.execution.schemes import SCHEMES
from vla_policy.models.sampling import DEFAULT_OPTIONS, InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.runtime.task import TERMINATE_CHUNKS
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.world.world import OVERVIEW, World
from vla_policy.types import ActionChunk, Observation

SETTLE_S = 0.6  # after the policy reported the task complete: a released object comes to rest
STEPS_PER_S = 50
_MOVED_M = 0.02
_FALLEN_M = 0.03


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What happened in one trial.

    failure: "" or one of wrong_object, nothing_moved, dropped, not_finished, ended_early; of what is not there: tried.
    refused: why the policy would not begin, from the words and the first images; "" if it would. The trial goes on.
    looked_right: whether the object nearest to the place that the policy pointed to first is the named one;
    None if it cannot point.  look_error_m: distance from that place to the named object, on the table.
    terminated: the policy reported the task complete, so that the instruction ended.
    """

    seed: int
    instruction: str
    family: str
    kind: str
    success: bool
    failure: str
    seconds: float
    looked_right: bool | None
    look_error_m: float | None
    terminated: bool
    detail: str
    interventions: dict[str, int]
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


@runtime_checkable
class KnowsTheTask(Protocol):
    """A policy that is given world and task before each trial, as the expert is."""

    def prepare(self, world: World, task: Task) -> None: ...


def roll_out(
    policy: PolicyProtocol,
    world: World,
    scene: Scene,
    task: Task,
    *,
    embodiment: Embodiment,
    pace: Pace,
    moves: bool,
    options: InferenceOptions = DEFAULT_OPTIONS,
    measures: Measures | None = None,
) -> TrialResult:
    """One trial of policy: task in scene, until success, termination by the policy or the twin's time limit.

    moves=False: only the first look. options: of every chunk; seed and rows of the plan are those of the chunk.
    measures: filled with what is seen on the way.
    Raises ValueError if only the first look counts and the policy cannot point.
    """
    if not moves and not policy.can_point:
        raise ValueError(
            "this suite asks where the policy looks, and this kind of model cannot point; take another"
        )
    world.reset(scene)
    if isinstance(policy, KnowsTheTask):
        policy.prepare(world, task)
    pilot = ControlLoop(world, embodiment, scheme=pace.scheme)
    for _ in range(STEPS_PER_S // 10):  # engaged and standing: only later observations count
        pilot.step()
    judge = Judge(task, world.truth())
    names, side = policy.contract.state_names, policy.contract.image_px
    first = pilot.observe(task.instruction, names, side)
    right, error_m = _look(policy, first, world, task)
    refused = refusal_of(policy, first)
    result, steps, terminates = judge.update(world.truth()), 0, 0
    last = world.twin.seconds * STEPS_PER_S
    chunk, delays = None, Delays(warm_up=0)
    while moves and not result.ever_success and steps < last:
        if terminates < TERMINATE_CHUNKS and inference_due(pilot, world, pace, chunk, delays):
            observation = first if steps == 0 else pilot.observe(task.instruction, names, side)
            asked_s, asked_cpu_s = time.perf_counter(), time.process_time()
            chunk = next_chunk(
                policy,
                observation,
                pilot,
                pace,
                delays,
                replace(options, seed=scene.seed + steps),
            )
            if measures is not None:
                cpu_s = time.process_time() - asked_cpu_s
                measures.chunk(time.perf_counter() - asked_s, cpu_s)
            pilot.send(chunk, pace.latency_ns)
            terminates = terminates + 1 if chunk.terminate else 0
            if terminates == TERMINATE_CHUNKS:
                last = min(last, steps + SETTLE_S * STEPS_PER_S)
        taken = pilot.executing
        pilot.step()
        now = pilot.executing
        if now is not None and now is not taken:
            delays = measured(delays, now.taken_ns - now.chunk.obs_ns)
        if measures is not None:
            measures.tick(world.time_ns, pilot.tools, pilot.verdict, took=now is not taken)
            if measures.film_due(world.time_ns):
                measures.frames.append(world.render(OVERVIEW, *FILM_PX))
        result = judge.update(world.truth())
        steps += 1
    terminated = terminates == TERMINATE_CHUNKS
    success = result.ever_success if moves else bool(right)
    failure = "" if success or not moves else _failure(judge, world, task, terminated)
    return TrialResult(
        scene.seed, task.instruction, task.family, task.kind, success, failure,
        steps / STEPS_PER_S, right, error_m, terminated, result.detail, pilot.interventions, refused,
    )  # fmt: skip


def asked_for_nothing(
    policy: PolicyProtocol, world: World, scene: Scene, task: Task, *, embodiment: Embodiment
) -> TrialResult:
    """One trial in which task names what scene does not have: only whether the policy refuses it before it moves."""
    world.reset(scene)
    contract = policy.contract
    pilot = ControlLoop(world, embodiment)
    first = pilot.observe(task.instruction, contract.state_names, contract.image_px)
    refused = refusal_of(policy, first)
    return TrialResult(
        scene.seed, task.instruction, task.family, task.kind, bool(refused), "" if refused else "tried",
        0.0, None, None, False, "not moved", {}, refused,
    )  # fmt: skip


def refusal_of(policy: PolicyProtocol, observation: Observation) -> str:
    """Why the policy does not follow the instruction of observation, one sentence; "" if it does."""
    reason = policy.understands(observation.instruction) or policy.sees(observation)
    return "" if reason is None else reason.detail


def inference_due(
    pilot: ControlLoop, world: World, pace: Pace, chunk: ActionChunk | None, delays: Delays
) -> bool:
    """Whether the next inference is due; a policy works on one chunk at a time."""
    if chunk is None or pilot.waits:
        return chunk is None
    look_ns = next_observation_ns(
        pace.scheme, chunk.obs_ns, chunk.step_ns, pace.execute_rows,
        executing=pilot.executing, delay_ns=delays.expected_ns,
    )  # fmt: skip
    return world.time_ns >= look_ns


def next_chunk(
    policy: PolicyProtocol, observation: Observation, pilot: ControlLoop, pace: Pace, delays: Delays,
    options: InferenceOptions,
) -> ActionChunk:  # fmt: skip
    """The policy's chunk for observation, by the scheme of pace."""
    if not (SCHEMES[pace.scheme].continues and policy.continues):
        plan = NOTHING
        if options.candidates > 1:
            plan = plan_to_compare(pilot.executing, observation.obs_ns, pilot.layout)
        chunk = policy.infer_chunk(observation, plan.previous, options)
        return truncated(chunk, pace.scheme, pace.execute_rows)
    asked = plan_continuation(
        pilot.executing, observation.obs_ns, delay_ns=delays.expected_ns,
        rows=policy.rows, execute_rows=pace.execute_rows, layout=pilot.layout,
    )  # fmt: skip
    options = replace(options, frozen_rows=asked.frozen_rows, guidance_rows=asked.guidance_rows)
    return policy.infer_chunk(observation, asked.previous, options)


def _look(
    policy: PolicyProtocol, observation: Observation, world: World, task: Task
) -> tuple[bool | None, float | None]:
    if not policy.can_point:
        return None, None
    seen = np.asarray(policy.point(observation)["target_xyz"], float)
    distance = np.linalg.norm(world.truth().object_xyz[:, :2] - seen[:2], axis=1)
    return bool(np.argmin(distance) == task.target), float(distance[task.target])


def _failure(judge: Judge, world: World, task: Task, terminated: bool) -> str:
    """Why a trial failed, from what was lifted or moved."""
    truth = world.truth()
    if judge.lifted and judge.lifted[0] != task.target:
        return "wrong_object"
    if terminated:
        return "ended_early"
    if task.family == "touch":
        return "not_finished"
    moved = np.linalg.norm(truth.room_xyz - judge.start_xyz, axis=1) > _MOVED_M
    if task.family == "push" and moved.any() and not moved[task.target]:
        return "wrong_object"
    if task.target in judge.lifted:
        low = truth.room_xyz[task.target, 2] - judge.start_xyz[task.target, 2] < _FALLEN_M
        return "dropped" if low and not truth.held[task.target] else "not_finished"
    if moved[task.target]:
        return "not_finished"
    return "wrong_object" if judge.lifted else "nothing_moved"
