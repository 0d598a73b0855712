"""The SROS2 policy: one enclave a node, its endpoints with their direction, nothing else; read with a plain XML parser."""

from xml.etree import ElementTree

import pytest

from vla_policy.cli import main
from vla_policy.embodiment import load_embodiment
from vla_policy.paths import embodiment_names
from vla_policy.ros.bringup.endpoints import command_topics
from vla_policy.ros.bringup.graph import client_arguments, enclave_arguments, node_specs
from vla_policy.ros.bringup.security_policy import security_policy


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
