"""The topics of a robot's frames, and the values in their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vla_policy.data.alignment import StampedValue
from vla_policy.data.output_commands import output_decoders
from vla_policy.data.streams import CommandReport, Decoder, Message
from vla_policy.data.transforms import TF, TF_STATIC, Transforms
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.forward_kinematics import ForwardKinematics
from vla_policy.embodiment.spaces import POSE_PARTS
from vla_policy.runtime.joint_states import JointStateMerger
from vla_policy.timing import ns_from_s
from vla_policy.types import Array, RobotState

REPORTS, ACTIVE_INSTRUCTION, SIM_EVENT = "control_command", "active_instruction", "sim_event"
POINTED_PLACE = "pointed_place"
JOINTS = "joints"


def absolute(name: str, namespace: str = "/") -> str:
    """The full name of a topic; namespace: of relative names."""
    return name if name.startswith("/") else f"{namespace.rstrip('/')}/{name}"


@dataclass(frozen=True, slots=True)
class Topics:
    """Full names. cameras: topic -> camera. joints: topic -> name in the robot file. poses: topic -> tool.

    frames: tool -> its frame in tf. outputs: topic -> action group, of the controllers' topics.
    """

    cameras: Mapping[str, str]
    joints: Mapping[str, str]
    poses: Mapping[str, str]
    frames: Mapping[str, str]
    outputs: Mapping[str, str]
    reports: str
    instruction: str

    @property
    def own(self) -> tuple[str, ...]:
        """Topics of the robot alone, without tf, which is shared."""
        return (*self.cameras, *self.joints, *self.poses)

    @property
    def needed(self) -> tuple[str, ...]:
        """Topics without which no frame can be made."""
        return (*self.own, *((TF,) if self.frames else ()))

    @property
    def states(self) -> tuple[str, ...]:
        """Topics of joints and tools."""
        return (*self.joints, *self.poses, *((TF, TF_STATIC) if self.frames else ()))


def topics_of(robot: Embodiment, namespace: str = "/") -> Topics:
    """The topics of a robot's frames."""

    def full(name: str) -> str:
        return absolute(name, namespace)

    return Topics(
        cameras={full(camera.topic): name for name, camera in robot.cameras.items()},
        joints={full(topic): topic for topic in robot.joints.topics},
        poses={full(s.topic): tool for tool, s in robot.poses.items() if s.kind == "topic"},
        frames={tool: s.frame for tool, s in robot.poses.items() if s.kind == "tf"},
        outputs={full(output.topic): group for group, output in robot.outputs.items()},
        reports=full(REPORTS),
        instruction=full(ACTIVE_INSTRUCTION),
    )


def max_ages_ns(robot: Embodiment) -> dict[str, int]:
    """Stream -> maximum age of its sample: cameras, 'joints', tools with a topic or a frame."""
    ages = {name: camera.max_age_s for name, camera in robot.cameras.items()}
    ages[JOINTS] = robot.joints.max_age_s
    ages |= {t: s.max_age_s for t, s in robot.poses.items() if s.kind in ("topic", "tf")}
    return {name: ns_from_s(age) for name, age in ages.items()}


