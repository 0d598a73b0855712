"""The robots whose control nodes can be reached, in one or several ROS domains, found in bounded time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from vla_policy.ros.bringup.graph import client_arguments
from vla_policy.ros.operator.control_nodes import control_nodes
from vla_policy.ros.operator.stop_request import StoppableRobot
from vla_policy.ros.process.spinning import spin

# A participant announces itself when it begins and then every 3 s. The first announcement is often missed by one of
# the two sides; a further participant announces anew, and both are discovered through it.
AGAIN_S, MOST_AGAIN = 0.3, 5
MOST_PARTICIPANTS = 24  # of all domains together; each costs a few megabytes and milliseconds
POLL_S = 0.02
ANSWER_S = 1.0


class Participant:
    """One domain, used from one thread; a second, internal thread runs the callbacks."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(
            args=client_arguments(""),
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
        self._thread = threading.Thread(
            target=spin, args=(self._executor,), name=f"domain {domain}", daemon=True
        )
        self._thread.start()

    def controls(self) -> set[str]:
        """Full names of the control nodes."""
        return control_nodes(self._node)

    def nodes(self, space: str) -> list[str]:
        """Names of the nodes of a namespace, its own not among them."""
        found = self._node.get_node_names_and_namespaces()
        return [name for name, at in found if at == space and name != self._node.get_name()]

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The future of the answer; of None where no node serves name any more."""
        client = self._node.create_client(kind, name)
        client.wait_for_service(timeout_sec=0.2)
        return client.call_async(request)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown(timeout_sec=0.5)
        self._thread.join(timeout=0.5)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


class RobotsHere:
    """The robots of some domains; the first domains get more participants."""

    def __init__(self, domains: Sequence[int]) -> None:
        self._participants = {domain: [Participant(domain)] for domain in domains}
        self.began_s = self._again_s = time.monotonic()

    def __enter__(self) -> RobotsHere:
        return self

    def __exit__(self, *_: object) -> None:
        for participants in self._participants.values():
            for participant in participants:
                participant.close()

    def watch(self, until_s: float) -> Iterator[tuple[StoppableRobot, ...]]:
        """All discovered robots, again and again until then (time.monotonic()); once at least."""
        while True:
            yield self.heard()
            now_s = time.monotonic()
            if now_s >= until_s:
                return
            if now_s - self._again_s > AGAIN_S:
                self._again_s = now_s
                self._begin_anew()
            time.sleep(POLL_S)

    def heard(self) -> tuple[StoppableRobot, ...]:
        """All robots discovered so far."""
        return tuple(
            StoppableRobot(domain, control, self._nodes(domain, control))
            for domain, participants in self._participants.items()
            for control in sorted(set().union(*(p.controls() for p in participants)))
        )

    def call(
        self, robots: Sequence[StoppableRobot], service: str, within_s: float = ANSWER_S
    ) -> list[str | None]:
        """Call a Trigger of each control node at once: None where it was accepted, else a sentence."""
        calls = [self._ask(robot, Trigger, service, Trigger.Request()) for robot in robots]
        _wait_all(calls, within_s)
        return [_refusal(call, within_s) for call in calls]

    def named(
        self, robots: Sequence[StoppableRobot], within_s: float = ANSWER_S
    ) -> list[StoppableRobot]:
        """The same with the robots' names, of those that answer."""
        request = GetParameters.Request(names=["embodiment"])
        calls = [self._ask(robot, GetParameters, "get_parameters", request) for robot in robots]
        _wait_all(calls, within_s)
        return [
            replace(r, robot=_name(call), nodes=self._nodes(r.domain, r.control))
            for r, call in zip(robots, calls, strict=True)
        ]

    def _begin_anew(self) -> None:
        """A further participant in each domain."""
        total = sum(len(participants) for participants in self._participants.values())
        for domain, participants in self._participants.items():
            if total < MOST_PARTICIPANTS and len(participants) <= MOST_AGAIN:
                participants.append(Participant(domain))
                total += 1

    def _nodes(self, domain: int, control: str) -> tuple[str, ...]:
        """Names of the nodes beside a control node. Those of the participant that has discovered most."""
        space = control.rpartition("/")[0] or "/"
        seen = [participant.nodes(space) for participant in self._participants[domain]]
        most = max(map(sorted, seen), key=len)
        return tuple(most)

    def _ask(self, robot: StoppableRobot, kind: Any, service: str, request: Any) -> Any:
        participants = self._participants[robot.domain]
        heard = [p for p in participants if robot.control in p.controls()]
        return (heard or participants)[0].call(kind, f"{robot.control}/{service}", request)


def _wait_all(calls: Sequence[Any], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not all(call.done() for call in calls) and time.monotonic() < end_s:
        time.sleep(POLL_S / 2)


def _refusal(call: Any, within_s: float) -> str | None:
    if not call.done():
        return f"no answer in {within_s:g} s"
    response = call.result()
    return None if response.success else response.message


def _name(call: Any) -> str:
    values = call.result().values if call.done() else []
    return os.path.splitext(os.path.basename(values[0].string_value))[0] if values else ""
