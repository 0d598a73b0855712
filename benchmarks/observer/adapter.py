"""The only file that knows the product: its control node's own methods, driven without ROS.

ControlNode decides what becomes of each message, service call and transition; here it is given a clock,
inputs and publishers by hand. What it publishes goes to the world's controllers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from rclpy.lifecycle.managed_entity import SimpleManagedEntity
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from vla_policy.embodiment import load_embodiment
from vla_policy.execution.schemes import SCHEMES
from vla_policy.ros.inputs.chunk_sources import ChunkSources
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes import control_node as product
from vla_policy.ros.nodes.control_status import Measured
from vla_policy.ros.outputs import goals, servo
from vla_policy.ros.outputs.outputs import Outputs
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.control import Control
from vla_policy.runtime.control_mode import POLICY, TELEOP
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import robot_of
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, RobotState

ALL_SCHEMES = tuple(SCHEMES)
Hear = Callable[[str, Any], None]


@cache
def robot(file: Path) -> Any:
    """The robot of a file as the product executes it. Raises ValueError with its refusal."""
    return robot_of(load_embodiment(file))


class Node(product.ControlNode):
    """A control node without ROS. hear(topic, message): gets what it publishes. now_ns: its clock.

    wait(ns): lets virtual time pass where the node's own code sleeps.
    """

    def __init__(
        self,
        file: Path,
        hear: Hear,
        *,
        scheme: str,
        change: str,
        now_ns: int,
        wait: Callable[[int], None],
    ) -> None:
        for owner, name, value in STAND_INS:
            setattr(owner, name, value)
        self.now_ns, self._hear, self.wait = now_ns, hear, wait
        self.raised: list[str] = []
        self._managed_entities: set[Any] = set()
        self._params = SimpleNamespace(
            shadow=False, stand_in=False, scheme=scheme, instruction_change=change
        )
        self._log = ChangeLogger(_Quiet(self.raised))
        self._robot, self._control = robot(file), Control(scheme=scheme)
        self._inactive: str | None = product.NOT_ACTIVE
        self._engage_soon = self._by_itself = False
        self._teller = _Teller()
        self._timer = SimpleNamespace(cancel=_nothing, reset=_nothing)
        self._takeover, self._inputs = _Takeover(), _Heard()
        self._stand_in = SimpleNamespace(problem=_nothing, settled=False)
        self._sources, self._endpoints = _sources(), []
        self._report = SimpleNamespace(publish=_nothing)
        self._commands = Outputs(self, self._robot.embodiment, self._log)

    # What happens to a node.

    def tick(self, now_ns: int) -> None:
        self.now_ns = now_ns
        if self._inactive is None:
            self._guarded(self._on_tick)()

    def see(self, seen: Seen) -> None:
        """The newest inputs."""
        self._inputs.see(seen)

    def chunk(self, chunk: ActionChunk | Any, source: bytes = b"policy") -> None:
        message = chunk
        if isinstance(chunk, ActionChunk):
            message = convert.chunk_to_msg(chunk, frame_id=self._robot.embodiment.base_frame)
        self._guarded(self._on_chunk)(POLICY, message, {"publisher_gid": {"data": source}})

    def instruct(self, words: str) -> None:
        self._guarded(self._on_instruction)(String(data=words))

    def engage(self, on: bool) -> bool:
        """Whether the call succeeded."""
        return self._on_engage(SetBool.Request(data=on), SetBool.Response()).success

    def stop(self) -> None:
        self._on_stop(Trigger.Request(), Trigger.Response())

    def reset(self) -> bool:
        return self._on_reset(Trigger.Request(), Trigger.Response()).success

    def activate(self) -> None:
        self.on_activate(None)

    def deactivate(self) -> None:
        _clock.node = self
        self.on_deactivate(None)

    def shutdown(self) -> None:
        _clock.node = self
        self.on_shutdown(None)

    def configure_again(self) -> None:
        """After cleanup: as on_configure does, which reads files and opens topics."""
        self._control = Control(
            guard=GuardState(stopped=self._control.guard.stopped), scheme=self._params.scheme
        )
        self._sources = _sources()

    def told_of_other(self, topic: str) -> None:
        """Somebody else has commanded on topic."""
        self._takeover.topic = topic

    @property
    def active(self) -> bool:
        return self._inactive is None

    @property
    def engaged(self) -> bool:
        """As control_status tells."""
        return self._control.guard.engaged

    @property
    def says(self) -> str:
        """Level and reasons of the last verdict, for the verbose account; nothing is judged by it."""
        last = self._teller.last
        if last is None:
            return "-"
        return f"{last.level.name} {','.join(r.code for r in last.reasons)}"

    # What ROS does for a node.

    def _now_ns(self) -> int:
        return self.now_ns

    def _release(self) -> None:
        pass

    def get_logger(self) -> Any:
        return _Quiet(self.raised)

    def resolve_topic_name(self, topic: str, **_known: Any) -> str:
        return topic

    def count_publishers(self, _topic: str) -> int:
        return 2

    def create_lifecycle_publisher(self, _kind: type, topic: str, _quality: Any) -> Any:
        publisher = _Publisher(topic, self._hear)
        self._managed_entities.add(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: Any) -> None:
        self._managed_entities.discard(publisher)

    def create_client(self, _kind: type, _name: str) -> Any:
        return SimpleNamespace(service_is_ready=lambda: True, call_async=lambda _: _Answer())

    def create_timer(self, *_args: Any, **_known: Any) -> Any:
        return SimpleNamespace(cancel=_nothing, reset=_nothing)

    def destroy_client(self, _client: Any) -> None:
        pass

    def destroy_timer(self, _timer: Any) -> None:
        pass

    def __repr__(self) -> str:
        return "Node"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _sources() -> dict[str, ChunkSources]:
    """As on_configure makes them."""
    return {POLICY: ChunkSources("policies"), TELEOP: ChunkSources("operators")}


@dataclass(frozen=True)
class Seen:
    """What a node has heard of the robot. Stamps are of its clock."""

    joints: np.ndarray | None
    joint_ns: int | None
    poses: dict[str, np.ndarray]
    pose_ns: int | None
    openings: dict[str, float]
    cameras: dict[str, int]


class _Heard:
    """ControlInputs without subscriptions."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.state, self._cameras = RobotState(), MappingProxyType({})

    def see(self, seen: Seen) -> None:
        self.state = RobotState(
            seen.joints, seen.joint_ns, seen.poses, seen.pose_ns, seen.openings
        )
        self._cameras = MappingProxyType(dict(seen.cameras))

    def inputs(self) -> InputStamps:
        state = self.state
        return InputStamps(joint_ns=state.joint_ns, ee_ns=state.ee_ns, cameras=self._cameras)


