"""The whole graph as processes: every node becomes active, and every topic finds its other end."""

import runpy
import socket
import time
from pathlib import Path

import pytest
from enclaves import allowed, running
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSCompatibility, qos_check_compatible
from ros_witness import wait

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup.endpoints import PUBLISHES, command_topics, endpoints
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.bringup.processes import Processes
from vla_policy.ros.bringup.security_policy import security_policy
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.watch import Lifecycles

READY_S = 90.0
LEAF = Path(__file__).parents[2] / "examples" / "behavior_tree" / "execute_instruction.py"
LIFECYCLE = ("policy", "control", "task")
# Published for people and tools; nobody in the graph has to listen.
FOR_OTHERS = (
    "/parameter_events",
    "/rosout",
    "transition_event",
    "/diagnostics",
    "_action/feedback",
    "_action/status",
    "instruction_outcome",
    "control_command",
    "teleop_chunk",  # of a person who may come later
    "sim_state",
    # Of a recorder and of a teleop node that may come later.
    "recorder_status",
    "teleop/keys",
    "teleop/opening",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def graph():
    """(operator's client, lines the nodes printed) of a running graph."""
    lines: list[str] = []
    processes = Processes(lambda name, line: lines.append(f"{name}: {line}"))
    processes.start(node_specs("vx300s", sim=True, web_port=free_port()))
    client = Client("test")
    lifecycles = Lifecycles(client.node, LIFECYCLE)
    try:
        end = time.monotonic() + READY_S
        waiting = list(LIFECYCLE)
        while waiting:
            assert not processes.ended() and time.monotonic() < end, (waiting, lines[-20:])
            waiting = [name for name in waiting if not lifecycles.active(name)]
            time.sleep(0.1)
        assert client.wait_for_simulation(READY_S)
        yield client, lines
    finally:
        client.close()
        killed = processes.stop()
    assert killed == ()


def names_of(endpoints, own: str) -> set[str]:
    return {e.node_name for e in endpoints if e.node_name != own}


def test_every_topic_has_both_ends(graph):
    wait(lambda: not loose_ends(graph[0].node), "the other end of every topic", READY_S)
    assert "/joint_states" in dict(graph[0].node.get_topic_names_and_types())


def loose_ends(node):
    """Topics of which one side is not discovered: (topic, who publishes, who listens)."""
    own = node.get_name()
    loose = []
    for topic, types in node.get_topic_names_and_types():
        if topic.endswith(FOR_OTHERS):
            continue
        assert len(types) == 1, f"{topic} has several types: {types}"
        sources = names_of(node.get_publishers_info_by_topic(topic), own)
        sinks = names_of(node.get_subscriptions_info_by_topic(topic), own)
        if not sources or not sinks:
            loose.append((topic, sources, sinks))
    return loose


@pytest.mark.parametrize("name", ["sim", "policy", "control", "task"])
def test_the_running_graph_is_what_the_data_says(graph, running_ends, name):
    specs, robot = node_specs("vx300s", sim=True, web_port=None), load_embodiment("vx300s")
    told = {
        (end.does, f"/{end.name.lstrip('/')}", end.type)
        for end in endpoints(specs, robot)
        if end.node == name
    }
    wait(
        lambda: running_ends(graph[0].node, name) == told,
        f"what {name} does as the data says, {sorted(told)}",
        READY_S,
    )


@pytest.mark.parametrize("name", ["sim", "policy", "control", "task", "web"])
def test_the_security_policy_covers_the_running_node_and_no_more(graph, name):
    specs, robot = node_specs("vx300s", sim=True, web_port=1), load_embodiment("vx300s")
    told = allowed(security_policy(specs, robot), f"/vla_policy/{name}")
    wait(
        lambda: running(graph[0].node, name) == told,
        f"what {name} does as its policy allows, {told}",
        READY_S,
    )


def test_the_page_commands_no_controller(graph, running_ends):
    robot = load_embodiment("vx300s")
    commands = {f"/{topic}" for topic, _ in command_topics(robot)}
    published = {t for does, t, _ in running_ends(graph[0].node, "web") if does == PUBLISHES}
    assert not published & commands


def test_every_topic_agrees_on_quality_of_service(graph):
    node = graph[0].node
    for topic, _ in node.get_topic_names_and_types():
        for source in node.get_publishers_info_by_topic(topic):
            for sink in node.get_subscriptions_info_by_topic(topic):
                found, why = qos_check_compatible(source.qos_profile, sink.qos_profile)
                assert found != QoSCompatibility.ERROR, (
                    topic,
                    source.node_name,
                    sink.node_name,
                    why,
                )


def test_a_scene_is_set_and_judged(graph):
    client, _ = graph
    scene = client.set_scene(2_000_000, "")
    assert scene.instruction
    wait(lambda: client.event and client.event.instruction == scene.instruction, "the event")
    assert not client.event.ever_success


def test_a_task_that_does_not_fit_is_refused(graph):
    with pytest.raises(ValueError, match="there is"):
        graph[0].set_scene(2_000_000, "pick up the teapot")


def test_a_leaf_of_a_behaviour_tree_moves_the_twin_until_it_is_halted(graph):
    client, _ = graph
    leaf_of = runpy.run_path(str(LEAF))["InstructionLeaf"]
    words = client.set_scene(2_000_000, "").instruction
    poses, heard = [], client.node.create_subscription(
        PoseStamped, "target_pose", lambda msg: poses.append(msg.pose.position.x), 10
    )  # fmt: skip
    leaf = leaf_of(client.node, words, 60.0)
    leaf.start()
    wait(lambda: leaf.tick().value == "running" and len(set(poses)) > 5, "the arm moves", READY_S)
    leaf.halt()
    wait(lambda: leaf.tick().value == "failure", "the leaf has ended", READY_S)
    assert "cancel" in leaf.message
    client.node.destroy_subscription(heard)


def test_stop_lasts_until_reset(graph):
    client, _ = graph
    client.stop()
    with pytest.raises(ValueError, match="engage refused"):
        client.engage()
    client.reset()


def test_no_node_complained(graph):
    assert not [line for line in graph[1] if "[ERROR]" in line or "Traceback" in line]
