"""The node graph of a robot as data; launch files and `vla up` both run what this returns."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from vla_policy.ros.bringup.image_size import image_px_of
from vla_policy.ros.bringup.task_waits import waits_for
from vla_policy.ros.process.notes import namespace_of
from vla_policy.runtime.planning import NONE
from vla_policy.sim.twin import EXPERT, TWINS

PACKAGE = "vla_policy"
SIM_MODES = ("false", "true", "mock")
OPERATORS = (EXPERT,)
OPERATOR = "operator"  # enclave of `vla say`, `vla stop` and other clients
ParamValue = bool | int | float | str
NO_PARAMETERS: Mapping[str, ParamValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One process of the graph.

    name:        node name; executable is `<name>_node` of the package.
    parameters:  ROS parameter -> value.
    remappings:  (name in the node, name in the graph).
    namespace:   "" or a ROS namespace such as "/left".
    """

    name: str
    parameters: Mapping[str, ParamValue] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    @property
    def executable(self) -> str:
        return f"{self.name}_node"

    @property
    def module(self) -> str:
        """The module with the executable's main()."""
        return f"{PACKAGE}.ros.nodes.{self.executable}"


def node_specs(
    embodiment: str,
    *,
    policy: str = "tiny",
    head: str = "auto",
    device: str = "cpu",
    scheme: str = "receding",
    shadow: bool = False,
    sim: bool = False,
    mock: bool = False,
    seed: int = 0,
    renderer: str = "auto",
    instruction: str = "",
    split: str = "train",
    web_port: int | None = 8765,
    web: Mapping[str, ParamValue] = NO_PARAMETERS,
    record: str = "",
    operator: str = "",
    disturbed: bool = False,
    markers: bool = False,
    black_box: str = "",
    teleop: str = "",
    planner: str = NONE,
    planner_model: str = "",
    remappings: tuple[tuple[str, str], ...] = (),
    namespace: str = "",
) -> tuple[NodeSpec, ...]:
    """The nodes that let a policy drive an embodiment, the robot's side first.

    embodiment: name in config/embodiments or path of a YAML file.
    policy:     what load_policy takes, or EXPERT, which plans with the simulation's truth.
    scheme:     how chunks follow each other, one of execution.schemes.SCHEMES.
    shadow:     commands go to topics below shadow/, none to a controller.
    sim:        the twin in place of the robot; its clock is used.
    mock:       a robot without physics in place of the robot.
    instruction: task that the simulation judges first; empty: one drawn from the seed.
    split:      kind of scenes of the simulation, see vla_policy.sim.scenes.scene.SPLITS.
    web_port:   of the operator's page; None leaves it out.
    web:        further parameters of the page: host, token_file, tls_cert, tls_key.
    record:     folder into which a recorder writes takes; empty: no recorder.
    operator:   one of OPERATORS, who demonstrates in place of a policy; empty: the policy acts.
    disturbed:  the twin follows its commands with errors, and does not always begin at home, so that demonstrations show recoveries.
    markers:    a node that draws chunks and commands for RViz and Foxglove.
    black_box:  folder of the last hours' commands, states and refusals; empty: none.
    teleop:     device of a person who may take over, by name in config/teleop or path; empty: none.
    planner:    who splits long instructions into sub-tasks, one of runtime.planning.PLANNERS.
    planner_model: name of the model on the planner's server.
    namespace:  of all nodes, with or without a leading slash.
    """
    space = namespace_of(namespace)
    robot: dict[str, ParamValue] = {"embodiment": embodiment, "use_sim_time": sim}
    planned: dict[str, ParamValue] = {"planner": planner}
    specs = [
        NodeSpec(
            "policy",
            {
                **robot,
                "policy": policy,
                "head": head,
                "device": device,
                "seed": seed,
                "scheme": scheme,
                "look_first": sim,  # measured only on the images of the twins
                **({} if planner == NONE else planned | {"planner_model": planner_model}),
            },
        ),
        # Engaging a real robot is its operator's decision.
        NodeSpec(
            "control",
            {**robot, "scheme": scheme, "shadow": shadow, "stand_in": _player(sim, mock)},
        ),
        NodeSpec("task", {**robot, **waits_for(policy), **({} if planner == NONE else planned)}),
    ]
    if sim:
        own_clock: dict[str, ParamValue] = {
            "embodiment": embodiment,
            "seed": seed,
            "renderer": renderer,
            "image_px": image_px_of(policy),
            "disturbed": disturbed,
        }
        task = {"instruction": instruction, "split": split}
        specs.insert(0, NodeSpec("sim", {**own_clock, **task}))
    if mock:
        specs.insert(0, NodeSpec("mock", {"embodiment": embodiment}))
    if operator and operator not in OPERATORS:
        raise ValueError(f"operator: got {operator!r}, expected {' or '.join(OPERATORS)}")
    if operator or policy == EXPERT:
        if not sim:
            who = f"operator: got {operator!r}" if operator else f"policy: got {policy!r}"
            raise ValueError(f"{who}, which looks at the simulation's truth; add --sim")
        own = {**robot, "chunks": "teleop_chunk" if operator else "action_chunk"}
        specs = [NodeSpec(EXPERT, own) if s.name == "policy" else s for s in specs]
    if record:
        specs.append(NodeSpec("recorder", {**robot, "folder": record, "shadow": shadow}))
    if black_box:
        specs.append(NodeSpec("black_box", {**robot, "folder": black_box, "shadow": shadow}))
    if teleop:
        specs.append(NodeSpec("teleop", {**robot, "device": teleop}))
    if markers:
        specs.append(NodeSpec("markers", robot))
    if web_port is not None:
        specs.append(NodeSpec("web", {**robot, "port": web_port, **web}))
    return tuple(NodeSpec(spec.name, spec.parameters, remappings, space) for spec in specs)