class _Takeover:
    topic: str | None = None

    def heard(self, _now_ns: int) -> str | None:
        topic, self.topic = self.topic, None
        return topic

    def against(self, _now_ns: int) -> tuple[str, ...]:
        return ()


class _Publisher(SimpleManagedEntity):
    """A lifecycle publisher: nothing goes out while its node is not active."""

    def __init__(self, topic: str, hear: Hear) -> None:
        super().__init__()
        self._topic, self._hear = topic, hear

    def publish(self, message: Any) -> None:
        if self.is_activated:
            self._hear(self._topic, message)

    def wait_for_all_acked(self, _duration: Any) -> bool:
        return True


class _ActionClient:
    """Stands in for rclpy's in outputs/goals.py."""

    def __init__(self, node: Node, _kind: type, action: str) -> None:
        self._node, self._action = node, action

    def server_is_ready(self) -> bool:
        return True

    def send_goal_async(self, goal: Any) -> Any:
        self._node._hear(self._action, goal)
        return _Answer()

    def destroy(self) -> None:
        pass


class _Answer:
    """A future that is done: success."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return SimpleNamespace(success=True, accepted=True)


class _Teller:
    def __init__(self) -> None:
        self.measured, self.last = Measured(), None

    def take(self, verdict: Any) -> None:
        self.last = verdict

    def __getattr__(self, name: str) -> Any:
        if name in ("tick", "tell", "rest", "start"):
            return _nothing
        raise AttributeError(name)


class _Quiet:
    """A logger that keeps only what is fatal: exceptions in the node's own code."""

    def __init__(self, fatal: list[str]) -> None:
        self._fatal = fatal

    def __getattr__(self, name: str) -> Any:
        return self._fatal.append if name == "fatal" else _nothing


def _nothing(*_args: Any, **_known: Any) -> None:
    return None


class _Clock:
    """Stands in for the module time in the control node: sleeping is virtual."""

    node: Node | None = None

    def monotonic(self) -> float:
        return 0.0 if self.node is None else self.node.now_ns / 1e9

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.node.wait(round(1e9 * seconds))


def _command_type(_needed_by: str) -> type:
    """MoveIt Servo's service type, where its messages are not installed."""

    class Request:
        TWIST, POSE = 1, 2

        def __init__(self, command_type: int = 0) -> None:
            self.command_type = command_type

    return type("ServoCommandType", (), {"Request": Request})


def _goal_type(kind: str, _needed_by: str) -> type:
    """A gripper's action type, where its messages are not installed."""

    class Goal:
        def __init__(self) -> None:
            self.command = SimpleNamespace(position=0.0, max_effort=0.0)

    return type(kind, (), {"Goal": Goal})


_clock = _Clock()
# What the product has instead of clocks and messages once a node was made; a test puts back what was there.
STAND_INS: tuple[tuple[Any, str, Any], ...] = (
    (product, "time", _clock),
    (goals, "ActionClient", _ActionClient),
    (goals, "gripper_action", _goal_type),
    (servo, "servo_command_type", _command_type),
)
