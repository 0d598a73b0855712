"""Stands in for the policy node: while an instruction is active, plans a slow straight way ahead.

Its chunks reach five seconds ahead, far beyond the age at which the control node must drop them.
"""

import sys

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import String
from vla_policy.msg import ActionChunk as ActionChunkMsg

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.run_node import run_node
from vla_policy.types import ActionChunk

SPEED_M_S = 0.04  # to the robot's left
ROWS = 50
PERIOD_NS = 400_000_000


class SteadyPolicy(Node):
    def __init__(self):
        super().__init__("policy")
        self.robot = load_embodiment("vx300s")
        self.instruction, self.sequence, self.last_ns = "", 0, 0
        self.chunks = self.create_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
        self.create_subscription(String, "active_instruction", self.on_instruction, qos.ACTIVE)
        self.create_subscription(PoseStamped, self.robot.ee_pose.topic, self.on_pose, qos.SENSOR)

    def on_instruction(self, msg):
        self.instruction = msg.data

    def on_pose(self, msg):
        stamp_ns = convert.ns_from_stamp(msg.header.stamp)
        if not self.instruction or stamp_ns - self.last_ns < PERIOD_NS:
            return
        self.last_ns = stamp_ns
        pose = convert.pose_from_msg(msg, self.robot.base_frame, "ee_pose")
        rows = np.tile([*pose, 1.0], (ROWS, 1))
        rows[:, 1] += SPEED_M_S * (np.arange(ROWS) + 1) * self.robot.step_ns / 1e9
        chunk = ActionChunk(
            rows,
            self.robot.action_names,
            stamp_ns,
            self.robot.step_ns,
            self.sequence,
            self.instruction,
        )
        self.sequence += 1
        self.chunks.publish(convert.chunk_to_msg(chunk, frame_id=self.robot.base_frame))


sys.exit(run_node(SteadyPolicy))
