"""How often the scripted expert plans: the test is the simulation, so that no machine's speed counts."""

import threading
from array import array

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from vla_policy.msg import ActionChunk, SimState  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.spinning import spin  # noqa: E402
from vla_policy.sim.scenes.scene import sample_scene  # noqa: E402
from vla_policy.sim.tasks.tasks import sample_task  # noqa: E402
from vla_policy.sim.world.world import World  # noqa: E402

TIMEOUT_S, AGAIN_S = 60.0, 1.0
SEED, ROW_NS = 0, 100_000_000
SECOND_NS = 10 * ROW_NS


class Simulation(Node):
    """A world that stands still, at the times that it is given; hears the plans."""

    def __init__(self, chunks):
        super().__init__("played_simulation")
        self._heard = threading.Condition()
        self._planned = []
        scene = sample_scene(SEED, split="train", robot="vx300s")
        world = World(renderer="raycast", robot="vx300s")
        world.reset(scene)
        self._values = array("d", world.state_values().tolist())
        self._words = sample_task(scene, np.random.default_rng(SEED)).instruction
        self._states = self.create_publisher(SimState, "sim_state", qos.SENSOR)
        said = self.create_publisher(String, "active_instruction", qos.ACTIVE)
        self.create_subscription(ActionChunk, chunks, self._on_chunk, qos.COMMAND)
        said.publish(String(data=self._words))

    def _on_chunk(self, msg):
        with self._heard:
            self._planned.append(convert.ns_from_stamp(msg.header.stamp))
            self._heard.notify_all()

    def be_at(self, time_ns):
        header = Header(stamp=convert.stamp_from_ns(time_ns))
        words, values = self._words, self._values
        self._states.publish(
            SimState(header=header, seed=SEED, split="train", instruction=words, values=values)
        )

    def plan_at(self, time_ns):
        """Be at a time until a plan of it comes; returns the times of all plans."""
        with self._heard:
            for _ in range(round(TIMEOUT_S / AGAIN_S)):
                self.be_at(time_ns)
                if self._heard.wait_for(lambda: time_ns in self._planned, AGAIN_S):
                    return list(self._planned)
        raise AssertionError(f"no plan of {time_ns} ns; plans of {self._planned}")


@pytest.fixture
def simulation_of(ros, start_node):
    """chunks: topic of the plans -> the simulation beside an expert that plans on it."""
    found, stop = [], []

    def start(chunks):
        start_node("expert_node", chunks=chunks)
        node, executor = Simulation(chunks), SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=spin, args=(executor,), daemon=True)
        thread.start()
        found.append(node)
        stop.append((executor, thread))
        return node

    yield start
    for executor, thread in stop:
        executor.shutdown()
        thread.join()
    for node in found:
        node.destroy_node()


def test_an_operator_plans_at_every_row(simulation_of):
    simulation = simulation_of("teleop_chunk")
    for row in range(4):
        planned = simulation.plan_at(SECOND_NS + row * ROW_NS)
    assert planned == [SECOND_NS + row * ROW_NS for row in range(4)]


def test_in_place_of_a_policy_it_plans_at_every_third_row(simulation_of):
    simulation = simulation_of("action_chunk")
    simulation.plan_at(SECOND_NS)
    for row in (1, 2):
        simulation.be_at(SECOND_NS + row * ROW_NS)
    assert simulation.plan_at(SECOND_NS + 3 * ROW_NS) == [SECOND_NS, SECOND_NS + 3 * ROW_NS]
