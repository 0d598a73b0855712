"""The node graph as data: every node exists, and takes the parameters it is given."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest

from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.ros.bringup import graph
from vla_policy.ros.bringup.endpoints import (
    CALLS,
    HEARS,
    PUBLISHES,
    SERVES,
    command_topics,
    endpoints,
    robot_endpoints,
)
from vla_policy.ros.bringup.graph import NodeSpec, command_line, node_specs, sim_mode
from vla_policy.ros.bringup.launch import ARGUMENTS, remappings, specs_of
from vla_policy.ros.bringup.task_waits import SERVER_S
from vla_policy.runtime.task import Timeouts

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
ROS = Path(__file__).resolve().parents[2] / "vla_policy" / "ros" / "nodes"
# Of every rclpy node.
COMMON = {"use_sim_time"}


@pytest.fixture
def built(monkeypatch):
    """The package counts as built; where is of no matter here."""
    monkeypatch.setattr(graph, "executable_path", lambda name: Path("/lib") / name)


def declared(module: str) -> set[str]:
    """Fields of the parameter dataclasses of a node, read without importing it."""
    node = module.rsplit(".", 1)[1]
    files = (ROS / f"{node}.py", ROS / f"{node.replace('_node', '_params')}.py")
    trees = [ast.parse(file.read_text()) for file in files if file.is_file()]
    fields = [
        field
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for field in node.body
    ]
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
    def player(**side):
        return {s.name: s for s in node_specs("vx300s", **side)}["control"].parameters["stand_in"]

    assert (player(), player(mock=True), player(sim=True)) == ("", "mock", "sim")


def test_a_simulated_robot_gives_images_as_large_as_its_policy_reads(tmp_path):
    def px(policy):
        specs = {s.name: s for s in node_specs("vx300s", policy=policy, sim=True)}
        return specs["sim"].parameters["image_px"]

    (tmp_path / "config.json").write_text(json.dumps({"contract": {"image_px": 224}}))
    assert (px("tiny"), px(str(tmp_path)), px("nowhere/at/all")) == (96, 224, 96)
    (tmp_path / "config.json").write_text("[1")  # the policy node says what is wrong with it
    assert px(str(tmp_path)) == 96


def test_a_task_waits_longer_for_a_policy_on_another_machine(tmp_path):
    def gap(policy):
        specs = {s.name: s for s in node_specs("vx300s", policy=policy)}
        return specs["task"].parameters.get("chunk_gap_s")

    (tmp_path / "there.yaml").write_text("server: ws://gpu:8000\n")
    (tmp_path / "here.yaml").write_text("checkpoint: folder\n")
    (tmp_path / "wrong.yaml").write_text("server: [\n")  # the policy node says what is wrong
    assert Timeouts().chunk_gap_s < SERVER_S
    for name in ("ws://gpu:8000", "wss://gpu:8000?adapter=cups", str(tmp_path / "there.yaml")):
        assert gap(name) == SERVER_S
    for name in ("tiny", *(str(tmp_path / f"{file}.yaml") for file in ("here", "wrong", "none"))):
        assert gap(name) is None


def test_the_expert_is_the_policy_of_a_simulated_robot_only():
    specs = {s.name: s for s in node_specs("vx300s", policy="expert", sim=True)}
    assert "policy" not in specs and specs["expert"].parameters["chunks"] == "action_chunk"
    assert set(specs["expert"].parameters) - COMMON <= declared(specs["expert"].module)
    beside = {s.name: s for s in node_specs("vx300s", operator="expert", sim=True)}
    assert beside["expert"].parameters["chunks"] == "teleop_chunk"
    for side in ({}, {"mock": True}):
        with pytest.raises(ValueError, match="policy: got 'expert', which looks at the simulation's truth"):  # fmt: skip
            node_specs("vx300s", policy="expert", **side)


def test_a_twin_follows_without_errors_unless_it_is_told():
    def disturbed(**asked):
        specs = {s.name: s for s in node_specs("vx300s", sim=True, **asked)}
        return specs["sim"].parameters["disturbed"]

    assert disturbed() is False and disturbed(operator="expert") is False
    assert disturbed(operator="expert", disturbed=True) is True


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
    values = {name: default for name, (default, _) in ARGUMENTS.items()} | {"embodiment": "vx300s"}
    with pytest.raises(ValueError, match="web_port: got 'yes', expected a whole number"):
        specs_of(values | {"sim": "true", "web_port": "yes"})
    with pytest.raises(ValueError, match="planner: got 'nonsense', expected none, model"):
        specs_of(values | {"sim": "true", "planner": "nonsense"})
    with pytest.raises(ValueError, match="planner_model: got none"):
        specs_of(values | {"sim": "true", "planner": "http://gpu:8000/v1"})


@pytest.fixture(params=embodiment_names())
def robot(request):
    return load_embodiment(request.param)


def ends(robot, **arguments):
    return endpoints(node_specs(robot.name, **arguments), robot)


def test_every_node_of_every_robot_exists_and_declares_its_parameters(robot):
    executables = set(re.search(r"foreach\(node ([\w ]+)\)", CMAKE).group(1).split())
    for spec in node_specs(robot.name, mock=True, shadow=True):
        assert spec.name in executables
        assert set(spec.parameters) - COMMON <= declared(spec.module)


def test_both_ends_of_every_topic_have_one_type(robot):
    kinds = {}
    for end in ends(robot, mock=True):
        kinds.setdefault(end.name, set()).add(end.type)
    assert {name: k for name, k in kinds.items() if len(k) > 1} == {}


def test_every_topic_finds_its_other_end(robot):
    found = ends(robot, mock=True)
    others = {HEARS: PUBLISHES, CALLS: SERVES, PUBLISHES: HEARS}
    for end in found:
        if end.does == SERVES or end.name in (
            "instruction",
            "instruction_outcome",
            "control_command",
            "teleop_chunk",
            "/diagnostics",
            "sim_event",
            "overview/image_raw",
            "pointed_place",
            "recorder_status",
            *(f"recorder/{name}" for name in ("start", "end", "save", "discard", "delete_last")),
            "teleop/keys",
            "teleop/opening",
        ):  # for operators and recorders, of recorders and teleop nodes, or of twins
            continue
        other = [e for e in found if e.name == end.name and e.does == others[end.does]]
        assert other, end


def test_no_command_has_two_publishers(robot):
    for arguments in ({"mock": True}, {"mock": True, "shadow": True}):
        found = ends(robot, **arguments)
        for name, _ in command_topics(robot, shadow="shadow" in arguments):
            senders = [e for e in found if e.name == name and e.does in (PUBLISHES, CALLS)]
            assert [e.node for e in senders] == ["control"]


def test_in_shadow_nothing_reaches_a_controller(robot):
    control = {e.name for e in ends(robot, shadow=True) if e.node == "control"}
    control &= {e.name for e in robot_endpoints(robot) if e.does in (HEARS, SERVES)}
    assert control == set()


def test_every_robot_has_a_launch_file_and_a_page(robot):
    launch = (ROOT / "launch" / f"{robot.name}.launch.py").read_text()
    assert f'bringup("{robot.name}")' in launch
    page = (ROOT / "docs" / "robots" / f"{robot.name}.md").read_text()
    assert f"ros2 launch vla_policy {robot.name}.launch.py" in page
    for output in robot.outputs.values():
        assert output.topic in page, output.topic


@pytest.mark.parametrize(
    "path", sorted((ROOT / "launch").glob("*.launch.py")), ids=lambda p: p.name
)
def test_launch_files_declare_and_explain_every_argument(path, monkeypatch):
    """Under the real launch and launch_ros, which a sourced ROS installation has."""
    monkeypatch.chdir("/")  # the folder launch/ is no package
    launch = pytest.importorskip("launch.actions", reason="a sourced ROS installation runs this")
    pytest.importorskip("launch_ros", reason="a sourced ROS installation runs this")
    description = runpy.run_path(str(path))["generate_launch_description"]()
    declared = {
        entity.name: "".join(part.text for part in entity.default_value)
        for entity in description.entities
        if isinstance(entity, launch.DeclareLaunchArgument)
    }
    assert set(declared) == set(ARGUMENTS)
    assert specs_of(declared)


def test_remappings_of_the_launch_argument():
    assert remappings("") == ()
    assert remappings("joint_states:=js, a/b:=/c") == (("joint_states", "js"), ("a/b", "/c"))
    with pytest.raises(ValueError, match="remap: got 'joint_states', expected old:=new"):
        remappings("joint_states")


def test_what_stands_in_for_the_robot():
    assert sim_mode("vx300s", "true") == {"sim": True, "mock": False}
    assert sim_mode("fr3", "true") == sim_mode("fr3", "mock") == {"sim": False, "mock": True}
    assert sim_mode("fr3", "false") == {"sim": False, "mock": False}
    with pytest.raises(ValueError, match="got 'yes', expected one of false, true, mock"):
        sim_mode("fr3", "yes")
