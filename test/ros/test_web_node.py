"""The page's node beside a real task node: each instruction ends on the page with its own outcome and reason.

The test plays the control node, the simulation and a browser.
"""

import asyncio
import html
import json
import socket
import time

import pytest

rclpy = pytest.importorskip("rclpy")
aiohttp = pytest.importorskip("aiohttp")

from vla_policy.msg import ControlStatus, SimEvent  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.web import instructions  # noqa: E402

TIMEOUT_S = 60.0


class Page:
    """Both links of one open page."""

    def __init__(self, live, control):
        self._live, self._control = live, control
        self._count, self._beat = 0, 0
        self._answers = asyncio.Queue()

    async def hear(self):
        """Take what comes over the link for requests, for ever."""
        while True:
            message = json.loads(await self._control.receive_str())
            self._beat = message.get("beat", self._beat)
            if "id" in message:
                self._answers.put_nowait(message)

    async def ask(self, verb, words=""):
        """The answer to a request."""
        while not self._beat:
            await asyncio.sleep(0.02)
        self._count += 1
        request = {"id": self._count, "ask": verb, "words": words, "beat": self._beat}
        await self._control.send_str(json.dumps(request))
        answer = await self._answers.get()
        assert answer["id"] == self._count
        return answer

    async def until(self, wanted):
        """The first state that is wanted."""
        while True:
            state = json.loads(await self._live.receive_str()).get("state", {})
            if wanted(state):
                return state

    async def ended(self, about):
        """How the instruction of this id ended; a reason may come after the refusal."""
        found = {}

        def has_ended(state):
            found.update({goal["id"]: goal for goal in state.get("goals", ())})
            goal = found.get(about, {"outcome": ""})
            return goal["outcome"] and goal["message"] != instructions.NO_REASON

        await self.until(has_ended)
        return found[about]


@pytest.fixture
def port(start_node, shared_nodes):
    """Of a page beside a task node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    shared_nodes("task_node")
    start_node("web_node", port=number)
    return number


@pytest.fixture
def control(mock_robot):
    """A control node's status, ten times a second."""
    status = ControlStatus(engaged=True, level=ControlStatus.LEVEL_PASS)
    publisher = mock_robot.create_publisher(ControlStatus, "control_status", qos.LATCHED)
    timer = mock_robot.create_timer(0.1, lambda: publisher.publish(status))
    yield status
    mock_robot.destroy_timer(timer)
    mock_robot.destroy_publisher(publisher)


def browse(port, test):
    """Run test(page) on an open page."""

    async def run():
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as http:
            end = time.monotonic() + TIMEOUT_S
            while True:
                try:
                    async with http.get(url) as reply:
                        text = html.unescape(await reply.text())
                    break
                except aiohttp.ClientConnectionError:
                    assert time.monotonic() < end, "no page"
                    await asyncio.sleep(0.1)
            key = text.split('"key": "')[1].split('"')[0]
            async with (
                http.ws_connect(url + "/live") as live,
                http.ws_connect(url + "/control") as control,
            ):
                for link in (live, control):
                    await link.send_str(json.dumps({"key": key}))
                    assert json.loads(await link.receive_str()) == {"hello": True}
                page = Page(live, control)
                hearing = asyncio.create_task(page.hear())
                await test(page)
                hearing.cancel()

    asyncio.run(asyncio.wait_for(run(), 2 * TIMEOUT_S))


async def followed(page, words):
    """The id of an instruction that is taken; before the nodes know each other it is not."""
    while not (answer := await page.ask("say", words))["ok"]:
        await asyncio.sleep(0.1)
    return answer["about"]


def test_a_refusal_comes_with_its_reason(port, control):
    control.engaged, control.detail = False, "no operator has engaged the robot"

    async def test(page):
        while True:
            answer = await page.ask("say", "pick up the red cube")
            if answer["about"]:
                goal = await page.ended(answer["about"])
                assert (goal["outcome"], goal["words"]) == ("refused", "pick up the red cube")
                if "no operator has engaged" in goal["message"]:
                    return
                assert "has not been heard" in goal["message"], goal  # they meet each other yet
            else:
                assert "task node is not there" in answer["message"], answer
            await asyncio.sleep(0.1)

    browse(port, test)


def test_each_instruction_has_its_own_outcome_and_verdict(port, control, mock_robot):
    events = mock_robot.create_publisher(SimEvent, "sim_event", qos.LATCHED)

    def judge(words):
        event = SimEvent(instruction=words, success=True, ever_success=True)
        event.header.stamp = mock_robot.get_clock().now().to_msg()
        events.publish(event)

    async def test(page):
        first = await followed(page, "pick up the red cube")
        second = await followed(page, "pick up the green ball")
        goal = await page.ended(first)
        assert goal["outcome"] == "preempted" and "green ball" in goal["message"]
        judge("pick up the red cube")
        await page.until(lambda state: state.get("task") == "pick up the red cube")
        judge("pick up the green ball")
        state = await page.until(
            lambda state: any(goal["verdict"] for goal in state.get("goals", ()))
        )
        verdicts = {goal["id"]: goal["verdict"] for goal in state["goals"]}
        assert verdicts[first] is None and verdicts[second] is True
        answer = await page.ask("say", "cancel")
        assert answer["ok"] and "the robot holds" in answer["message"]
        goal = await page.ended(second)
        assert goal["outcome"] == "stopped" and "'cancel'" in goal["message"]

    browse(port, test)
