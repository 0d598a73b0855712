"""The robots whose control nodes can be reached, in one or several ROS domains, found in bounded time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

CALM_S = 0.3  # without news, after which all that is near has been heard of
LOOK_S = 3.5  # a participant announces itself every 3 s, which the first word may wait for
MISSED_S = 6.5  # at most, for who must be there: the second announcement
POLL_S = 0.02
ANSWER_S = 1.0
SERVICES = ("stop", "engage", "reset")


@dataclass(frozen=True, slots=True)
class Found:
    """One robot's control node. control: its full name; nodes: of its namespace; robot: '' if it does not say."""

    domain: int
    control: str
    nodes: tuple[str, ...] = ()
    robot: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from others."""
        return self.domain, self.control

    @property
    def namespace(self) -> str:
        return self.control.rpartition("/")[0] or "/"

    @property
    def choice(self) -> str:
        """The arguments that choose it."""
        return f"--domain {self.domain} --namespace {self.namespace}"

    def __str__(self) -> str:
        return (
            f"{self.robot or 'a robot'} in domain {self.domain}, namespace {self.namespace}"
            f" (nodes {', '.join(self.nodes)})"
        )


class Domain:
    """One domain seen from one thread; a second one inside turns the callbacks."""

    def __init__(self, domain: int) -> None:
        self.domain = domain
        self._context = Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = Node(
            f"stop_{os.getpid()}", context=self._context, enable_rosout=False,
            start_parameter_services=False,
        )  # fmt: skip
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name=f"domain {domain}", daemon=True)
        self._thread.start()

    def controls(self) -> tuple[str, ...]:
        """Full names of the control nodes: they serve all of SERVICES."""
        names = {name for name, _ in self._node.get_service_names_and_types()}
        bases = (name.removesuffix("/stop") for name in names if name.endswith("/stop"))
        return tuple(sorted(b for b in bases if all(f"{b}/{s}" in names for s in SERVICES)))

    def found(self, control: str) -> Found:
        """What belongs to a control node, as far as it is known by now."""
        space = control.rpartition("/")[0] or "/"
        names = [n for n, at in self._node.get_node_names_and_namespaces() if at == space]
        ours = sorted(name for name in names if name != self._node.get_name())
        return Found(self.domain, control, tuple(ours))

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The future of the answer; of nothing where nobody serves name any more."""
        client = self._node.create_client(kind, name)
        client.wait_for_service(timeout_sec=0.2)
        return client.call_async(request)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown(timeout_sec=0.5)
        self._thread.join(timeout=0.5)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return


class RobotsHere:
    """The robots of some domains. expected: domains in which somebody speaks, so one is worth waiting for."""

    def __init__(self, domains: Sequence[int], expected: Sequence[int] = ()) -> None:
        self._start = time.monotonic()
        self._domains = {domain: Domain(domain) for domain in domains}
        self._expected = [domain for domain in expected if domain in self._domains]

    def __enter__(self) -> RobotsHere:
        return self

    def __exit__(self, *_: object) -> None:
        for domain in self._domains.values():
            domain.close()

    def look(
        self, known: Collection[tuple[int, str]] = (), *, thorough: bool = False
    ) -> tuple[Found, ...]:
        """All robots, once nothing new was heard for CALM_S, and MISSED_S after the start at the latest.

        known: (domain, full name) of control nodes that run, so that they are worth waiting for.
        thorough: not before LOOK_S after the start: one robot can be heard of seconds after another.
        """
        news = time.monotonic()
        seen: dict[int, tuple[str, ...]] = {}
        while True:
            now = time.monotonic()
            heard = {number: domain.controls() for number, domain in self._domains.items()}
            if heard != seen:
                seen, news = heard, now
            waiting = any(not seen[number] for number in self._expected) or any(
                control not in seen.get(number, ()) for number, control in known
            )
            calm = now - news > CALM_S and (not thorough or now - self._start > LOOK_S)
            if (calm and not waiting) or now - self._start > MISSED_S:
                break
            time.sleep(POLL_S)
        return tuple(
            self._domains[number].found(control)
            for number, controls in seen.items()
            for control in controls
        )

    def call(self, robots: Sequence[Found], service: str) -> list[str | None]:
        """Call a Trigger of each control node at once: None where it was accepted, else a sentence."""
        calls = [
            self._domains[r.domain].call(Trigger, f"{r.control}/{service}", Trigger.Request())
            for r in robots
        ]
        _wait_all(calls)
        return [_refusal(call) for call in calls]

    def named(self, robots: Sequence[Found]) -> list[Found]:
        """The same with the robots' names, of those that answer."""
        request = GetParameters.Request(names=["embodiment"])
        calls = [
            self._domains[r.domain].call(GetParameters, f"{r.control}/get_parameters", request)
            for r in robots
        ]
        _wait_all(calls)
        return [
            Found(r.domain, r.control, self._domains[r.domain].found(r.control).nodes, _name(call))
            for r, call in zip(robots, calls, strict=True)
        ]


def _wait_all(calls: Sequence[Any]) -> None:
    end = time.monotonic() + ANSWER_S
    while not all(call.done() for call in calls) and time.monotonic() < end:
        time.sleep(POLL_S / 4)


def _refusal(call: Any) -> str | None:
    if not call.done():
        return f"no answer in {ANSWER_S:g} s"
    response = call.result()
    return None if response.success else response.message


def _name(call: Any) -> str:
    values = call.result().values if call.done() else []
    return os.path.splitext(os.path.basename(values[0].string_value))[0] if values else ""
