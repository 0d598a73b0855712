"""Publishers, subscriptions, services and actions of a robot's graph, as data; nothing here imports ROS.

The tests compare it with the running nodes, and `vla check` with a real robot's topics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vla_policy.data.stream_meter import StreamNeed
from vla_policy.data.transforms import TF, TF_STATIC, TF_TYPE
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.ros.bringup.graph import NodeSpec
from vla_policy.ros.inputs.camera_views import known_views
from vla_policy.runtime.tool_paths import path_tools, start_from_state, topic_of
from vla_policy.teleop.device import BUTTON, JOINT_STATES, JOY, TOPIC, TWIST, Device
from vla_policy.teleop.device import POSE as HAND_POSE
from vla_policy.teleop.device_file import load_device

PUBLISHES, HEARS, SERVES, CALLS = "publishes", "hears", "serves", "calls"
JOINT_STATE, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
CAMERA_TYPES = {
    "image": "sensor_msgs/msg/Image",
    "compressed": "sensor_msgs/msg/CompressedImage",
}
OUTPUT_TYPES = {
    "float64_multi_array": "std_msgs/msg/Float64MultiArray",
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "pose": POSE,
    "servo_pose": POSE,
    "twist": "geometry_msgs/msg/TwistStamped",
    "servo_twist": "geometry_msgs/msg/TwistStamped",
    "gripper_command": "control_msgs/action/GripperCommand",
    "parallel_gripper_command": "control_msgs/action/ParallelGripperCommand",
}
DEVICE_TYPES = {
    JOY: "sensor_msgs/msg/Joy",
    TWIST: "geometry_msgs/msg/TwistStamped",
    HAND_POSE: POSE,
    JOINT_STATES: JOINT_STATE,
}
BOOL, FLOAT = "std_msgs/msg/Bool", "std_msgs/msg/Float64"
CHUNK, STATUS = "vla_policy/msg/ActionChunk", "vla_policy/msg/ControlStatus"
COMMAND = "vla_policy/msg/ControlCommand"
SIM_STATE = "vla_policy/msg/SimState"
PLACE = "geometry_msgs/msg/PointStamped"
OUTCOME = "vla_policy/msg/InstructionOutcome"
EVENT = "vla_policy/msg/SimEvent"
COMMAND_AGE_S = 0.3  # of the control node's reports; older ones mean that its loop has stalled
# Their last message holds until the next, so a take begins with it.
LATCHED = ("control_status", "active_instruction", "sim_event", TF_STATIC)
STRING, TRIGGER, SET_BOOL = "std_msgs/msg/String", "std_srvs/srv/Trigger", "std_srvs/srv/SetBool"
# Changed live by the operator's page: its node calls these nodes' parameter services.
CONTROLLED = ("policy", "control")
SET_MODE = "vla_policy/srv/SetMode"
PLAN = "vla_policy/srv/PlanSubtask"
BUTTONS = ("take_over", "hand_back", "pause")  # services that change the control mode


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a topic, service or action. does: PUBLISHES, HEARS (subscribes), SERVES or CALLS."""

    node: str
    does: str
    name: str
    type: str


def endpoints(specs: tuple[NodeSpec, ...], robot: Embodiment) -> tuple[Endpoint, ...]:
    """Every endpoint of a robot's nodes except those of parameters and logs."""
    return tuple(end for spec in specs for end in _OF_NODE[spec.name](spec, robot))


def robot_endpoints(robot: Embodiment, node: str = "robot") -> tuple[Endpoint, ...]:
    """The endpoints of a robot, real or simulated: state, cameras, controllers."""
    ends = [Endpoint(node, PUBLISHES, name, kind) for name, kind in state_topics(robot)]
    for output in robot.outputs.values():
        kind = OUTPUT_TYPES[output.type]
        does = SERVES if "/action/" in kind else HEARS
        ends.append(Endpoint(node, does, output.topic, kind))
        if output.servo is not None:
            ends += _servo(node, SERVES, output.servo)
    return tuple(ends)


def state_topics(robot: Embodiment) -> tuple[tuple[str, str], ...]:
    """(topic, type) of the robot's cameras, joint states and tool poses."""
    cameras = [(camera.topic, CAMERA_TYPES[camera.type]) for camera in robot.cameras.values()]
    joints = [(topic, JOINT_STATE) for topic in robot.joints.topics]
    poses = [(source.topic, POSE) for source in robot.poses.values() if source.kind == "topic"]
    return (*cameras, *joints, *poses)


