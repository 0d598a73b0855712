"""The robot of a scenario: a controller behind each topic, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .controllers import BASE_TIMEOUT_NS, SERVO_TIMEOUT_NS, Channel
from .description import BASE, GOALS, HAND, JOINTS, TOOL, TWIST, Described, Group


@dataclass(frozen=True)
class Sent:
    """One message on one topic. values: what it commands (of a trajectory its first point).

    here: where its part was when it was heard. ignored: while a hand leads, no controller follows.
    """

    time_ns: int
    values: np.ndarray
    here: np.ndarray
    ignored: bool = False
    refused: str | None = None


class World:
    """channels: by group. sent: messages by group, in order. led_until: of each group, by a hand."""

    def __init__(self, robot: Described, start: dict[str, np.ndarray], latency_ns: int) -> None:
        self.robot, self.latency_ns = robot, latency_ns
        self.offset_ns = 0  # of the clock of all programs against steady time
        self.now_ns = 0  # steady
        self.channels = {g.name: Channel(start[g.name]) for g in robot.groups}
        self.sent: dict[str, list[Sent]] = {g.name: [] for g in robot.groups}
        self.led_until = {g.name: -1 for g in robot.groups}
        self._by_topic = {g.topic: g for g in robot.groups}

    def hear(self, topic: str, message: Any) -> None:
        """A message of ours, latency_ns later at its controller."""
        group = self._by_topic[topic]
        now_ns = self.now_ns + self.latency_ns
        channel = self.channels[group.name]
        here, _ = channel.at(now_ns)
        ignored = now_ns <= self.led_until[group.name]
        before = len(channel.plays)
        values, refused = self._take(group, channel, message, now_ns)
        if ignored and len(channel.plays) > before:
            channel.plays.pop()
            channel._starts.pop()
        self.sent[group.name].append(Sent(now_ns, values, here, ignored, refused))

    def _take(self, group: Group, channel: Channel, message: Any, now_ns: int):
        kind = group.output["type"]
        if kind == "joint_trajectory":
            return self._trajectory(group, channel, message, now_ns)
        if kind in GOALS:
            position = message.command.position
            target = self._opening(group, np.atleast_1d(np.array(position, dtype=float)))
            far_s = abs(float((target - channel.at(now_ns)[0])[0])) / group.speed[0]
            if np.isfinite(target).all():
                channel.step(now_ns, target, round(1e9 * far_s) + 1_000_000)
            return target, None
        if kind == "float64_multi_array":
            target = np.array(message.data, dtype=float)
            if group.kind == HAND:
                target = np.array([self._opening(group, target[0])])
            if len(target) != len(channel.plays[0].positions[0]):
                return target, "another number of joints"
            if not np.isfinite(target).all():
                return target, None
            channel.step(now_ns, target, self.robot.period_ns)
            return target, None
        if group.kind == TOOL:
            p, q = message.pose.position, message.pose.orientation
            target = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
            if message.header.frame_id != self.robot.frame:
                return target, "another frame"
            if np.isfinite(target).all():
                channel.step(now_ns, target, self.robot.period_ns)
            return target, None
        return self._twist(group, channel, message, now_ns)

    def _twist(self, group: Group, channel: Channel, message: Any, now_ns: int):
        linear, angular = message.twist.linear, message.twist.angular
        velocity = np.array(
            [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z], dtype=float
        )
        servo = group.output["type"] == "servo_twist"
        timeout_ns = SERVO_TIMEOUT_NS if servo else BASE_TIMEOUT_NS
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if now_ns + self.offset_ns - stamp_ns >= timeout_ns:
            return velocity, "an old stamp"
        if np.isfinite(velocity).all():
            channel.drive(now_ns, velocity, timeout_ns)
        return velocity, None

    def _trajectory(self, group: Group, channel: Channel, message: Any, now_ns: int):
        names = self._trajectory_names(group)
        if sorted(message.joint_names) != sorted(names):
            return np.zeros(0), f"joints {list(message.joint_names)}"
        order = [list(message.joint_names).index(n) for n in names]
        points = np.array([p.positions for p in message.points], dtype=float)[:, order]
        rates = np.array([p.velocities for p in message.points], dtype=float)[:, order]
        if group.kind == HAND:
            points = self._opening(group, points[:, :1])
            rates = rates[:, :1] / (group.output["open"] - group.output["closed"])
        if not (np.isfinite(points).all() and np.isfinite(rates).all()):
            return np.full(points.shape[1], np.nan), None
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        times = [p.time_from_start.sec * 10**9 + p.time_from_start.nanosec for p in message.points]
        # The controller reads the same clock; here everything is kept in steady time.
        stamp_ns = 0 if stamp == 0 else stamp - self.offset_ns
        refused = channel.trajectory(now_ns, stamp_ns, times, points, rates)
        return points[0], refused

    def _trajectory_names(self, group: Group) -> list[str]:
        prefix = group.output.get("prefix", "")
        if group.kind == HAND:
            names = [group.output["joint"], *group.output.get("also", ())]
        else:
            names = [self.robot.joint_names[i] for i in group.joints]
        return [n.removeprefix(prefix) for n in names]

    def _opening(self, group: Group, position):
        """0 closed to 1 open of a joint's position."""
        return (position - group.output["closed"]) / (
            group.output["open"] - group.output["closed"]
        )

    def measured(self, time_ns: int, rng: np.random.Generator, noise: float):
        """joints float64[j], poses by tool, openings by gripper, as they were at a steady time."""
        robot = self.robot
        joints = (robot.lower + robot.upper) / 2
        poses = {tool: np.array([0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0]) for tool in robot.tools}
        openings = {}
        for group in robot.groups:
            here, _ = self.channels[group.name].at(time_ns)
            if group.kind == JOINTS:
                joints[list(group.joints)] = here + noise * rng.standard_normal(len(here))
            elif group.kind == TOOL:
                pose = here + 0.3 * noise * rng.standard_normal(7)
                pose[3:] /= np.linalg.norm(pose[3:])
                poses[group.source] = pose
            elif group.kind == TWIST:
                pose = np.zeros(7)
                pose[:3] = here[:3] + 0.3 * noise * rng.standard_normal(3)
                pose[3:] = turned(here[3:])
                poses[group.source] = pose
            elif group.kind == HAND:
                openings[group.source] = float(here[0])
        return joints, poses, openings

    def velocity_groups(self) -> tuple[Group, ...]:
        return self.robot.of_kind(TWIST, BASE)


def turned(angles: np.ndarray) -> np.ndarray:
    """A quaternion xyzw of a rotation vector."""
    angle = float(np.linalg.norm(angles))
    if angle < 1e-9:
        return np.array([0.0, 0.0, 0.0, 1.0])
    return np.append(np.sin(angle / 2) * angles / angle, np.cos(angle / 2))
