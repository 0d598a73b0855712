"""A long task in the twin without ROS: planner, sub-tasks and looks as in the task node, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vla_policy.embodiment import Embodiment
from vla_policy.evaluate.closed_loop import ControlLoop, Pace
from vla_policy.evaluate.rollout import STEPS_PER_S, inference_due, next_chunk, refusal_of
from vla_policy.execution.replanning import Delays, measured
from vla_policy.models.sampling import DEFAULT_OPTIONS
from vla_policy.runtime import long_task
from vla_policy.runtime.long_task import Follow, Heed, LongBounds, LongTask
from vla_policy.runtime.planning import Answered, Attempt, PlanAnswer, Planner
from vla_policy.runtime.policy_protocol import PolicyProtocol, Unavailable
from vla_policy.runtime.task import TERMINATE_CHUNKS, Ended, Outcome
from vla_policy.sim.world.world import World
from vla_policy.timing import ns_from_s, s_from_ns
from vla_policy.types import ActionChunk


@dataclass(frozen=True, slots=True)
class LongResult:
    """How the task node would end it; seconds: of simulated time. done: what was begun. seen: as PlanRequest.seen."""

    ended: Ended
    seconds: float
    done: tuple[Attempt, ...]
    seen: tuple[str, ...]


def follow_long(
    policy: PolicyProtocol,
    world: World,
    instruction: str,
    planner: Planner,
    *,
    embodiment: Embodiment,
    pace: Pace,
    bounds: LongBounds,
    timeout_s: float,
) -> LongResult:
    """instruction from the present state of world on, which was reset; thinking takes no simulated time."""
    pilot = ControlLoop(world, embodiment, scheme=pace.scheme)
    for _ in range(STEPS_PER_S // 10):
        pilot.step()
    now_ns, limit_ns = world.time_ns, ns_from_s(timeout_s)
    task = long_task.begin(instruction, now_ns, limit_ns, limit_ns, now_ns)
    while True:
        while not long_task.is_due(task, world.time_ns):
            pilot.step()
        task, step = _ask(task, policy, pilot, world, planner, bounds)
        if isinstance(step, Heed):
            step = long_task.heeded(step)
        if isinstance(step, Follow):
            how, chunks = _follow(policy, pilot, world, step, pace)
            now_ns = world.time_ns
            after = long_task.subtask_ended(task, step.subtask, how, chunks, now_ns, now_ns)
            step = after if isinstance(after, Ended) else long_task.late(after, now_ns)
            task = task if isinstance(after, Ended) else after
        if step is not None:
            begun_s = s_from_ns(world.time_ns - task.started_ns)
            return LongResult(step, begun_s, task.done, task.seen)


def _ask(
    task: LongTask,
    policy: PolicyProtocol,
    pilot: ControlLoop,
    world: World,
    planner: Planner,
    bounds: LongBounds,
) -> tuple[LongTask, long_task.Step]:
    task, contract = long_task.asked(task), policy.contract
    observation = pilot.observe(task.instruction, contract.state_names, contract.image_px)
    try:
        answer = planner(task.request, policy, observation)
    except (ValueError, Unavailable) as error:
        answer = PlanAnswer(Answered.FAILED, str(error))
    return long_task.answered(task, answer, bounds, world.time_ns)


def _follow(
    policy: PolicyProtocol, pilot: ControlLoop, world: World, follow: Follow, pace: Pace
) -> tuple[Ended, int]:
    """One sub-task until the policy reports it complete or its time is up; and how many chunks it took."""
    names, side = policy.contract.state_names, policy.contract.image_px
    observation = pilot.observe(follow.subtask, names, side)
    if why := refusal_of(policy, observation):
        return Ended(Outcome.REFUSED, f"the policy refuses: {why}"), 0
    pilot.instruct(follow.subtask)
    chunk: ActionChunk | None = None
    delays, terminates, chunks = Delays(warm_up=0), 0, 0
    end_ns = world.time_ns + follow.timeout_ns
    while world.time_ns < end_ns and terminates < TERMINATE_CHUNKS:
        if inference_due(pilot, world, pace, chunk, delays):
            observation = pilot.observe(follow.subtask, names, side)
            options = replace(DEFAULT_OPTIONS, seed=world.scene.seed + chunks)
            chunk = next_chunk(policy, observation, pilot, pace, delays, options)
            pilot.send(chunk, pace.latency_ns)
            chunks += 1
            terminates = terminates + 1 if chunk.terminate else 0
        taken = pilot.executing
        pilot.step()
        now = pilot.executing
        if now is not None and now is not taken:
            delays = measured(delays, now.taken_ns - now.chunk.obs_ns)
    pilot.instruct("")
    if terminates >= TERMINATE_CHUNKS:
        return Ended(Outcome.DONE, "the policy reports the instruction complete"), chunks
    return Ended(Outcome.TIMEOUT, f"not done within {s_from_ns(follow.timeout_ns):g} s"), chunks
