"""The graph's control path without ROS: chunks in, guarded setpoints to the simulation out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import GRIPPER, POSE, VELOCITY, Layout, layout_of, opening_of
from vla_policy.embodiment.spaces import POSE_PARTS
from vla_policy.execution.replanning import Executing
from vla_policy.runtime import control as core
from vla_policy.runtime.control_mode import AUTONOMOUS, source_of
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk, Array, Command, Level, Observation, RobotState, Verdict


@dataclass(frozen=True, slots=True)
class Pace:
    """When a policy observes, and when its chunk arrives.

    latency_ns: from the observation to the arrival of its chunk.
    execute_rows: rows between the observations of two chunks.
    scheme: how chunks follow each other, one of execution.schemes.SCHEMES.
    """

    latency_ns: int = 100_000_000
    execute_rows: int = 4
    scheme: str = "receding"


class ControlLoop:
    """Steps a world under one stream of chunks. Time is the world's.

    executing: the chunk that was accepted last, None before the first. verdict: the guard's in the last step.
    """

    def __init__(
        self,
        world: World,
        embodiment: Embodiment,
        *,
        scheme: str = "receding",
        mode: str = AUTONOMOUS,
    ) -> None:
        self._world = world
        self._robot = GuardedRobot(embodiment, layout_of(embodiment))
        self._control = core.Control(scheme=scheme, mode=mode)
        self._camera_ns = world.time_ns
        self._control, refusal = core.engage(
            self._control, self._robot, self._inputs(), world.time_ns
        )
        if refusal is not None:
            raise ValueError(f"the simulated robot cannot be engaged: {refusal}")
        self._waiting: list[tuple[int, ActionChunk]] = []
        self._count = 0
        self.executing: Executing | None = None
        self.interventions: dict[str, int] = {}
        self.verdict: Verdict | None = None

    def observe(
        self, instruction: str, state_names: tuple[str, ...], image_px: int = 96
    ) -> Observation:
        """The current observation: camera images and measured state."""
        self._camera_ns = self._world.time_ns
        return observed(self._world, instruction, state_names, image_px)

    @property
    def layout(self) -> Layout:
        """Columns of an action."""
        return self._robot.layout

    @property
    def sent(self) -> Array | None:
        """float64[d], the last command of all parts; None before the first."""
        sent = self._control.guard.sent
        return None if sent is None else sent.values

    @property
    def tools(self) -> Array | None:
        """float64[3 * arms], where the tools were last told to be, m; None before the first command."""
        sent = self.sent
        return None if sent is None else tool_positions(sent, self._robot.layout)

    @property
    def waits(self) -> bool:
        """Whether a chunk has not arrived yet."""
        return bool(self._waiting)

    def instruct(self, instruction: str) -> None:
        """Another instruction from now on, as the topic active_instruction; empty: the robot holds."""
        self._control = core.instruct(self._control, instruction)
        self._waiting = []

    def send(self, chunk: ActionChunk, latency_ns: int) -> None:
        """Schedule a chunk to arrive latency_ns after its observation."""
        numbered = replace(chunk, sequence=self._count)
        self._count += 1
        self._waiting.append((chunk.obs_ns + latency_ns, numbered))

    def step(self) -> None:
        """One control period: accept arrived chunks, command, advance the physics."""
        world, now_ns = self._world, self._world.time_ns
        # Cameras publish at 10 Hz even while no inference runs.
        self._camera_ns = max(self._camera_ns, now_ns - now_ns % 100_000_000)
        state = world.robot_state()
        arrived = [chunk for at_ns, chunk in self._waiting if at_ns <= now_ns]
        self._waiting = [(at_ns, c) for at_ns, c in self._waiting if at_ns > now_ns]
        for chunk in arrived:
            source = source_of(self._control.mode)
            self._control, refusal = core.accept(
                self._control, self._robot, state, chunk, now_ns, source=source
            )
            plan = self._control.timeline.plan
            if refusal is None and plan is not None:
                self.executing = Executing(chunk, plan.begin_ns, now_ns)
        self._control, verdict = core.tick(
            self._control, self._robot, state, self._inputs(), now_ns
        )
        self.verdict = verdict
        if verdict.level is not Level.PASS:
            for reason in verdict.reasons:
                self.interventions[reason.code] = self.interventions.get(reason.code, 0) + 1
        if verdict.command is not None:
            command(world, self._robot.layout, verdict.command)
        world.step()

    def _inputs(self) -> InputStamps:
        now_ns = self._world.time_ns
        return InputStamps(
            now_ns, now_ns, dict.fromkeys(self._world.twin.cameras, self._camera_ns)
        )


def observed(
    world: World, instruction: str, state_names: tuple[str, ...], image_px: int = 96
) -> Observation:
    """Camera images and measured state of a world now."""
    values = _measured(world.robot_state())
    return Observation(
        images={name: world.render(name, image_px, image_px) for name in world.twin.cameras},
        state=np.array([values[name] for name in state_names]),
        state_names=state_names,
        instruction=instruction,
        obs_ns=world.time_ns,
    )


def goals_of(
    layout: Layout, values: Mapping[str, float]
) -> tuple[dict[str, Array], dict[str, float]]:
    """Pose, float64[7], and opening 0..1 by their source, of those columns that are there."""
    parts = [part for part in layout.parts if part.names[0] in values]
    poses = {p.source: np.array([values[n] for n in p.names]) for p in parts if p.kind == POSE}
    openings = {
        p.source: opening_of(float(values[p.names[0]]), p.opens_up)
        for p in parts
        if p.kind == GRIPPER
    }
    return poses, openings


def command(world: World, layout: Layout, sent: Command) -> None:
    """Pass a command to the world's controllers; groups not in it keep their last command."""
    values = dict(zip(sent.names, sent.values, strict=True))
    parts = [part for part in layout.parts if part.names[0] in values]
    poses, openings = goals_of(layout, values)
    for index, arm in enumerate(world.twin.arms):
        world.command(poses.get(arm.tool), openings.get(arm.gripper), index)
    if any(part.kind == VELOCITY for part in parts):
        world.drive(values["base.vx"], values["base.wz"])


def tool_positions(action: Array, layout: Layout) -> Array:
    """float64[3 * arms] of an action float64[d] whose arms are told poses, m."""
    return np.concatenate([action[part.position] for part in layout.of_kind(POSE)])


def _measured(state: RobotState) -> dict[str, float]:
    """Values by their names in an embodiment's state."""
    values = dict(state.grippers)
    for tool, pose in state.poses.items():
        values |= {f"{tool}.{part}": v for part, v in zip(POSE_PARTS, pose, strict=True)}
    return values
