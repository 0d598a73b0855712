"""The page's node beside peers that are absent, slow or silent; the test plays them, the cameras and the page."""

import asyncio
import json
import socket
import time

import pytest

rclpy = pytest.importorskip("rclpy")

import numpy as np  # noqa: E402
from rclpy.action import ActionServer  # noqa: E402
from rclpy.action.server import GoalResponse  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.action import ExecuteInstruction  # noqa: E402
from vla_policy.msg import ControlStatus  # noqa: E402
from vla_policy.srv import SetAdapter  # noqa: E402
from web_client import on_page  # noqa: E402

from vla_policy.ros.messages import convert  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.web import request_queue  # noqa: E402

Result = ExecuteInstruction.Result
TIMEOUT_S = 60.0


class Peers:
    """The control and the task node, played in the mock robot's node; both can be slow."""

    def __init__(self, robot):
        self.robot = robot
        self.asked, self.words, self.goals = [], [], []
        self.slow_s = 0.0
        self.services = [
            robot.create_service(SetBool, "control/engage", self._on_engage),
            robot.create_service(Trigger, "control/stop", self._on_stop),
        ]
        robot.create_subscription(String, "instruction", self._on_words, qos.WORDS)
        self.statuses = robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        self.overview = robot.create_publisher(Image, "overview/image_raw", qos.SENSOR)
        self.server = ActionServer(
            robot,
            ExecuteInstruction,
            "execute_instruction",
            execute_callback=lambda goal: Result(),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda goal: self._told("cancel") or 2,
        )

    def close(self):
        self.server.destroy()
        for service in self.services:
            self.robot.destroy_service(service)

    def _told(self, what):
        with self.robot.heard:
            self.asked.append(what)
            self.robot.heard.notify_all()

    def _on_engage(self, request, response):
        time.sleep(self.slow_s)
        self._told(f"engage {request.data}")
        response.success = True
        return response

    def _on_stop(self, request, response):
        self._told("stop")
        response.success, response.message = True, "stopped until reset"
        return response

    def _on_words(self, msg):
        self._told(f"heard {msg.data}")

    def _on_goal(self, request):
        time.sleep(self.slow_s)
        no = request.instruction == "reject this"
        return GoalResponse.REJECT if no else GoalResponse.ACCEPT

    def _on_accepted(self, goal):
        with self.robot.heard:
            self.goals.append(goal)
            self.robot.heard.notify_all()


@pytest.fixture(scope="module")
def url(shared_nodes):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared_nodes("web_node", embodiment="vx300s", port=port)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def peers(mock_robot):
    made = Peers(mock_robot)
    yield made
    made.close()


async def until(control, verb, condition, words="", **details):
    """The first answer to verb for which condition holds; nodes hear of each other after a while."""
    end = time.monotonic() + TIMEOUT_S
    for number in range(100, 10_000):
        answer = await control.ask(verb, words, number, **details)
        if condition(answer):
            return answer
        assert time.monotonic() < end, answer
        await asyncio.sleep(0.1)


async def state(live, condition):
    """The first state for which condition holds."""
    found = await live.next(
        lambda found: isinstance(found, dict) and "state" in found and condition(found["state"])
    )
    return found["state"]


def goals(told, words):
    return [goal for goal in told.get("goals", []) if goal["words"] == words]


def test_without_a_control_node_every_request_says_so(mock_robot, url):
    async def test(control, live):
        for verb in ("stop", "engage", "reset"):
            answer = await control.ask(verb)
            assert not answer["ok"] and "the control node is not there" in answer["message"]
        answer = await control.ask("say", "pick up the cube")
        assert not answer["ok"] and "the task node is not there" in answer["message"]

    on_page(url, test, TIMEOUT_S)


def test_a_stop_reaches_the_control_node_and_what_it_says_the_page(url, peers):
    async def test(control, live):
        answer = await until(control, "stop", lambda a: a["ok"])
        assert answer["message"] == "stopped until reset"
        peers.statuses.publish(
            ControlStatus(level=ControlStatus.LEVEL_STOP, detail="stopped", shadow=True)
        )
        told = await state(live, lambda s: s.get("level") == "STOP")
        assert told["why"] == "stopped" and told["engaged"] is False and told["shadow"] is True
        # Then nobody says anything any more: that is not "not engaged", it is unknown.
        told = await state(live, lambda s: s.get("level", 0) is None)
        assert told["engaged"] is None and "nothing is heard" in told["why"]

    on_page(url, test, TIMEOUT_S)
    assert "stop" in peers.asked


