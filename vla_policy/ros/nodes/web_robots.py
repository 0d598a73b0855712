"""The other robots of the domain on the operator's page: their state, their pages, and a stop of all.

Who is there is discovered as by `vla stop`; their state and the addresses of their pages are on
/diagnostics, which all robots of a domain share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_policy.ros.operator.control_nodes import control_nodes
from vla_policy.ros.operator.known_robots import Known, call_lines, known_robots
from vla_policy.ros.operator.stop_request import Key, Request
from vla_policy.ros.process import notes, qos
from vla_policy.ros.process.diagnostic_names import GUARD_ENTRY, identified
from vla_policy.web.panel import Answer, Deed, Panel

PAGE_ENTRY, ADDRESS = "web: page", "address"  # on /diagnostics
OLD_S = 3.5  # reports come once a second
ANSWER_S = 1.0
LIMIT_S = 1.5  # of the whole request
POLL_S = 0.005
AT_ONCE = 4  # such requests: a page asks again every half second


@dataclass(frozen=True, slots=True)
class Report:
    """The last report of one robot's control node. heard_s: time.monotonic()."""

    name: str
    message: str
    values: Mapping[str, str]
    heard_s: float


class Robots:
    """Sets `robot` and `robots` of the panel; call look() about once a second."""

    def __init__(self, node: Node, panel: Panel, name: str) -> None:
        self._node, self._panel = node, panel
        space = node.get_namespace().rstrip("/")
        self._own, self._name = f"{space}/control", name
        self._domain = node.context.get_domain_id()
        self._stops = {self._own: node.create_client(Trigger, f"{self._own}/stop")}
        self._reports: dict[str, Report] = {}  # by the control node's full name
        self._pages: dict[str, str] = {}
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._calls = ThreadPoolExecutor(AT_ONCE, "web-stop-all")
        panel.tell(robot={"name": name, "namespace": space or "/"}, robots=[])

    def close(self) -> None:
        """Start nothing more."""
        self._calls.shutdown(wait=False, cancel_futures=True)

    def deeds(self) -> dict[str, Deed]:
        """Requests for the page's server."""
        return {"stop_all": Deed(self._stop_soon, moves=False, limit_s=LIMIT_S, urgent=True)}

    def hear(self, status: DiagnosticStatus) -> None:
        """Process an entry of /diagnostics, of any robot."""
        space, _, entry = status.name.rpartition("/")
        control = f"/{space}/control" if space else "/control"
        if entry == GUARD_ENTRY:
            values = {value.key: value.value for value in status.values}
            name = status.hardware_id.rpartition("/")[2]
            self._reports[control] = Report(name, status.message, values, time.monotonic())
        elif entry == PAGE_ENTRY:
            self._pages[control] = next((v.value for v in status.values if v.key == ADDRESS), "")

    def look(self, url: str) -> None:
        """Search for others again, and tell them where this page is."""
        others = control_nodes(self._node) - {self._own}
        for control in others - set(self._stops):
            self._stops[control] = self._node.create_client(Trigger, f"{control}/stop")
        for control in set(self._stops) - others - {self._own}:
            self._node.destroy_client(self._stops.pop(control))
            self._reports.pop(control, None)
            self._pages.pop(control, None)
        now_s = time.monotonic()
        self._panel.tell(robots=[self._told(control, now_s) for control in sorted(others)])
        entry = DiagnosticStatus(name=PAGE_ENTRY, message=url, level=DiagnosticStatus.OK)
        entry.values = [KeyValue(key=ADDRESS, value=url)]
        report = DiagnosticArray(status=[entry])
        report.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(identified(self._node, report, self._name))

    def _told(self, control: str, now_s: float) -> dict[str, Any]:
        """As JSON values for the page. level: None while the robot does not report."""
        report = self._reports.get(control)
        about = {
            "name": report.name if report else "",
            "namespace": _space(control),
            "page": self._pages.get(control, ""),
        }
        if report is None or now_s - report.heard_s > OLD_S:
            return {**about, "level": None, "engaged": None, "why": "it does not report"}
        level, engaged = report.values.get("level"), report.values.get("engaged") == "True"
        return {**about, "level": level, "engaged": engaged, "why": report.message}

    def _stop_soon(self, details: Mapping[str, Any]) -> Future[Answer]:
        return self._calls.submit(self._stop_all)

    def _stop_all(self) -> Answer:
        """Stop every robot of the domain that was heard of or has a note on this machine."""
        began_s = time.monotonic()
        calls = {
            control: (client, asked)
            for control, client in list(self._stops.items())
            if (asked := _call(client)) is not None
        }
        # Beside the network: a robot of this machine also has a line of its own, and may not be discovered yet.
        sessions, _ = notes.read()
        known = Request(everyone=True, domain=self._domain).meant(known_robots(sessions))
        refused: dict[Key, str | None] = {}
        call_lines(known, "stop", lambda robot, why: refused.update({robot.key: why}))
        done = {control for control in calls if refused.get((self._domain, control), "") is None}
        left = [asked for control, (_, asked) in calls.items() if control not in done]
        while not all(asked.done() for asked in left) and time.monotonic() < began_s + ANSWER_S:
            time.sleep(POLL_S)
        told = {control: _refusal(client, asked) for control, (client, asked) in calls.items()}
        for robot in known:
            why = refused.get(robot.key, f"no answer in {ANSWER_S:g} s")
            control = robot.key[1]
            told[control] = None if why is None else told.get(control, why)
        return self._answer(told, known)

    def _answer(self, told: Mapping[str, str | None], known: Sequence[Known]) -> Answer:
        """told: by control node, why it is not stopped; None where it is."""
        names = {robot.key[1]: robot.robot for robot in known if robot.robot}
        names |= {control: report.name for control, report in list(self._reports.items())}
        names[self._own] = self._name
        where = {c: f"{names.get(c) or 'a robot'} in {_space(c)}" for c in sorted(told)}
        stopped = ", ".join(where[c] for c in where if told[c] is None)
        failed = "; ".join(f"{where[c]}: {told[c]}" for c in where if told[c] is not None)
        if not failed:
            return Answer(True, stopped)
        return Answer(False, failed + (f" (stopped: {stopped})" if stopped else ""))


def _space(control: str) -> str:
    return control.rpartition("/")[0] or "/"


def _call(client: Any) -> Any:
    """The future of a stop; None of a robot that has left at this moment."""
    try:
        return client.call_async(Trigger.Request())
    except InvalidHandle:
        return None


def _refusal(client: Any, asked: Any) -> str | None:
    if not asked.done():
        client.remove_pending_request(asked)
        return f"no answer in {ANSWER_S:g} s"
    response = asked.result()
    return None if response.success else response.message or "it has refused"
