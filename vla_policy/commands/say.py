"""`vla say "put the red cube in the tray"`: give the running robot an instruction and wait."""

from __future__ import annotations

import argparse
import time

from vla_policy.commands.up import end_as_ctrl_c
from vla_policy.ros.bringup import session
from vla_policy.ros.nodes.held_instruction import hold
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.follow import acted, follow, interventions
from vla_policy.ros.operator.known_robots import call_lines, known_robots
from vla_policy.ros.process.notes import namespace_of, running
from vla_policy.runtime.instruction import Stop, stop_of

EXIT = {"done": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla say`."""
    parser.add_argument("instruction", nargs="+", help="what to do, in plain words")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="give up after S s of the robot"
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="S",
        help="hold it for at most S s, until the robot can follow it; other words drop it",
    )
    parser.add_argument("--engage", action="store_true", help="let commands through first")
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain of the robot")
    parser.add_argument("--namespace", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """0 if the policy reports the instruction complete, or for a stop word; else 1."""
    instruction = " ".join(args.instruction).strip()
    if not instruction:
        raise ValueError("an empty instruction; say for example: vla say pick up the red cube")
    if not args.timeout > 0:
        raise ValueError(f"--timeout: got {args.timeout:g} s, expected > 0")
    space = None if args.namespace is None else namespace_of(args.namespace)
    domain, space = session.join(args.domain, space)
    end_as_ctrl_c()
    stop = stop_of(instruction)
    if stop is Stop.LATCH and _stopped_by_line(domain, space):
        return 0  # nothing moves, and the task node ends its run
    with Client("say", namespace=space) as client:
        if stop is not None:
            return _stop(client, instruction, stop)
        if args.wait is not None:
            hold(client, instruction, args.wait)
        elif not client.wait_for_task(5.0):
            raise TimeoutError(
                f"no robot in ROS domain {domain}, namespace {space or '/'}; start one with `vla up` or `make demo`"
            )
        if args.engage:
            client.engage()
        return _follow(client, instruction, args.timeout)


def _stopped_by_line(domain: int, space: str) -> bool:
    """Whether a control node on this machine has confirmed the stop, before any discovery."""
    meant = [r for r in known_robots(running()) if r.key == (domain, f"{space}/control")]
    answered = call_lines(
        meant,
        "stop",
        lambda robot, no: print(f"{'NOT STOPPED' if no else 'stopped'}: {robot} {no or ''}"),
    )
    return bool(answered) and all(answered.values())


def _stop(client: Client, text: str, stop: Stop) -> int:
    """A stop word needs no task node: it goes to the control node directly, then to all."""
    problem: Exception | None = None
    if stop is Stop.LATCH:
        try:
            print(client.stop(), flush=True)
        except (TimeoutError, ValueError) as error:
            problem = error  # the stop word itself may still arrive
    client.say(text)
    time.sleep(0.5)  # reliable delivery, but this process must run until it is complete
    if problem is not None:
        raise problem
    if stop is Stop.END:
        print("said; what was being done ends and the robot holds")
    return 0


def _follow(client: Client, instruction: str, timeout_s: float) -> int:
    before = interventions(client.status)
    outcome = follow(client, instruction, timeout_s)
    judged = client.event
    print(f"{outcome.code} after {outcome.elapsed_s:.1f} s: {outcome.message}")
    for line in acted(before, interventions(client.status)):
        print(f"  limited by {line}")
    if judged is not None and judged.instruction == instruction:
        print(
            f"the simulation says: {'done' if judged.ever_success else 'not done'} ({judged.detail})"
        )
    return EXIT.get(outcome.code, 1)