def _tf_topics(robot: Embodiment) -> tuple[tuple[str, str], ...]:
    """What a node hears that looks up a tool's pose in tf."""
    looked_up = any(source.kind == "tf" for source in robot.poses.values())
    return ((TF, TF_TYPE), (TF_STATIC, TF_TYPE)) if looked_up else ()


def shadow_topic(topic: str) -> str:
    """The topic of a command that no controller may receive."""
    return f"shadow/{topic.lstrip('/~')}"


def command_topics(robot: Embodiment, *, shadow: bool = False) -> tuple[tuple[str, str], ...]:
    """(topic or action, type) of the commands that the control node sends."""
    if not shadow:
        return tuple((o.topic, OUTPUT_TYPES[o.type]) for o in robot.outputs.values())
    found = []
    for part in layout_of(robot).parts:
        output = robot.outputs[part.group]
        kind = OUTPUT_TYPES[output.type]
        # A goal has no topic: in shadow its position is published as to a forward controller.
        kind = OUTPUT_TYPES["float64_multi_array"] if "/action/" in kind else kind
        found.append((shadow_topic(output.topic), kind))
    return tuple(found)


def device_topics(device: Device) -> tuple[tuple[str, str], ...]:
    """(topic, type) of what a teleoperation device, or its driver, publishes."""
    found, hand = [(device.topic, DEVICE_TYPES[device.type])], device.dead_man
    if hand.how == TOPIC:
        found.append((hand.topic, BOOL))
    elif hand.how == BUTTON and hand.topic:
        found.append((hand.topic, DEVICE_TYPES[JOY]))
    if device.gripper_topic:
        found.append((device.gripper_topic, FLOAT))
    return tuple(dict.fromkeys(found))


def _hears(node: str, topics: tuple[tuple[str, str], ...]) -> list[Endpoint]:
    return [Endpoint(node, HEARS, name, kind) for name, kind in topics]


def _servo(node: str, does: str, servo: str) -> list[Endpoint]:
    return [
        Endpoint(node, does, f"{servo}/switch_command_type", "moveit_msgs/srv/ServoCommandType"),
        Endpoint(node, does, f"{servo}/pause_servo", SET_BOOL),
    ]