class StateReader:
    """Samples of the robot's own streams from messages, and the state from samples of one time.

    Raises ValueError if the pose of a tool comes from a model that is not available.
    """

    def __init__(self, robot: Embodiment, topics: Topics, decoder: Decoder) -> None:
        self._robot, self._topics, self._decoder = robot, topics, decoder
        self._merger = JointStateMerger(robot)
        models = {t: s for t, s in robot.poses.items() if s.kind == "model"}
        self._models = {t: ForwardKinematics(robot, s.frame) for t, s in models.items()}
        self._transforms = Transforms()
        self._looked_up: dict[str, int] = {}  # tool -> stamp of its newest pose from tf

    def forget(self) -> None:
        """Forget everything but static transforms, after the clock jumped."""
        self._merger.clear()
        self._transforms.forget()
        self._looked_up.clear()

    def samples(self, message: Message) -> list[tuple[str, StampedValue[Array]]]:
        """(stream, sample) of a message of Topics.states; none while joints or links are missing.

        Raises ValueError for an invalid one.
        """
        if message.topic in (TF, TF_STATIC):
            return self._of_frames(message)
        lag_ns = message.received_ns - message.stamp_ns
        if message.topic in self._topics.joints:
            names, positions = self._decoder.joints(message)
            topic = self._topics.joints[message.topic]
            found = self._merger.add(topic, names, positions.tolist(), message.stamp_ns)
            return [] if found is None else [(JOINTS, StampedValue(found[0], found[1], lag_ns))]
        tool = self._topics.poses[message.topic]
        pose = self._decoder.pose(message, self._robot.base_frame)
        return [(tool, StampedValue(message.stamp_ns, pose, lag_ns))]

    def _of_frames(self, message: Message) -> list[tuple[str, StampedValue[Array]]]:
        """A sample of each tool whose newest pose is newer than before.

        An invalid transform is refused only if the message yields no sample: others use the same
        topic for their own frames.
        """
        links = self._decoder.transforms(message)
        problem = self._transforms.add(links, is_static=message.topic == TF_STATIC)
        found = []
        for tool, frame in self._topics.frames.items():
            newest = self._transforms.newest(self._robot.base_frame, frame)
            if newest is not None and newest[0] > self._looked_up.get(tool, -1):
                self._looked_up[tool] = newest[0]
                found.append((tool, StampedValue(*newest, message.received_ns - newest[0])))
        if problem and not found:
            raise ValueError(problem)
        return found

    def robot_state(self, values: Mapping[str, Array]) -> RobotState:
        """The robot at one time; values: stream -> sample, of the joints and every tool with a topic or a frame."""
        count = len(self._robot.joint_names)
        joints = values[JOINTS][:count]
        openings = zip(self._merger.names[count:], values[JOINTS][count:], strict=True)
        poses = {t: values[t] for t in (*self._topics.poses.values(), *self._topics.frames)}
        poses |= {tool: model.pose(joints) for tool, model in self._models.items()}
        return RobotState(
            joint_positions=joints,
            poses={tool: poses[tool] for tool in self._robot.poses},
            grippers={name: float(value) for name, value in openings},
        )

    def state(self, robot: RobotState) -> Array:
        """float32[s] in the order of Embodiment.state_names."""
        told = () if robot.joint_positions is None else robot.joint_positions
        values = dict(zip(self._merger.names, told, strict=False))
        values |= robot.grippers
        for tool, pose in robot.poses.items():
            values |= {f"{tool}.{part}": v for part, v in zip(POSE_PARTS, pose, strict=True)}
        unknown = [name for name in self._robot.state_names if name not in values]
        if unknown:
            raise ValueError(
                f"robot {self._robot.name!r}: no input gives the state {', '.join(unknown)}"
            )
        return np.array([values[name] for name in self._robot.state_names], dtype=np.float32)


class CommandReader:
    """Commands from control_command; from_outputs: from the controllers' own topics."""

    def __init__(
        self, robot: Embodiment, topics: Topics, decoder: Decoder, *, from_outputs: bool
    ) -> None:
        self._decoder, self._reports = decoder, topics.reports
        self._read: Mapping[str, Callable[[Message], CommandReport]] = (
            output_decoders(robot, topics.outputs, decoder) if from_outputs else {}
        )
        self.topics: Iterable[str] = tuple(self._read) if from_outputs else (topics.reports,)

    def sample(self, message: Message) -> StampedValue[CommandReport]:
        """Raises ValueError for an invalid message."""
        read = self._read.get(message.topic, self._decoder.control_command)
        report = read(message)
        return StampedValue(report.stamp_ns, report, message.received_ns - message.stamp_ns)
