"""A robot under ros2_control on mock hardware, and the graph that drives it: controllers are real, servos are not.

    ros2 launch examples/ros2_control/mock_hardware.launch.py robot:=so101 policy:=FOLDER
    ros2 launch examples/ros2_control/mock_hardware.launch.py robot:=ur5e_2f85 policy:=FOLDER

Needs ros2_control, ros2_controllers, robot_state_publisher. Images come from the package's mock, whose own joints and
controllers are moved out of the way; leave it out (cameras:=false) where there are cameras.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Robot -> namespace of its controller manager, and its controllers.
ROBOTS = {
    "so101": ("follower", ("joint_state_broadcaster", "forward_controller")),
    "ur5e_2f85": (
        "",
        (
            "joint_state_broadcaster",
            "scaled_joint_trajectory_controller",
            "robotiq_gripper_controller",
        ),
    ),
}
# What the mock must not do beside mock hardware: say where joints are, and take commands.
MOVED = {
    "so101": ("follower/joint_states", "follower/forward_controller/commands"),
    "ur5e_2f85": (
        "joint_states",
        "scaled_joint_trajectory_controller/joint_trajectory",
        "robotiq_gripper_controller/gripper_cmd",
    ),
}
# An action is renamed by its five parts.
PARTS = ("send_goal", "cancel_goal", "get_result", "feedback", "status")


def generate_launch_description():
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", default_value="so101", choices=list(ROBOTS)),
            DeclareLaunchArgument("policy", description="checkpoint for this robot"),
            DeclareLaunchArgument("cameras", default_value="true", choices=["true", "false"]),
            OpaqueFunction(function=_actions),
        ]
    )


def _actions(context):
    from launch.actions import IncludeLaunchDescription
    from launch_ros.actions import Node
    from launch_ros.substitutions import FindPackageShare

    robot, policy, cameras = (
        context.launch_configurations[name] for name in ("robot", "policy", "cameras")
    )
    space, controllers = ROBOTS[robot]
    manager = f"/{space}/controller_manager" if space else "/controller_manager"
    description = {"robot_description": (FOLDER / f"{robot}.urdf").read_text()}
    actions = [
        Node(
            package="robot_state_publisher",
            executable="robot_state_publisher",
            namespace=space,
            parameters=[description],
        ),
        Node(
            package="controller_manager",
            executable="ros2_control_node",
            namespace=space,
            parameters=[str(FOLDER / f"{robot}.yaml")],
        ),
        Node(
            package="controller_manager",
            executable="spawner",
            arguments=[*controllers, "--controller-manager", manager],
        ),
        IncludeLaunchDescription(
            [FindPackageShare("vla_policy"), f"/launch/{robot}.launch.py"],
            launch_arguments={"policy": policy}.items(),
        ),
    ]
    if cameras == "true":
        actions.append(
            Node(
                package="vla_policy",
                executable="mock_node",
                name="cameras",
                parameters=[{"embodiment": robot}],
                remappings=[(name, f"unused/{name}") for name in _moved(robot)],
            )
        )
    return actions


def _moved(robot):
    """Names that are out of the way: topics as they are, actions by their parts."""
    for name in MOVED[robot]:
        action = name.endswith("gripper_cmd")
        yield from (f"{name}/_action/{part}" for part in PARTS) if action else (name,)
