"""The node graph as data: every node exists, and takes the parameters it is given."""

import ast
from pathlib import Path

import pytest

from vla_policy.ros import graph
from vla_policy.ros.bringup import ARGUMENTS, specs_of
from vla_policy.ros.graph import NodeSpec, command_line, node_specs

ROS = Path(__file__).resolve().parent.parent / "vla_policy" / "ros"
# Of every rclpy node.
COMMON = {"use_sim_time"}


@pytest.fixture
def built(monkeypatch):
    """The package counts as built; where is of no matter here."""
    monkeypatch.setattr(graph, "executable_path", lambda name: Path("/lib") / name)


def declared(module: str) -> set[str]:
    """Fields of the parameter dataclasses of a node's module, read without importing it."""
    tree = ast.parse((ROS / f"{module.rsplit('.', 1)[1]}.py").read_text())
    fields = [f for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for f in node.body]
    return {
        field.target.id
        for field in fields
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.value, ast.Call)
        and getattr(field.value.func, "id", "") == "param"
    }


@pytest.mark.parametrize("spec", node_specs("vx300s", sim=True), ids=lambda spec: spec.name)
def test_every_parameter_is_declared_by_its_node(spec):
    assert set(spec.parameters) - COMMON <= declared(spec.module)


def test_the_simulation_replaces_the_robot_and_nothing_else():
    simulated = {spec.name for spec in node_specs("vx300s", sim=True)}
    real = {spec.name for spec in node_specs("vx300s")}
    assert simulated - real == {"sim"} and real < simulated


def test_only_the_clock_of_the_simulation_is_simulated():
    uses = {s.name: s.parameters.get("use_sim_time") for s in node_specs("vx300s", sim=True)}
    assert uses.pop("sim") is None
    assert set(uses.values()) == {True}
    assert not any(s.parameters["use_sim_time"] for s in node_specs("vx300s"))


def test_a_real_robot_is_not_engaged_by_itself():
    engaged = {s.name: s.parameters.get("engaged_at_start") for s in node_specs("vx300s")}
    assert engaged["control"] is False


def test_the_page_can_be_left_out():
    assert "web" not in {spec.name for spec in node_specs("vx300s", web_port=None)}


def test_values_keep_their_type_on_the_command_line(built):
    line = command_line(
        NodeSpec("sim", {"instruction": 'say "no": 1', "seed": 3, "on": True, "name": "1.0"})
    )
    assert line[line.index("-p") + 1 :: 2] == [
        'instruction:="say \\"no\\": 1"',
        "seed:=3",
        "on:=true",
        'name:="1.0"',
    ]


def test_namespace_and_remappings_reach_every_node(built):
    specs = node_specs("vx300s", namespace="/left", remappings=(("joint_states", "js"),))
    for spec in specs:
        line = " ".join(command_line(spec))
        assert "-r __ns:=/left" in line and "-r joint_states:=js" in line


def test_launch_arguments_give_the_same_graph():
    values = {name: default for name, (default, _) in ARGUMENTS.items()} | {"embodiment": "vx300s"}
    assert specs_of(values | {"sim": "true"}) == node_specs("vx300s", sim=True)


def test_a_wrong_launch_argument_is_named():
    values = {name: default for name, (default, _) in ARGUMENTS.items()} | {"web_port": "yes"}
    with pytest.raises(ValueError, match="web_port: got 'yes', expected a whole number"):
        specs_of(values | {"sim": "true"})
