"""The SROS2 policy: one enclave a node, its endpoints with their direction, nothing else; read with a plain XML parser."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from vla_policy.cli import main
from vla_policy.embodiment import load_embodiment
from vla_policy.paths import embodiment_names
from vla_policy.ros.bringup.endpoints import command_topics, device_topics
from vla_policy.ros.bringup.graph import client_arguments, enclave_arguments, node_specs
from vla_policy.ros.bringup.security_policy import security_policy
from vla_policy.teleop.device_file import device_names, load_device


def allowed(text):
    """enclave path -> {(group, attribute, name)}"""
    found = {}
    for enclave in ElementTree.fromstring(text).iter("enclave"):
        (profile,) = enclave.iter("profile")
        rules = set()
        for group in profile:
            ((attribute, value),) = group.attrib.items()
            assert value == "ALLOW"
            rules |= {(group.tag, attribute, entry.text.strip()) for entry in group}
        found[enclave.get("path")] = rules
    return found


@pytest.mark.parametrize("name", embodiment_names())
def test_commands_to_controllers_are_of_control_alone(name):
    robot = load_embodiment(name)
    rules = allowed(
        security_policy(
            node_specs(name, record="folder", black_box="box", markers="vx" in name), robot
        )
    )
    commands = {f"/{topic.lstrip('/')}" for topic, _ in command_topics(robot)}
    senders = {
        path
        for path, own in rules.items()
        for _, attribute, topic in own
        if attribute in ("publish", "call") and topic in commands
    }
    assert senders == {"/vla_policy/control"}


def test_a_namespace_moves_enclaves_and_names():
    robot = load_embodiment("vx300s")
    rules = allowed(security_policy(node_specs("vx300s", namespace="/left", mock=True), robot))
    assert "/left/vla_policy/operator" in rules
    control = rules["/left/vla_policy/control"]
    assert ("topics", "publish", "/left/target_pose") in control
    assert ("services", "reply", "/left/control/stop") in control
    assert ("topics", "publish", "/diagnostics") in control
    assert ("services", "request", "/left/control/stop") in rules["/left/vla_policy/web"]
    assert not any(attribute == "call" for _, attribute, _ in rules["/left/vla_policy/policy"])


@pytest.mark.parametrize("device", device_names())
def test_teleop_hears_its_device_and_an_operator_at_keys_speaks(device, tmp_path):
    out = tmp_path / "policy.xml"
    robot = {"so101_leader": "so101", "gello_ur5e": "ur5e_2f85"}.get(device, "vx300s")
    assert main(["security", robot, "--teleop", device, "--no-web", "--out", str(out)]) == 0
    rules = allowed(out.read_text())
    own = {f"/{topic}" for topic, _ in device_topics(load_device(device))}
    heard = {n for _, attribute, n in rules["/vla_policy/teleop"] if attribute == "subscribe"}
    assert own < heard
    others = {f"/{t}" for other in device_names() for t, _ in device_topics(load_device(other))}
    assert not heard & (others - own)
    speaks = {n for _, attribute, n in rules["/vla_policy/operator"] if attribute == "publish"}
    assert (own < speaks) == (device == "keyboard") == bool(own & speaks)


def test_nodes_that_look_a_tool_up_in_tf_may_hear_it():
    specs = node_specs("vx300s", teleop="gamepad", markers=True)
    for kind, heard in (("topic", set()), ("tf", {"/tf", "/tf_static"})):
        robot = load_embodiment("vx300s")
        robot = replace(robot, poses={"ee": replace(robot.poses["ee"], kind=kind)})
        rules = allowed(security_policy(specs, robot))
        for node in ("policy", "control", "teleop"):
            names = {n for _, does, n in rules[f"/vla_policy/{node}"] if does == "subscribe"}
            assert names & {"/tf", "/tf_static"} == heard


def test_enclaves_are_joined_only_where_security_is_on(monkeypatch):
    monkeypatch.delenv("ROS_SECURITY_ENABLE", raising=False)
    assert enclave_arguments("", "control") == [] and client_arguments("") == []
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    assert enclave_arguments("", "control") == ["--enclave", "/vla_policy/control"]
    assert client_arguments("/left") == ["--ros-args", "--enclave", "/left/vla_policy/operator"]


def test_the_verb_writes_the_file_and_says_what_puts_it_into_force(tmp_path, capsys):
    assert main(["security", "fr3", "--mock", "--out", str(tmp_path / "policy.xml")]) == 0
    said = capsys.readouterr().out
    rules = allowed((tmp_path / "policy.xml").read_text())
    for path in rules:
        assert f"create_enclave keystore {path}" in said
    assert set(rules) >= {"/vla_policy/mock", "/vla_policy/policy", "/vla_policy/operator"}
