"""Gripper controllers that take goals: GripperCommand and ParallelGripperCommand."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState

from vla_policy.embodiment import Output
from vla_policy.embodiment.layout import ActionPart, opening_of
from vla_policy.execution.gripper_goals import GripperGoals, want
from vla_policy.ros.messages.optional_types import gripper_action
from vla_policy.ros.outputs.direct import gripper_position
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.types import Array


class Goals:
    """A goal whenever the wanted opening has settled somewhere else; see execution/gripper_goals."""

    def __init__(
        self, node: LifecycleNode, action: str, part: ActionPart, output: Output, log: ChangeLogger
    ) -> None:
        kind = gripper_action(output.type, f"action group {part.group!r}: {output.type}")
        self._action, self._part, self._output, self._log = action, part, output, log
        self._kind = kind
        self._client = ActionClient(node, kind, action)
        self._state = GripperGoals()

    def send(self, values: Array, rates: Array, stamp_ns: int) -> None:
        opening = opening_of(float(values[0]), self._part.opens_up)
        if self.problem() is not None:
            return  # tried again at the next command: a goal without a server is lost
        self._state, goal = want(self._state, opening, stamp_ns)
        if goal is None:
            return
        value = opening_of(goal, self._part.opens_up)
        sent = self._client.send_goal_async(goal_of(self._kind, value, self._part, self._output))
        sent.add_done_callback(self._on_answer)

    def problem(self) -> str | None:
        if self._client.server_is_ready():
            return None
        return f"no action server {self._action}"

    def rest(self) -> None:
        """A goal in execution ends by itself; a gripper that opened would drop its object."""

    def close(self) -> None:
        self._client.destroy()

    def _on_answer(self, future: Any) -> None:
        if future.cancelled() or future.exception() is not None:
            self._log.problem(self._action, "lost", f"{self._action}: the goal got no answer")
        elif not future.result().accepted:
            self._state = GripperGoals()  # send a goal again
            self._log.problem(self._action, "refused", f"{self._action} refused a goal")
        else:
            self._log.fine(self._action, f"{self._action}: goals are accepted again")


def goal_of(kind: type, value: float, part: ActionPart, output: Output) -> Any:
    """A goal of the action type kind for the value of the gripper's column."""
    position = gripper_position(value, part, output)
    goal = kind.Goal()
    if output.type == "gripper_command":
        goal.command.position, goal.command.max_effort = position, output.max_effort
    else:
        goal.command = JointState(
            name=[output.joint], position=[position], effort=[output.max_effort]
        )
    return goal
