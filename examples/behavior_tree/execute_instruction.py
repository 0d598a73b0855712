"""A leaf of a behaviour tree that follows one instruction; run alone, it gives the robot one after the other.

python examples/behavior_tree/execute_instruction.py "pick up the red cube" "put it in the tray"
"""

import sys
import time
from enum import Enum

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.node import Node
from vla_policy.action import ExecuteInstruction

TIMEOUT_S, SERVER_S = 30.0, 10.0


class Status(Enum):
    """What a tick gives, as every behaviour tree has it."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"


class InstructionLeaf:
    """start it once, tick it until it is no longer RUNNING, halt it when another branch is taken. Who spins the node: you."""

    def __init__(self, node: Node, instruction: str, timeout_s: float = TIMEOUT_S) -> None:
        self._client = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._goal = ExecuteInstruction.Goal(
            instruction=instruction, timeout=Duration(seconds=timeout_s).to_msg()
        )
        self._asked = self._handle = self._ended = None
        self.message = ""

    def start(self) -> None:
        """Ask for the goal as soon as there is a task node."""
        self._asked = self._handle = self._ended = None
        self._since_s = time.monotonic()

    def tick(self) -> Status:
        """How it stands; message says more once it has ended."""
        if self._asked is None:
            if self._client.server_is_ready():
                self._asked = self._client.send_goal_async(self._goal)
            elif time.monotonic() - self._since_s > SERVER_S:
                return self._end(False, "no task node; is the robot up?")
        elif self._ended is None and self._asked.done():
            self._handle = self._asked.result()
            if not self._handle.accepted:
                return self._end(False, "refused; the topic instruction_outcome says why")
            self._ended = self._handle.get_result_async()
        elif self._ended is not None and self._ended.done():
            answer = self._ended.result()
            done = answer.status == GoalStatus.STATUS_SUCCEEDED
            done = done and answer.result.outcome == ExecuteInstruction.Result.DONE
            return self._end(done, answer.result.message)
        return Status.RUNNING

    def halt(self) -> None:
        """Cancel what runs; the robot holds."""
        if self._asked is not None and (self._ended is None or not self._ended.done()):
            self._asked.add_done_callback(_cancel)  # at once, or as soon as the goal is accepted

    def _end(self, done: bool, message: str) -> Status:
        self.message = message
        return Status.SUCCESS if done else Status.FAILURE


def _cancel(asked) -> None:
    if asked.result().accepted:
        asked.result().cancel_goal_async()


def main(instructions: list[str]) -> int:
    """A sequence: each instruction after the one before succeeded; 0 if all did."""
    rclpy.init()
    try:
        node = rclpy.create_node("behavior_tree")
        for instruction in instructions:
            leaf = InstructionLeaf(node, instruction)
            leaf.start()
            while (status := leaf.tick()) is Status.RUNNING:
                rclpy.spin_once(node, timeout_sec=0.1)
            print(f"{instruction}: {status.value}: {leaf.message}", flush=True)
            if status is Status.FAILURE:
                return 1
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
