"""The node graph as a launch description. The only module that imports `launch` and `launch_ros`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vla_policy.execution.schemes import SCHEMES
from vla_policy.planners.planner_name import require_planner
from vla_policy.ros.bringup.graph import (
    PACKAGE,
    NodeSpec,
    enclave_arguments,
    executable_path,
    node_specs,
    sim_mode,
)
from vla_policy.ros.bringup.page_settings import PageSettings
from vla_policy.ros.process.notes import namespace_of
from vla_policy.runtime.planning import NONE, PLANNERS
from vla_policy.sim.tasks.typed import find_scene

if TYPE_CHECKING:
    from launch import Action, LaunchContext, LaunchDescription

HOLD_S = 120  # the first instruction waits for a policy that loads slowly, and is then dropped with a message
# Launch argument -> (default, description). Those without a default take the caller's.
ARGUMENTS = {
    "embodiment": ("", "robot, by name in config/embodiments or path of its YAML file"),
    "policy": ("tiny", "checkpoint, by shipped name or path of its folder"),
    "head": ("auto", "action head of the checkpoint: flow or token; auto: the first that it has"),
    "device": ("cpu", "torch device of the policy: cpu, cuda, cuda:1"),
    "scheme": ("receding", f"how chunks follow each other: {', '.join(SCHEMES)}"),
    "shadow": ("false", "true: commands go to topics below shadow/, none to a controller"),
    "sim": (
        "",
        "true: the simulated twin instead of the robot, or a mock where there is none; "
        "mock: the mock; false: the robot itself",
    ),
    "instruction": (
        "",
        "told to a simulated or mocked robot once it can follow it, within 120 s; "
        "a real robot is engaged by its operator, then told",
    ),
    "seed": ("0", "of the first scene and of the policy's noise"),
    "renderer": ("auto", "camera backend of the simulation: auto, egl, osmesa or raycast"),
    "web_port": ("8765", "of the operator's page; 0 leaves it out"),
    "web_host": (
        "127.0.0.1",
        "address where the page listens; elsewhere only with a token: web_token_file, or VLA_TOKEN in the environment",
    ),
    "web_token_file": ("", "file with the token that the page asks for, its owner's alone"),
    "web_tls_cert": ("", "certificate of the page, for https; with web_tls_key"),
    "web_tls_key": ("", "its key"),
    "record": (
        "",
        "folder into which a recorder writes takes: data set and bags; empty: no recorder",
    ),
    "black_box": ("", "folder of the last hours' commands, states and refusals; empty: none"),
    "teleop": (
        "",
        "device of a person who may take over, as of vla teleop; keyboard: from the operator's page; empty: none",
    ),
    "planner": (NONE, f"who splits long instructions into sub-tasks: {PLANNERS}"),
    "planner_model": ("", "name of the model on the planner's server"),
    "markers": ("false", "true: draw chunks and commands for RViz and Foxglove"),
    "namespace": ("", "namespace of all nodes, for several robots"),
    "remap": ("", "names of topics that differ here, as old:=new, several separated by commas"),
}


def bringup(embodiment: str, *, sim: str = "false") -> LaunchDescription:
    """A LaunchDescription of the graph for an embodiment, with the arguments above.

    sim: default of that argument. Raises ModuleNotFoundError without ROS's launch.
    """
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
    from launch.substitutions import LaunchConfiguration

    def nodes(context: LaunchContext) -> list[Action]:
        values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
        actions: list[Action] = [_launch_node(spec) for spec in specs_of(values)]
        if values["instruction"]:
            vla = [str(executable_path("vla")), *first_words(values)]
            actions.append(ExecuteProcess(cmd=vla, name="say", output="screen"))
        return actions

    own = {"embodiment": embodiment, "sim": sim}
    declared = [
        DeclareLaunchArgument(name, default_value=own.get(name, default), description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def specs_of(values: dict[str, str]) -> tuple[NodeSpec, ...]:
    """Launch arguments, which are all text, to the graph. Raises ValueError naming the argument."""
    numbers = {}
    for name in ("seed", "web_port"):
        if not values[name].isdecimal():
            raise ValueError(
                f"launch argument {name}: got {values[name]!r}, expected a whole number"
            )
        numbers[name] = int(values[name])
    for name in ("shadow", "markers"):
        if values[name] not in ("true", "false"):
            raise ValueError(
                f"launch argument {name}: got {values[name]!r}, expected true or false"
            )
    require_planner(values["planner"], values["planner_model"])
    stands_in = sim_mode(values["embodiment"], values["sim"])
    if values["instruction"] and not any(stands_in.values()):
        raise ValueError(
            f"launch argument instruction: got {values['instruction']!r} for a real robot, which must"
            " not start by itself; engage it, then `vla say` it"
        )
    page = PageSettings(
        numbers["web_port"],
        *(values[f"web_{name}"] for name in ("host", "token_file", "tls_cert", "tls_key")),
    )
    instruction = values["instruction"] if stands_in["sim"] else ""
    split = "train"
    if instruction:
        numbers["seed"], split = find_scene(
            instruction, numbers["seed"], robot=values["embodiment"]
        )
    return node_specs(
        values["embodiment"],
        policy=values["policy"],
        head=values["head"],
        device=values["device"],
        scheme=values["scheme"],
        shadow=values["shadow"] == "true",
        sim=stands_in["sim"],
        mock=stands_in["mock"],
        seed=numbers["seed"],
        renderer=values["renderer"],
        instruction=instruction,
        split=split,
        web_port=numbers["web_port"] or None,
        web=page.parameters(),
        record=values["record"],
        markers=values["markers"] == "true",
        black_box=values["black_box"],
        teleop=values["teleop"],
        planner=values["planner"],
        planner_model=values["planner_model"],
        namespace=values["namespace"],
        remappings=remappings(values["remap"]),
    )


def first_words(values: dict[str, str]) -> list[str]:
    """The `vla` arguments that hold the first instruction until the graph can follow it."""
    space = namespace_of(values["namespace"]) or "/"
    return ["say", "--wait", str(HOLD_S), "--namespace", space, "--", values["instruction"]]


def remappings(text: str) -> tuple[tuple[str, str], ...]:
    """'a:=b,c:=d' as pairs. Raises ValueError naming the entry that is no pair."""
    pairs = []
    for rule in filter(None, (part.strip() for part in text.split(","))):
        old, sign, new = rule.partition(":=")
        if not (old and sign and new):
            raise ValueError(f"launch argument remap: got {rule!r}, expected old:=new")
        pairs.append((old, new))
    return tuple(pairs)


def _launch_node(spec: NodeSpec) -> Action:
    from launch_ros.actions import Node

    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[dict(spec.parameters)],
        remappings=list(spec.remappings),
        ros_arguments=enclave_arguments(spec.namespace, spec.name),
        output="screen",
        emulate_tty=True,
    )
