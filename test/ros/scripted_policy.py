"""Stands in for the policy node of any robot: moves every part a little, works the hand, and is done.

It speaks the robot's own action contract: absolute rows, steps or velocities. First argument: the
robot's description.
"""

import sys

import numpy as np
from rclpy.node import Node
from std_msgs.msg import String
from vla_policy.msg import ActionChunk as ActionChunkMsg

from vla_policy.embodiment import load_embodiment
from vla_policy.ros import convert, qos
from vla_policy.ros.lifecycle import run_node
from vla_policy.ros.policy_inputs import PolicyInputs
from vla_policy.ros.warn import OnChange
from vla_policy.types import ActionChunk

ROWS_S = 0.8  # how far a chunk reaches
EVERY_NS = 300_000_000
MOVES_NS = 3_000_000_000
ENDS_NS = 4_000_000_000
JOINT_PER_S, METRES_PER_S, RADIANS_PER_S = 0.12, 0.03, 0.05


class ScriptedPolicy(Node):
    def __init__(self):
        super().__init__("policy")
        self.robot = load_embodiment(sys.argv[1])
        self.instruction, self.sequence = "", 0
        self.begun_ns = self.last_ns = None
        self.state = {}
        self.streams = {}
        self.chunks = self.create_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
        self.create_subscription(String, "active_instruction", self.on_instruction, qos.ACTIVE)
        self.inputs = PolicyInputs(self, self.robot, OnChange(self.get_logger()), self.on_input)
        self.create_timer(0.05, self.on_timer)

    def on_instruction(self, msg):
        self.instruction, self.begun_ns = msg.data, None

    def on_input(self, stream, stamp_ns, value):
        self.streams[stream.topic] = stamp_ns
        for source in self.inputs.states:
            if source.stream is stream:
                self.state |= dict(zip(source.names, value, strict=True))

    def on_timer(self):
        cameras = {stream.topic for stream in self.inputs.cameras.values()}
        seen = cameras <= set(self.streams) and set(self.robot.state_names) <= set(self.state)
        if not self.instruction or not seen:
            return
        obs_ns = min(self.streams[topic] for topic in cameras)
        if self.begun_ns is None:
            self.begun_ns, self.last_ns = obs_ns, 0
        if obs_ns - self.last_ns < EVERY_NS:
            return
        self.last_ns = obs_ns
        since_ns = obs_ns - self.begun_ns
        self.publish(obs_ns, moving=since_ns < MOVES_NS, done=since_ns > ENDS_NS)

    def publish(self, obs_ns, *, moving, done):
        robot = self.robot
        rows = max(2, round(ROWS_S * robot.policy_hz))
        steps = (np.arange(rows) + 1.0)[:, None] / robot.policy_hz * moving
        opening = float((obs_ns - self.begun_ns) // 1_500_000_000 % 2)
        columns = [self.rows_of(group, steps, opening) for group in robot.actions]
        chunk = ActionChunk(
            np.concatenate(columns, axis=1), robot.action_names, obs_ns, robot.step_ns,
            self.sequence, self.instruction, terminate=done,
        )  # fmt: skip
        self.sequence += 1
        self.chunks.publish(convert.chunk_to_msg(chunk, frame_id=robot.base_frame))

    def rows_of(self, group, steps, opening):
        """float64[t, n] of one group. steps: float64[t, 1], seconds from the observation."""
        width = len(group.names)
        if group.space == "gripper":
            return np.full((len(steps), 1), opening)
        if group.space == "joint_position":
            here = np.array([self.state[name] for name in group.names])
            return here + steps * JOINT_PER_S
        if group.space == "joint_delta":
            return np.tile(np.diff(steps, axis=0, prepend=0.0) * JOINT_PER_S, (1, width))
        if group.space in ("ee_twist", "base_twist"):
            moving = float(steps[-1, 0] > 0.0)
            return np.full((len(steps), width), moving * METRES_PER_S)
        tool = group.names[0].rpartition(".")[0]
        way = np.array([[0.0, METRES_PER_S, 0.0]])
        if group.space == "ee_delta":
            turn = np.array([[0.0, 0.0, RADIANS_PER_S]])
            each = np.diff(steps, axis=0, prepend=0.0)
            return np.concatenate((each * way, each * turn), axis=1)
        pose = np.array(
            [self.state[f"{tool}.{n}"] for n in ("x", "y", "z", "qx", "qy", "qz", "qw")]
        )
        rows = np.tile(pose, (len(steps), 1))
        rows[:, :3] += steps * way
        return rows


sys.exit(run_node(ScriptedPolicy, args=sys.argv[2:]))
