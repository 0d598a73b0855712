"""The node graph as a launch description. The only place that imports `launch` and `launch_ros`."""

from __future__ import annotations

from vla_policy.ros.graph import PACKAGE, NodeSpec, node_specs

# Launch argument -> (default, description). Those without a default take the caller's.
ARGUMENTS = {
    "embodiment": ("", "robot, by name in config/embodiments or path of its YAML file"),
    "policy": ("tiny", "checkpoint, by shipped name or path of its folder"),
    "head": ("flow", "action head of the checkpoint: flow or token"),
    "device": ("cpu", "torch device of the policy: cpu, cuda, cuda:1"),
    "seed": ("0", "of the first scene and of the policy's noise"),
    "renderer": ("auto", "camera backend of the simulation: auto, egl, osmesa or raycast"),
    "web_port": ("8080", "of the operator's page on loopback; 0 leaves it out"),
    "namespace": ("", "namespace of all nodes, for several robots"),
}


def bringup(embodiment: str, *, sim: bool):
    """A LaunchDescription of the graph for an embodiment, with the arguments above.

    sim: the simulated robot is part of the graph. Raises ModuleNotFoundError without ROS's launch.
    """
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.substitutions import LaunchConfiguration

    def nodes(context) -> list:
        values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
        return [_launch_node(spec) for spec in specs_of(values, sim=sim)]

    declared = [
        DeclareLaunchArgument(
            name,
            default_value=default or (embodiment if name == "embodiment" else ""),
            description=text,
        )
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def specs_of(values: dict[str, str], *, sim: bool) -> tuple[NodeSpec, ...]:
    """Launch arguments, which are all text, to the graph. Raises ValueError naming the argument."""
    numbers = {}
    for name in ("seed", "web_port"):
        if not values[name].isdecimal():
            raise ValueError(
                f"launch argument {name}: got {values[name]!r}, expected a whole number"
            )
        numbers[name] = int(values[name])
    return node_specs(
        values["embodiment"],
        policy=values["policy"],
        head=values["head"],
        device=values["device"],
        sim=sim,
        seed=numbers["seed"],
        renderer=values["renderer"],
        web_port=numbers["web_port"] or None,
        namespace=values["namespace"],
    )


def _launch_node(spec: NodeSpec):
    from launch_ros.actions import Node

    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[dict(spec.parameters)],
        remappings=list(spec.remappings),
        output="screen",
        emulate_tty=True,
    )
