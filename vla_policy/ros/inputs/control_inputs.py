"""The control node's inputs: the newest state of the robot, and how old each input is."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from rclpy.node import Node

from vla_policy.embodiment import Embodiment
from vla_policy.ros.inputs.camera_liveness import ControlCameras, require_past
from vla_policy.ros.inputs.robot_topics import RobotTopics
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.plausibility import joint_out_of_range
from vla_policy.safety.watchdog import STALE_JOINTS, STALE_POSE, InputStamps
from vla_policy.types import Array, Reason, RobotState


class ControlInputs:
    """Subscriptions of the robot's state and of the cameras' stamps.

    A message that cannot be used counts as not received, and its error is the reason when the
    input grows stale. A stamp that does not advance does not make an input younger.
    """

    def __init__(self, node: Node, robot: Embodiment, log: ChangeLogger) -> None:
        self._node, self._robot, self._log = node, robot, log
        self._cameras = ControlCameras(
            node, robot, log, joints=lambda: self.state.joint_positions, now_ns=self._now_ns
        )
        self._topics = RobotTopics(node, robot, self)
        self.clear()

    def clear(self) -> None:
        """Forget everything, after the clock jumped."""
        self.state = RobotState()
        self._cameras.clear()
        self._topics.clear()
        self._pose_ns: dict[str, int] = {}
        self._errors: dict[str, str] = {}

    def close(self) -> None:
        """Stop listening."""
        self._cameras.close()
        self._topics.close()

    def inputs(self) -> InputStamps:
        """The stamps of the newest inputs."""
        return InputStamps(
            joint_ns=self.state.joint_ns,
            ee_ns=self.state.ee_ns,
            cameras=MappingProxyType(self._cameras.stamps()),
            still=MappingProxyType(self._cameras.still()),
            errors=MappingProxyType(dict(self._errors)),
            conflict=self._cameras.swapped() or self._beyond(),
        )

    def _beyond(self) -> Reason | None:
        """The reason if measured joints are outside their ranges; mostly a robot in degrees."""
        positions = self.state.joint_positions
        detail = None if positions is None else joint_out_of_range(self._robot, positions)
        return None if detail is None else Reason("joint_beyond", detail)

    def on_joints(self, stamp_ns: int, values: Array) -> None:
        topic = self._robot.joints.topic
        self._accept(STALE_JOINTS, topic)
        old = self.state
        if not _newer(stamp_ns, old.joint_ns):
            return
        joints = len(self._robot.joint_names)
        read = zip(self._topics.joint_columns[joints:], values[joints:], strict=True)
        grippers = {name: float(opening) for name, opening in read}
        self.state = RobotState(values[:joints], stamp_ns, old.poses, old.ee_ns, grippers)

    def on_pose(self, tool: str, stamp_ns: int, pose: Array) -> None:
        self._accept(STALE_POSE, self._robot.poses[tool].topic)
        if not _newer(stamp_ns, self._pose_ns.get(tool)):
            return
        self._pose_ns[tool] = stamp_ns
        # A robot with two arms is as stale as the arm whose state is older.
        heard = len(self._pose_ns) == len(self._robot.poses)
        oldest_ns = min(self._pose_ns.values()) if heard else None
        self.state = replace(self.state, poses={**self.state.poses, tool: pose}, ee_ns=oldest_ns)

    def on_refused(self, tool: str | None, topic: str, error: ValueError) -> None:
        code = STALE_JOINTS if tool is None else STALE_POSE
        self._errors[code] = str(error)
        self._log.problem(topic, "refused", f"ignored: {error}")

    def check_stamp(self, stamp_ns: int, topic: str) -> None:
        require_past(stamp_ns, self._now_ns(), topic)

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _accept(self, code: str, topic: str) -> None:
        self._errors.pop(code, None)
        self._log.fine(topic, f"{topic}: accepted again")


def _newer(stamp_ns: int, newest_ns: int | None) -> bool:
    return newest_ns is None or stamp_ns > newest_ns
