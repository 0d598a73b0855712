"""The page's node beside other robots of its domain, which the test plays: they are listed, and stopped with its own.

One answers, one refuses, one is silent, and one has only its note on this machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time

import pytest

rclpy = pytest.importorskip("rclpy")

import aiohttp  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from open_page import free_port  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from web_client import on_page  # noqa: E402

from vla_policy.ros.process import qos  # noqa: E402
from vla_policy.ros.process.stop_line import Present  # noqa: E402

TIMEOUT_S = 60.0


class Others:
    """Robots in namespaces; stopped: those that were asked to stop and did."""

    def __init__(self, robot):
        self.robot, self.stopped, self.nodes = robot, [], []
        self.reports = robot.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.names = {}

    def add(self, space, name="", *, refuses="", silent=False):
        """A control node in a namespace. refuses: its answer to a stop; silent: it gives none."""
        node = rclpy.create_node("control", namespace=space or "/")

        def stop(request, response):
            self.stopped.append(space or "/")
            response.success, response.message = not refuses, refuses
            return response

        node.create_service(Trigger, f"{space}/control/stop", stop)
        node.create_service(Trigger, f"{space}/control/reset", lambda request, response: response)
        node.create_service(SetBool, f"{space}/control/engage", lambda request, response: response)
        self.keep(node, turning=not silent)
        if name:
            self.names[space] = name
        return node

    def keep(self, node, *, turning=True):
        self.nodes.append(node)
        if turning:
            self.robot.executor.add_node(node)

    def report(self):
        """As control nodes and pages do once a second."""
        report = DiagnosticArray()
        for space, name in self.names.items():
            values = {"level": "PASS", "engaged": "True"}
            page = {"address": f"http://127.0.0.1:1{len(space)}/"}
            for entry, pairs in (("control: guard", values), ("web: page", page)):
                status = DiagnosticStatus(
                    name=f"{space.strip('/')}/{entry}",
                    hardware_id=f"{space.strip('/')}/{name}",
                    message="commands go out as planned",
                )
                status.values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
                report.status.append(status)
        self.reports.publish(report)

    def close(self):
        for node in self.nodes:
            self.robot.executor.remove_node(node)
            node.destroy_node()


@pytest.fixture
def others(mock_robot, tmp_path, monkeypatch):
    # Notes of other runs on this machine are not of these robots.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Others(mock_robot)
    yield made
    made.close()


async def seen(live, others, wanted):
    """The first list of robots, by namespace, that is wanted."""
    end = time.monotonic() + TIMEOUT_S
    found = {}
    while time.monotonic() < end:
        others.report()
        try:
            told = await asyncio.wait_for(live.socket.receive(), 1.0)
        except asyncio.TimeoutError:
            continue
        state = (
            json.loads(told.data).get("state", {}) if told.type is aiohttp.WSMsgType.TEXT else {}
        )
        if "robots" in state:
            found = {robot["namespace"]: robot for robot in state["robots"]}
            if wanted(found):
                return found
    raise AssertionError(found)


async def all_asked(control, condition):
    """The first answer to stop_all for which condition holds; nodes hear of each other after a while."""
    end = time.monotonic() + TIMEOUT_S
    for number in range(100, 10_000):
        answer = await control.ask("stop_all", number=number)
        if condition(answer):
            return answer
        assert time.monotonic() < end, answer
        await asyncio.sleep(0.1)


def test_robots_of_the_domain_are_listed_and_stopped_with_the_page_s_own(others, start_node):
    others.add("")
    others.add("/right", "fr3")
    noted = rclpy.create_node("control", namespace="/noted")
    others.keep(noted)
    line = Present(
        noted, "so101", lambda word: (True, others.stopped.append(f"/noted {word}") or "")
    )
    port = free_port()
    start_node("web_node", port=port)

    async def test(control, live):
        found = await seen(live, others, lambda robots: robots.get("/right", {}).get("level"))
        assert set(found) == {"/right"}, "its own is not another one"
        right = found["/right"]
        assert (right["name"], right["level"], right["engaged"]) == ("fr3", "PASS", True)
        assert right["page"] == "http://127.0.0.1:16/"
        answer = await all_asked(control, lambda a: a["ok"])
        assert answer["message"] == "vx300s in /, so101 in /noted, fr3 in /right"
        assert {"/", "/right", "/noted stop"} <= set(others.stopped)
        # Without reports it is still there, and nothing is known of it.
        others.names.clear()
        await seen(live, others, lambda robots: robots["/right"]["level"] is None)

    try:
        on_page(f"http://127.0.0.1:{port}", test, TIMEOUT_S)
    finally:
        line.close()


def test_a_robot_that_does_not_stop_is_named_and_delays_no_stop(others, start_node):
    others.add("")
    others.add("/right", "fr3", refuses="its guard is broken")
    others.add("/far", silent=True)
    port = free_port()
    start_node("web_node", port=port)

    async def test(control, live):
        await seen(
            live, others, lambda robots: robots.get("/right", {}).get("level") and "/far" in robots
        )
        told = "a robot in /far: no answer in 1 s; fr3 in /right: its guard is broken (stopped: vx300s in /)"
        answer = await all_asked(control, lambda a: a["message"] == told)
        assert not answer["ok"]
        # A stop of its own robot waits for nobody.
        for number, verb in ((1, "stop_all"), (2, "stop")):
            request = {"id": number, "ask": verb, "beat": control.beat}
            await control.socket.send_str(json.dumps(request))
        first, second = await control.next(), await control.next()
        assert (first["id"], first["ok"]) == (2, True) and (second["id"], second["ok"]) == (
            1,
            False,
        )

    on_page(f"http://127.0.0.1:{port}", test, TIMEOUT_S)
