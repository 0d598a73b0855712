"""The enclave of the teleop node allows what the running node has, for devices of each kind of message."""

import pytest
import rclpy
from enclaves import allowed, running
from ros_witness import processes, spinning, wait

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup.endpoints import device_topics
from vla_policy.ros.bringup.graph import command_line, teleop_spec
from vla_policy.ros.bringup.security_policy import security_policy
from vla_policy.teleop.device_file import load_device

# joy; a twist and an opening; a pose, a clutch and an opening; joint states
DEVICES = {"gamepad": "vx300s", "keyboard": "vx300s", "hand": "vx300s", "so101_leader": "so101"}
SPECS = {
    device: teleop_spec(robot, device, namespace=f"/with_{device}")
    for device, robot in DEVICES.items()
}


@pytest.fixture(scope="module")
def asker(ros, tmp_path_factory):
    """A node beside a teleop node for each device, in namespaces of their own."""
    log = tmp_path_factory.mktemp("teleop") / "nodes.log"
    node = rclpy.create_node("asker")
    lines = [command_line(spec) for spec in SPECS.values()]
    with processes(lines, log), spinning(node):
        yield node


@pytest.mark.parametrize("device", DEVICES)
def test_the_enclave_covers_the_running_node_and_no_more(asker, device):
    spec = SPECS[device]
    told = allowed(
        security_policy((spec,), load_embodiment(DEVICES[device])),
        f"{spec.namespace}/vla_policy/teleop",
    )
    heard = {("subscribe", f"{spec.namespace}/{t}") for t, _ in device_topics(load_device(device))}
    assert heard < told
    wait(
        lambda: running(asker, "teleop", spec.namespace) == told,
        f"what the teleop node of {device} does as its policy allows, {sorted(told)}",
    )
