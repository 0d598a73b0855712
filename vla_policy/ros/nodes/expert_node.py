"""The scripted expert at the simulated robot, as its operator or its policy: it reads the simulation's ground truth, as a person sees the table.

It plans on a copy of the world that the simulation shares (`sim_state`) and publishes chunks while an instruction is
active. Its chunks take the path of all others: timeline, guard, controllers.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from std_msgs.msg import String

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.evaluate.expert_policy import STEP_NS, expert_rows
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import InstructionOutcome, SimState
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.task_diagnostics import outcome
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.params import follow_params, param
from vla_policy.ros.process.run_node import run_node
from vla_policy.runtime.task import Ended, Outcome
from vla_policy.sim.demonstrations.expert import expert_action
from vla_policy.sim.scenes.scene import Scene, sample_scene
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.sim.twin import find_twin
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk

# Between the observations of two chunks. An operator corrects at every row: a plan that does not know of the errors since
# would teach commands that do not belong to where the robot is.
OPERATOR_NS, POLICY_NS = STEP_NS, 3 * STEP_NS
CLOSE_S = 3.0
TELEOP_CHUNK = "teleop_chunk"


@dataclass(frozen=True, slots=True)
class ExpertParams:
    """Parameters of the node."""

    embodiment: str = param("vx300s", "robot whose twin is simulated, by name or path")
    chunks: str = param(
        TELEOP_CHUNK,
        "topic of the chunks: as a person's, or in place of a policy's",
        choices=(TELEOP_CHUNK, "action_chunk"),
    )


class ExpertNode(Node):
    """Callbacks keep the newest state and instruction; a thread plans, as a plan takes longer than a message."""

    def __init__(self) -> None:
        super().__init__("expert")
        self._params = follow_params(self, ExpertParams)
        self._robot = load_embodiment(self._params.embodiment)
        self._operates = self._params.chunks == TELEOP_CHUNK
        self._every_ns = OPERATOR_NS if self._operates else POLICY_NS
        layout = layout_of(self._robot)
        self._names = layout.names if self._operates else self._robot.action_names
        self._twin = find_twin(self._robot.name).name
        self._log = ChangeLogger(self.get_logger())
        self._changed = threading.Condition()
        self._state: SimState | None = None
        self._instruction = self._said = ""
        self._closed = False
        self._sequence = 0
        # Before the topics, by which others see that it is ready.
        self._copy = World(renderer="raycast", robot=self._twin)
        self._chunks = self.create_publisher(ActionChunkMsg, self._params.chunks, qos.COMMAND)
        self._refused = self.create_publisher(InstructionOutcome, "instruction_refused", qos.WORDS)
        self.create_subscription(SimState, "sim_state", self._on_state, qos.SENSOR)
        self.create_subscription(
            String,
            "active_instruction",
            self._on_instruction,
            qos.ACTIVE,
            event_callbacks=SubscriptionEventCallbacks(liveliness=self._on_task_liveliness),
        )
        self._thread = threading.Thread(target=self._run, name="expert", daemon=True)
        self._thread.start()
        self.get_logger().info(f"the expert plans on {self._params.chunks}")

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _on_state(self, msg: SimState) -> None:
        with self._changed:
            self._state = msg
            self._changed.notify()

    def _on_instruction(self, msg: String) -> None:
        self._said = msg.data.strip()
        self._follow(self._said)

    def _on_task_liveliness(self, event: Any) -> None:
        """A task node that was killed cannot end its run, so its instruction ends with it."""
        if event.alive_count > 0:
            self._follow(self._said)
            self._log.fine("task", "the task node is heard again")
        else:
            self._follow("")
            self._log.problem("task", "dead", "the task node is gone; its instruction ends")

    def _follow(self, instruction: str) -> None:
        with self._changed:
            self._instruction = instruction
            self._changed.notify()

    def _run(self) -> None:
        """Plan from each state that is new enough."""
        copy = self._copy
        planned_ns = 0
        known: _Task | None = None
        while True:
            with self._changed:
                while not (self._closed or self._due(planned_ns)):
                    self._changed.wait()
                if self._closed:
                    return
                state, words = self._state, self._instruction
            assert state is not None  # due
            planned_ns = convert.ns_from_stamp(state.header.stamp)
            began_ns = time.perf_counter_ns()
            try:
                known = _task(known, state, words, self._twin)
                copy.restore(known.scene, np.array(state.values))
            except ValueError as error:
                self._refuse(words, str(error))
                continue
            reached = expert_action(known.task, copy.truth()).terminate
            rows, done = expert_rows(copy, known.task)
            if not self._operates:
                done = reached  # in place of a policy: the task node ends the instruction, what is still planned is not done
            chunk = ActionChunk(
                rows, self._names, planned_ns, STEP_NS, self._sequence, words,
                terminate=done, infer_ns=time.perf_counter_ns() - began_ns,
            )  # fmt: skip
            self._publish(chunk)

    def _due(self, planned_ns: int) -> bool:
        if self._state is None or not self._instruction:
            return False
        stamp_ns = convert.ns_from_stamp(self._state.header.stamp)
        return stamp_ns - planned_ns >= self._every_ns or stamp_ns < planned_ns

    def _publish(self, chunk: ActionChunk) -> None:
        if not rclpy.ok() or self._closed:
            return
        self._sequence += 1
        self._chunks.publish(convert.chunk_to_msg(chunk, frame_id=self._robot.base_frame))
        self._log.fine("expert", "the expert plans again")

    def _refuse(self, words: str, why: str) -> None:
        """Report once what it cannot do in this scene, and end the run."""
        self._log.problem("expert", why, f"{words!r}: {why}")
        if rclpy.ok():
            how = Ended(Outcome.REFUSED, why)
            self._refused.publish(outcome(words, how, self.get_clock().now().nanoseconds))


@dataclass(frozen=True, slots=True)
class _Task:
    """The scene of a seed and a task in it, parsed when the objects lay as they were drawn."""

    seed: int
    split: str
    words: str
    scene: Scene
    task: Task


def _task(before: _Task | None, state: SimState, words: str, twin: str) -> _Task:
    """The previous one, or a new one for another seed or instruction. Raises ValueError for an instruction that the scene cannot meet."""
    seed, split = int(state.seed), str(state.split)
    if before is not None and (before.seed, before.split) == (seed, split):
        if before.words == words:
            return before
        scene = before.scene
    else:
        scene = sample_scene(seed, split=split, robot=twin)
    return _Task(seed, split, words, scene, parse_task(words, scene))


def main() -> int:
    """Entry point of the executable `expert_node`."""
    return run_node(ExpertNode)
