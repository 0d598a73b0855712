"""The simulated robot, with the topics of a real one; a real robot replaces this node.

The other nodes use its clock only with `use_sim_time`.
"""

from __future__ import annotations

import time
from array import array
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

import rclpy
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from vla_policy.embodiment import load_embodiment
from vla_policy.msg import SimEvent, SimState
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.params import follow_params, param
from vla_policy.ros.process.run_node import NodeEnds, run_node
from vla_policy.ros.simulation.sim_topics import Sensors, SimControllers
from vla_policy.sim.realtime import SimConfig, SimLoop, Snapshot
from vla_policy.sim.scenes.scene import SPLITS
from vla_policy.sim.twin import find_twin
from vla_policy.srv import SetScene

FIRST_SCENE_TIMEOUT_S = 90.0  # a busy machine builds the model slowly
SCENE_TIMEOUT_S = 20.0
SLOW, FULL = (
    0.8,
    0.95,
)  # shares of the requested pace: below the first a warning, above the second recovered


@dataclass(frozen=True, slots=True)
class SimParams:
    """Parameters of the node."""

    embodiment: str = param("vx300s", "robot whose topics are spoken, by name or path")
    seed: int = param(0, "of the first scene", low=0, high=2**31 - 1)
    instruction: str = param("", "task that is judged first; empty: one drawn from the seed")
    rate: float = param(1.0, "simulated seconds per wall second", low=0.05, high=20.0)
    split: str = param("train", "which kind of scenes a seed draws", choices=SPLITS)
    renderer: str = param("auto", "camera backend: auto, egl, osmesa or raycast")
    image_px: int = param(96, "width and height of the policy's images", low=16, high=1024)
    disturbed: bool = param(
        False,
        "the robot follows its commands with errors, and does not always begin at home with its hand open, for "
        "demonstrations that show recoveries",
    )


class SimNode(Node):
    """Publishes what a robot publishes and follows the same commands."""

    def __init__(self) -> None:
        super().__init__("sim")
        self._params = follow_params(self, SimParams)
        self._robot = load_embodiment(self._params.embodiment)
        self._log = ChangeLogger(self.get_logger())
        self._event: tuple[str, bool, bool, str, int, tuple[str, ...]] | None = None
        self._now_ns = time.time_ns()
        self._failure: str | None = None
        self._failed = self.create_guard_condition(self._end)
        self._add_endpoints()
        config = SimConfig(
            # Starting at the wall time keeps the clock of a restarted simulation going forward.
            epoch_ns=self._now_ns,
            robot=find_twin(self._robot.name).name,
            rate=self._params.rate,
            renderer=self._params.renderer,
            split=self._params.split,
            image_px=self._params.image_px,
            disturbed=self._params.disturbed,
        )
        self._loop = SimLoop(config, self._on_step, self._on_failure)
        self._sensors = Sensors(self, self._robot)
        self._controllers = SimControllers(self, self._robot, self._loop, lambda: self._now_ns)
        first = self._loop.start(self._params.seed, self._params.instruction)
        try:
            scene = first.result(timeout=FIRST_SCENE_TIMEOUT_S)
        except FutureTimeout as error:
            raise ValueError(
                f"the simulation gave no scene in {FIRST_SCENE_TIMEOUT_S:g} s"
            ) from error
        self.get_logger().info(f"scene {self._params.seed}: {scene.description}")

    def close(self) -> None:
        """End the simulation's thread."""
        self._loop.close()

    def _add_endpoints(self) -> None:
        self._clock = self.create_publisher(Clock, "/clock", qos.SENSOR)
        self._events = self.create_publisher(SimEvent, "sim_event", qos.LATCHED)
        self._states = self.create_publisher(SimState, "sim_state", qos.SENSOR)
        self.create_service(SetScene, "set_scene", self._on_set_scene)

    def _on_step(self, snapshot: Snapshot) -> None:
        """Publish one step; runs in the simulation's thread."""
        if not rclpy.ok():
            return
        self._now_ns = stamp_ns = snapshot.time_ns
        self._clock.publish(Clock(clock=convert.stamp_from_ns(stamp_ns)))
        self._sensors.publish(snapshot)
        self._tell(snapshot)
        self._share(snapshot)
        if snapshot.pace < SLOW:
            sentence = (
                f"the simulation runs at {snapshot.pace:.2f} of its pace: the machine is busy"
            )
            self._log.problem("pace", "slow", sentence)
        elif snapshot.pace > FULL:
            self._log.fine("pace", "the simulation keeps its pace again")

    def _tell(self, snapshot: Snapshot) -> None:
        judged = snapshot.judged
        event = (
            *(snapshot.instruction, judged.success, judged.ever_success, judged.detail),
            *(snapshot.scene_seed, snapshot.target_outside),
        )
        if event == self._event:
            return
        self._event = event
        header = Header(stamp=convert.stamp_from_ns(snapshot.time_ns))
        instruction, success, ever_success, detail, seed, outside = event
        self._events.publish(
            SimEvent(
                header=header,
                instruction=instruction,
                success=success,
                ever_success=ever_success,
                seed=seed,
                split=self._params.split,
                detail=detail,
                target_outside=list(outside),
            )
        )

    def _share(self, snapshot: Snapshot) -> None:
        """Publish the whole state of the world, while it has a subscriber."""
        self._loop.share_world = self._states.get_subscription_count() > 0
        if snapshot.world is None:
            return
        self._states.publish(
            SimState(
                header=Header(stamp=convert.stamp_from_ns(snapshot.time_ns)),
                seed=snapshot.scene_seed,
                split=self._params.split,
                instruction=snapshot.instruction,
                values=array("d", snapshot.world.tolist()),
            )
        )

    def _on_set_scene(
        self, request: SetScene.Request, response: SetScene.Response
    ) -> SetScene.Response:
        asked = self._loop.set_scene(request.seed, request.instruction.strip())
        try:
            scene = asked.result(timeout=SCENE_TIMEOUT_S)
        except (ValueError, FutureTimeout) as error:
            response.message = str(error) or f"no scene in {SCENE_TIMEOUT_S:g} s"
            return response
        response.success = True
        response.message = scene.description
        response.instruction = scene.task.instruction
        self.get_logger().info(f"scene {request.seed}: {scene.description}")
        return response

    def _on_failure(self, why: str) -> None:
        self._failure = why
        self._failed.trigger()

    def _end(self) -> None:
        raise NodeEnds(self._failure)


def main() -> int:
    """Entry point of the executable `sim_node`."""
    return run_node(SimNode)