def test_an_instruction_that_is_not_taken_is_refused(url, peers):
    async def test(control, live):
        await until(control, "say", lambda a: "did not take" in a["message"], "reject this")
        told = await state(live, lambda s: any(g["outcome"] for g in goals(s, "reject this")))
        assert {g["outcome"] for g in goals(told, "reject this")} == {"refused"}

    on_page(url, test, TIMEOUT_S)


def test_what_is_taken_or_engaged_too_late_is_taken_back(url, peers):
    async def test(control, live):
        await until(control, "engage", lambda a: a["ok"])
        peers.asked.clear()
        peers.slow_s = request_queue.ANSWER_S + 0.5
        answer = await control.ask("engage", number=1)
        assert not answer["ok"] and "no answer in 3 s" in answer["message"]
        peers.slow_s = 0.0
        peers.robot.wait(lambda: peers.asked == ["engage True", "engage False"], "disengaged")
        peers.slow_s = request_queue.ANSWER_S + 0.5
        answer = await control.ask("say", "go slowly", 2)
        assert not answer["ok"]
        peers.robot.wait(lambda: "cancel" in peers.asked, "the goal is cancelled")

    on_page(url, test, TIMEOUT_S)


@pytest.fixture
def policy(mock_robot):
    """A policy node with two adapters in memory; it does not have one of them."""
    node = rclpy.create_node("policy")
    node.declare_parameter("adapters", "cups=a, lids=b")

    def exchange(request, response):
        response.success = request.adapter != "lids"
        response.in_place = request.adapter
        response.message = "" if response.success else "lids: its base is another policy"
        return response

    node.create_service(SetAdapter, "policy/set_adapter", exchange)
    mock_robot.executor.add_node(node)
    yield node
    mock_robot.executor.remove_node(node)
    node.destroy_node()


def test_the_adapter_is_one_of_those_that_the_policy_node_names(url, peers, policy):
    async def test(control, live):
        await state(live, lambda s: s.get("adapters") == ["", "cups", "lids"])
        first = await until(control, "adapter", lambda a: a["ok"], name="cups")
        assert first["message"] == "the next chunk is by cups"
        answers = [
            await control.ask("adapter", number=number, name=name)
            for number, name in enumerate(("cups", "lids", "", "teapots", 7), 1)
        ]
        assert [answer["ok"] for answer in answers] == [True, False, True, False, False]
        assert answers[1]["message"] == "lids: its base is another policy"
        assert answers[2]["message"] == "the next chunk is by the base alone"
        assert "expected one of ['', 'cups', 'lids']" in answers[3]["message"]

    on_page(url, test, TIMEOUT_S)


def test_words_to_stop_are_heard_by_all_and_are_no_goal(url, peers):
    async def test(control, live):
        await until(control, "stop", lambda a: a["ok"])
        answer = await until(control, "say", lambda a: a["ok"], "STOP!!")
        assert answer["message"] == "stopped until reset"
        answer = await control.ask("say", "cancel", 1)
        assert answer["ok"] and "ends" in answer["message"]
        peers.robot.wait(lambda: "heard cancel" in peers.asked, "cancel is heard")

    on_page(url, test, TIMEOUT_S)
    assert "heard STOP!!" in peers.asked and peers.goals == []


def test_pictures_come_of_the_robot_s_cameras_and_of_the_overview_once_there_is_one(url, peers):
    async def test(control, live):
        await live.socket.send_str(json.dumps({"visible": True}))
        seen = set()
        for _ in range(6):
            camera, _ = await live.picture()
            seen.add(camera)
            await live.socket.send_str(json.dumps({"shown": camera}))
        assert seen == {1, 2}, "front and wrist; no overview"
        image = np.full((8, 8, 3), 77, np.uint8)
        while 0 not in seen:
            peers.overview.publish(convert.image_to_msg(image, stamp_ns=1, frame_id="overview"))
            camera, _ = await live.picture()
            seen.add(camera)
            await live.socket.send_str(json.dumps({"shown": camera}))

    on_page(url, test, TIMEOUT_S)