def teleop_spec(
    embodiment: str, device: str, *, arm: str = "", use_sim_time: bool = False, namespace: str = ""
) -> NodeSpec:
    """The node through which a person drives a robot whose graph is already running."""
    parameters = {"embodiment": embodiment, "device": device, "arm": arm}
    return NodeSpec(
        "teleop",
        {**parameters, "use_sim_time": use_sim_time},
        namespace=namespace_of(namespace),
    )


def _player(sim: bool, mock: bool) -> str:
    """The node that simulates the robot; empty for a real one."""
    return "sim" if sim else "mock" if mock else ""


def sim_mode(embodiment: str, sim: str) -> dict[str, bool]:
    """What simulates the robot, as arguments of node_specs.

    sim: 'false' the robot itself; 'mock'; 'true' the simulated twin, or the mock where there is none.
    Raises ValueError for another word.
    """
    if sim not in SIM_MODES:
        raise ValueError(f"sim: got {sim!r}, expected one of {', '.join(SIM_MODES)}")
    twin = sim == "true" and embodiment in TWINS
    return {"sim": twin, "mock": sim != "false" and not twin}


def enclave_of(namespace: str, node: str) -> str:
    """The path of a node's SROS2 enclave."""
    return f"{namespace}/{PACKAGE}/{node}"


def enclave_arguments(namespace: str, node: str) -> list[str]:
    """ROS arguments that put a process into its enclave; none while ROS_SECURITY_ENABLE is not true."""
    if os.environ.get("ROS_SECURITY_ENABLE", "").lower() != "true":
        return []
    return ["--enclave", enclave_of(namespace, node)]


def client_arguments(namespace: str) -> list[str]:
    """Arguments of rclpy.init() for an operator's client: its enclave, where security is on."""
    arguments = enclave_arguments(namespace, OPERATOR)
    return ["--ros-args", *arguments] if arguments else []


def command_line(spec: NodeSpec, *, log_level: str = "info") -> list[str]:
    """The program and arguments that run one node as a process of this Python.

    Raises FileNotFoundError if the package is not built.
    """
    arguments = ["--log-level", log_level]
    if spec.namespace:
        arguments += ["-r", f"__ns:={spec.namespace}"]
    arguments += enclave_arguments(spec.namespace, spec.name)
    for old, new in spec.remappings:
        arguments += ["-r", f"{old}:={new}"]
    for name, value in spec.parameters.items():
        # JSON is YAML with quotes around every string: "1.0", "yes" and "" stay strings.
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    # Not `python -m`: that puts the working directory, perhaps the sources, before the built package.
    return [sys.executable, str(executable_path(spec.executable)), "--ros-args", *arguments]


def executable_path(name: str) -> Path:
    """The installed executable beside this Python package. Raises FileNotFoundError."""
    for parent in Path(__file__).absolute().parents:
        path = parent / "lib" / PACKAGE / name
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no executable {name} beside {Path(__file__).parent}; run `make setup`"
    )
