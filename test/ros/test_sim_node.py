"""The simulated robot as a process: it must look like a real one from outside."""

import itertools
import signal
import threading

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_process import waited  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from vla_policy.msg import SimEvent  # noqa: E402
from vla_policy.srv import SetScene  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.spinning import spin  # noqa: E402

TIMEOUT_S = 40.0
NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGER = "left_finger"


class Observer(Node):
    """Hears all that the robot says; wait() until something holds."""

    def __init__(self):
        super().__init__("observer")
        self.heard = threading.Condition()
        self.got = {}
        kinds = {
            "/clock": Clock,
            "joint_states": JointState,
            "ee_pose": PoseStamped,
            "front/image_raw": Image,
            "wrist/image_raw": Image,
            "overview/image_raw": Image,
        }
        for topic, kind in kinds.items():
            self.create_subscription(kind, topic, self._keep(topic), qos.SENSOR)
        self.create_subscription(SimEvent, "sim_event", self._keep("sim_event"), qos.LATCHED)
        self.target = self.create_publisher(PoseStamped, "target_pose", qos.COMMAND)
        self.hand = self.create_publisher(
            Float64MultiArray, "gripper_controller/commands", qos.COMMAND
        )
        self.scene = self.create_client(SetScene, "set_scene")

    def _keep(self, topic):
        self.got[topic] = []

        def keep(msg):
            with self.heard:
                self.got[topic].append(msg)
                self.heard.notify_all()

        return keep

    def wait(self, condition, what):
        with self.heard:
            counts = {topic: len(messages) for topic, messages in self.got.items()}
            assert self.heard.wait_for(condition, TIMEOUT_S), f"{what}; heard {counts}"

    def pose(self):
        return convert.pose_from_msg(self.got["ee_pose"][-1], "base_link", "ee_pose")

    def finger(self):
        msg = self.got["joint_states"][-1]
        return msg.position[msg.name.index(FINGER)]

    def set_scene(self, seed, instruction):
        assert self.scene.wait_for_service(TIMEOUT_S)
        request = SetScene.Request(seed=seed, instruction=instruction)
        return waited(self.scene.call_async(request), TIMEOUT_S)


@pytest.fixture
def observer(ros, shared_nodes):
    node = Observer()
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    thread = threading.Thread(target=spin, args=(executor,))
    thread.start()
    node.process = shared_nodes("sim_node")
    node.wait(lambda: all(node.got.values()), "every topic")
    yield node
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=5.0)
    node.destroy_node()


def stamps(messages):
    return [convert.ns_from_stamp(m.header.stamp) for m in messages]


def test_it_speaks_the_topics_of_a_robot(observer):
    observer.wait(lambda: len(observer.got["overview/image_raw"]) >= 5, "five overviews")
    got = observer.got
    joints = got["joint_states"][-1]
    assert tuple(joints.name) == (*NAMES, FINGER) and len(joints.position) == 7
    for topic in ("front/image_raw", "wrist/image_raw"):
        image = convert.image_from_msg(got[topic][-1], topic)
        assert image.shape == (96, 96, 3) and image.std() > 5
        # 10 Hz, and the state of the same instant is on the wire.
        assert {int(s) for s in np.diff(stamps(got[topic]))} <= {
            100_000_000 * k for k in range(1, 9)
        }
        assert set(stamps(got[topic])[1:-1]) & set(stamps(got["joint_states"]))
    assert set(stamps(got["front/image_raw"])) & set(stamps(got["wrist/image_raw"]))
    clock = [convert.ns_from_stamp(m.clock) for m in got["/clock"]]
    assert all(b > a for a, b in itertools.pairwise(clock))


def test_it_follows_pose_and_gripper_commands(observer):
    observer.set_scene(3, "")
    goal = np.array([0.32, 0.05, 0.18, 0.0, 0.7071068, 0.0, 0.7071068])
    observer.target.publish(convert.pose_to_msg(goal, stamp_ns=0, frame_id="base_link"))
    observer.hand.publish(Float64MultiArray(data=[0.03]))
    observer.wait(lambda: np.linalg.norm(observer.pose()[:3] - goal[:3]) < 0.004, "the pose")
    observer.wait(lambda: abs(observer.finger() - 0.03) < 0.002, "the gripper")


@pytest.mark.parametrize("fault", ["nan", "frame", "quaternion", "gripper nan", "gripper width"])
def test_a_command_that_is_none_does_not_move_it(observer, fault):
    observer.set_scene(4, "")
    count = len(observer.got["ee_pose"])
    observer.wait(lambda: len(observer.got["ee_pose"]) > count + 10, "a moment at rest")
    before, finger = observer.pose(), observer.finger()
    goal = np.array([0.32, 0.05, 0.10, 0.0, 0.7071068, 0.0, 0.7071068])
    frame = "world" if fault == "frame" else "base_link"
    if fault == "nan":
        goal[0] = np.nan
    if fault == "quaternion":
        goal[3:] = 0.0
    if fault.startswith("gripper"):
        observer.hand.publish(
            Float64MultiArray(data=[np.nan] if fault == "gripper nan" else [0.03, 0.03])
        )
    else:
        observer.target.publish(convert.pose_to_msg(goal, stamp_ns=0, frame_id=frame))
    count = len(observer.got["ee_pose"])
    observer.wait(lambda: len(observer.got["ee_pose"]) > count + 25, "half a second")
    assert np.abs(observer.pose() - before).max() < 1e-3
    assert abs(observer.finger() - finger) < 1e-3


def test_a_scene_is_set_by_service_and_told_in_words(observer):
    answer = observer.set_scene(11, "")
    assert answer.success and "left to right" in answer.message and answer.instruction
    observer.wait(
        lambda: observer.got["sim_event"][-1].instruction == answer.instruction, "the event"
    )
    event = observer.got["sim_event"][-1]
    assert not event.ever_success
    again = observer.set_scene(11, "")
    assert (again.message, again.instruction) == (answer.message, answer.instruction)


def test_a_task_that_the_scene_does_not_have_is_refused_with_a_sentence(observer):
    observer.set_scene(11, "")
    before = observer.got["sim_event"][-1].instruction
    answer = observer.set_scene(12, "dance with the moon")
    assert not answer.success and answer.message and "Traceback" not in answer.message
    assert observer.got["sim_event"][-1].instruction == before


def test_an_unusable_renderer_or_task_ends_it_with_a_sentence(start_node):
    assert start_node("sim_node", renderer="crayon").wait(TIMEOUT_S) == 2
    assert start_node("sim_node", instruction="dance with the moon").wait(TIMEOUT_S) == 2


def test_ctrl_c_ends_it(observer):
    observer.process.send_signal(signal.SIGINT)
    assert observer.process.wait(20.0) == 0