def _policy(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    return [
        *_hears("policy", (*state_topics(robot), *_tf_topics(robot))),
        Endpoint("policy", HEARS, "active_instruction", STRING),
        Endpoint("policy", HEARS, "control_status", STATUS),
        Endpoint("policy", PUBLISHES, "action_chunk", CHUNK),
        Endpoint("policy", PUBLISHES, "pointed_place", PLACE),
        Endpoint("policy", PUBLISHES, "instruction_refused", OUTCOME),
        Endpoint("policy", SERVES, "policy/get_action_chunk", "vla_policy/srv/GetActionChunk"),
        Endpoint("policy", SERVES, "policy/set_adapter", "vla_policy/srv/SetAdapter"),
        Endpoint("policy", SERVES, "policy/plan_subtask", PLAN),
    ]


def _control(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    shadow = bool(spec.parameters.get("shadow", False))
    ends = [
        *_hears("control", (*state_topics(robot), *_tf_topics(robot))),
        Endpoint("control", HEARS, "action_chunk", CHUNK),
        Endpoint("control", HEARS, "teleop_chunk", CHUNK),
        Endpoint("control", HEARS, "active_instruction", STRING),
        Endpoint("control", HEARS, "instruction", STRING),
    ]
    ends.append(Endpoint("control", PUBLISHES, "control_status", STATUS))
    ends.append(Endpoint("control", PUBLISHES, "control_command", COMMAND))
    for name, kind in command_topics(robot, shadow=shadow):
        ends.append(Endpoint("control", CALLS if "/action/" in kind else PUBLISHES, name, kind))
    for output in robot.outputs.values():
        if output.servo is not None and not shadow:
            ends += _servo("control", CALLS, output.servo)
    kinds = {"engage": SET_BOOL, "stop": TRIGGER, "reset": TRIGGER, "set_mode": SET_MODE}
    kinds |= dict.fromkeys(BUTTONS, TRIGGER)
    ends += [Endpoint("control", SERVES, f"control/{n}", kind) for n, kind in kinds.items()]
    return ends


def _task(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    action = "vla_policy/action/ExecuteInstruction"
    return [
        Endpoint("task", HEARS, "instruction", STRING),
        Endpoint("task", PUBLISHES, "instruction", STRING),
        Endpoint("task", HEARS, "instruction_refused", OUTCOME),
        Endpoint("task", HEARS, "action_chunk", CHUNK),
        Endpoint("task", HEARS, "control_status", STATUS),
        Endpoint("task", PUBLISHES, "active_instruction", STRING),
        Endpoint("task", PUBLISHES, "instruction_outcome", OUTCOME),
        Endpoint("task", SERVES, "execute_instruction", action),
        Endpoint("task", CALLS, "policy/plan_subtask", PLAN),
    ]


def recorded_streams(
    robot: Embodiment, *, shadow: bool = False, simulated: bool = False
) -> tuple[StreamNeed, ...]:
    """A recorder's subscriptions: the robot's streams, without which no take begins, then the other topics of its graph."""
    ages = {camera.topic: camera.max_age_s for camera in robot.cameras.values()}
    ages |= dict.fromkeys(robot.joints.topics, robot.joints.max_age_s)
    ages |= {s.topic: s.max_age_s for s in robot.poses.values() if s.kind == "topic"}
    needs = [StreamNeed(topic, kind, True, ages[topic]) for topic, kind in state_topics(robot)]
    needs.append(StreamNeed("control_command", COMMAND, True, COMMAND_AGE_S, robot.command_hz))
    others = {
        **{t: kind for t, kind in command_topics(robot, shadow=shadow) if "/action/" not in kind},
        "action_chunk": CHUNK,
        "teleop_chunk": CHUNK,
        "control_status": STATUS,
        "instruction": STRING,
        "active_instruction": STRING,
        "instruction_outcome": OUTCOME,
        "pointed_place": PLACE,
        "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    }
    tf_ages = [source.max_age_s for source in robot.poses.values() if source.kind == "tf"]
    if tf_ages:
        needs.append(StreamNeed(TF, TF_TYPE, True, min(tf_ages)))
        others[TF_STATIC] = TF_TYPE
    if simulated:
        others["sim_event"] = EVENT
    return (*needs, *(StreamNeed(topic, kind) for topic, kind in others.items()))


def black_box_streams(
    robot: Embodiment, *, shadow: bool = False, simulated: bool = False
) -> tuple[StreamNeed, ...]:
    """What a black box subscribes to: a recorder's streams without cameras."""
    cameras = {camera.topic for camera in robot.cameras.values()}
    streams = recorded_streams(robot, shadow=shadow, simulated=simulated)
    return tuple(stream for stream in streams if stream.topic not in cameras)


def _black_box(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    """It commands nothing."""
    streams = black_box_streams(
        robot,
        shadow=bool(spec.parameters.get("shadow", False)),
        simulated=bool(spec.parameters.get("use_sim_time", False)),
    )
    return _hears("black_box", tuple((stream.topic, stream.type) for stream in streams))


def _recorder(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    """It commands nothing."""
    simulated = bool(spec.parameters.get("use_sim_time", False))
    shadow = bool(spec.parameters.get("shadow", False))
    needs = recorded_streams(robot, shadow=shadow, simulated=simulated)
    kinds = {"start": TRIGGER, "end": TRIGGER, "discard": TRIGGER, "delete_last": TRIGGER}
    kinds["save"] = "vla_policy/srv/SaveEpisode"
    return [
        *_hears("recorder", tuple((need.topic, need.type) for need in needs)),
        Endpoint("recorder", HEARS, "joy", DEVICE_TYPES[JOY]),
        Endpoint("recorder", PUBLISHES, "instruction", STRING),
        Endpoint("recorder", PUBLISHES, "recorder_status", "vla_policy/msg/RecorderStatus"),
        *(Endpoint("recorder", SERVES, f"recorder/{n}", kind) for n, kind in kinds.items()),
        Endpoint("recorder", SERVES, "record_episode", "vla_policy/action/RecordEpisode"),
    ]


def _expert(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    return [
        Endpoint("expert", HEARS, "active_instruction", STRING),
        Endpoint("expert", HEARS, "sim_state", SIM_STATE),
        Endpoint("expert", PUBLISHES, str(spec.parameters.get("chunks", "teleop_chunk")), CHUNK),
        Endpoint("expert", PUBLISHES, "instruction_refused", OUTCOME),
    ]


def _sim(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    return [
        *robot_endpoints(robot, "sim"),
        Endpoint("sim", PUBLISHES, "/clock", "rosgraph_msgs/msg/Clock"),
        Endpoint("sim", PUBLISHES, "overview/image_raw", CAMERA_TYPES["image"]),
        Endpoint("sim", PUBLISHES, "sim_event", EVENT),
        Endpoint("sim", PUBLISHES, "sim_state", SIM_STATE),
        Endpoint("sim", SERVES, "set_scene", "vla_policy/srv/SetScene"),
    ]


def _mock(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    return list(robot_endpoints(robot, "mock"))


def _web(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    """It commands no controller."""
    cameras = [(camera.topic, CAMERA_TYPES[camera.type]) for camera in robot.cameras.values()]
    kinds = {
        "engage": SET_BOOL,
        "stop": TRIGGER,
        "reset": TRIGGER,
        **dict.fromkeys(BUTTONS, TRIGGER),
    }
    recorder = dict.fromkeys(("start", "end", "discard", "delete_last"), TRIGGER)
    views = known_views(robot, simulated=bool(spec.parameters.get("use_sim_time", False)))
    return [
        *_hears("web", (*cameras, ("overview/image_raw", CAMERA_TYPES["image"]))),
        *_shown_chunks(robot, drawn=bool(views) and bool(path_tools(robot))),
        Endpoint("web", HEARS, "pointed_place", PLACE),
        Endpoint("web", HEARS, "recorder_status", "vla_policy/msg/RecorderStatus"),
        Endpoint("web", PUBLISHES, "teleop/keys", DEVICE_TYPES[TWIST]),
        Endpoint("web", PUBLISHES, "teleop/opening", FLOAT),
        Endpoint("web", CALLS, "policy/set_adapter", "vla_policy/srv/SetAdapter"),
        Endpoint("web", CALLS, "recorder/save", "vla_policy/srv/SaveEpisode"),
        *(Endpoint("web", CALLS, f"recorder/{name}", kind) for name, kind in recorder.items()),
        Endpoint("web", HEARS, "control_status", STATUS),
        Endpoint("web", HEARS, "sim_event", EVENT),
        Endpoint("web", HEARS, "instruction_outcome", OUTCOME),
        Endpoint("web", HEARS, "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
        Endpoint("web", PUBLISHES, "instruction", STRING),
        Endpoint("web", CALLS, "execute_instruction", "vla_policy/action/ExecuteInstruction"),
        *(Endpoint("web", CALLS, f"control/{name}", kind) for name, kind in kinds.items()),
    ]


def _shown_chunks(robot: Embodiment, *, drawn: bool) -> list[Endpoint]:
    """drawn: over the image of a camera with a known pose."""
    if not drawn:
        return _hears("web", (("action_chunk", CHUNK), ("teleop_chunk", CHUNK)))
    relative = [("control_command", COMMAND)] if start_from_state(robot) else []
    return [*_chunk_paths("web", robot), *_hears("web", tuple(relative))]


def _teleop(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    poses = [(source.topic, POSE) for source in robot.poses.values() if source.kind == "topic"]
    return [
        *_hears("teleop", device_topics(load_device(str(spec.parameters["device"])))),
        *_hears("teleop", tuple((topic, JOINT_STATE) for topic in robot.joints.topics)),
        *_hears("teleop", (*poses, *_tf_topics(robot))),
        Endpoint("teleop", HEARS, "control_status", STATUS),
        Endpoint("teleop", PUBLISHES, "teleop_chunk", CHUNK),
        *(Endpoint("teleop", CALLS, f"control/{name}", TRIGGER) for name in BUTTONS),
    ]


def _chunk_paths(node: str, robot: Embodiment) -> list[Endpoint]:
    """Subscriptions for drawing chunks: the chunks, and the robot's state if required."""
    chunks = _hears(node, (("action_chunk", CHUNK), ("teleop_chunk", CHUNK)))
    if not start_from_state(robot):
        return chunks
    poses = [(source.topic, POSE) for source in robot.poses.values() if source.kind == "topic"]
    joints = [(topic, JOINT_STATE) for topic in robot.joints.topics]
    return [*chunks, *_hears(node, (*joints, *poses, *_tf_topics(robot)))]


def _markers(spec: NodeSpec, robot: Embodiment) -> list[Endpoint]:
    """It commands nothing."""
    tools = path_tools(robot)
    return [
        *_chunk_paths("markers", robot),
        Endpoint("markers", HEARS, "control_command", COMMAND),
        Endpoint("markers", PUBLISHES, "chunk_markers", "visualization_msgs/msg/MarkerArray"),
        *(
            Endpoint("markers", PUBLISHES, f"{kind}/{topic_of(tool)}", "nav_msgs/msg/Path")
            for kind in ("chunk_path", "sent_path")
            for tool in tools
        ),
    ]


_OF_NODE: dict[str, Callable[[NodeSpec, Embodiment], list[Endpoint]]] = {
    "policy": _policy,
    "control": _control,
    "task": _task,
    "sim": _sim,
    "mock": _mock,
    "web": _web,
    "recorder": _recorder,
    "expert": _expert,
    "teleop": _teleop,
    "markers": _markers,
    "black_box": _black_box,
}
