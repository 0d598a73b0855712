"""Stands in for the policy node of any robot: moves every part a little, works the hand, and is done.

It speaks the robot's own action contract: absolute rows, steps or velocities. First argument: the
robot's description.
"""

import sys

from rclpy.node import Node
from scripted_rows import ENDS_NS, actions_of
from std_msgs.msg import String
from vla_policy.msg import ActionChunk as ActionChunkMsg

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.inputs.policy_inputs import PolicyInputs
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.run_node import run_node
from vla_policy.types import ActionChunk

EVERY_NS = 300_000_000


class ScriptedPolicy(Node):
    def __init__(self):
        super().__init__("policy")
        self.robot = load_embodiment(sys.argv[1])
        self.instruction, self.sequence = "", 0
        self.last_ns, self.since_ns = None, 0
        self.state = {}
        self.streams = {}
        self.chunks = self.create_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
        self.create_subscription(String, "active_instruction", self.on_instruction, qos.ACTIVE)
        self.inputs = PolicyInputs(
            self, self.robot, ChangeLogger(self.get_logger()), self.on_input
        )
        self.create_timer(0.05, self.on_timer)

    def on_instruction(self, msg):
        self.instruction, self.last_ns = msg.data, None

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
        if self.last_ns is None:
            self.since_ns = 0
        elif obs_ns - self.last_ns < EVERY_NS:
            return
        else:  # a machine that stalls takes no part of the motion away
            self.since_ns += min(obs_ns - self.last_ns, 2 * EVERY_NS)
        self.last_ns = obs_ns
        robot, since_ns = self.robot, self.since_ns
        chunk = ActionChunk(
            actions_of(robot, self.state, since_ns), robot.action_names, obs_ns, robot.step_ns,
            self.sequence, self.instruction, terminate=since_ns > ENDS_NS,
        )  # fmt: skip
        self.sequence += 1
        self.chunks.publish(convert.chunk_to_msg(chunk, frame_id=robot.base_frame))


sys.exit(run_node(ScriptedPolicy, args=sys.argv[2:]))
