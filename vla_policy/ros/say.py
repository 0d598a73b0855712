"""`vla say "put the red cube in the tray"`: tell the running robot what to do, wait for the outcome."""

from __future__ import annotations

import argparse
import time

from vla_policy.instruction import Stop, stop_of
from vla_policy.ros import session
from vla_policy.ros.client import Client

EXIT = {"done": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla say`."""
    parser.add_argument("instruction", nargs="+", help="what to do, in plain words")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="give up after S seconds"
    )
    parser.add_argument(
        "--wait", type=float, metavar="S", help="at most S seconds until the robot is engaged"
    )
    parser.add_argument("--engage", action="store_true", help="let commands through first")
    parser.add_argument("--namespace", default="", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """0 if the policy holds the instruction for done, or it was a word to stop; else 1."""
    instruction = " ".join(args.instruction).strip()
    if not instruction:
        raise ValueError("an empty instruction; say for example: vla say pick up the red cube")
    if not args.timeout > 0:
        raise ValueError(f"--timeout: got {args.timeout:g} s, expected > 0")
    domain = session.join()
    with Client("say", namespace=args.namespace) as client:
        if (stop := stop_of(instruction)) is not None:
            return _stop(client, instruction, stop)
        if not client.wait_for_task(args.wait or 5.0):
            raise TimeoutError(
                f"no robot in ROS domain {domain}; start one with `vla up` or `make demo`"
            )
        if args.engage:
            client.engage()
        if args.wait is not None:
            _wait_until_engaged(client, args.wait)
        return _follow(client, instruction, args.timeout)


def _stop(client: Client, text: str, stop: Stop) -> int:
    """A word to stop needs no task node: the control node is told by itself, then everybody."""
    problem: Exception | None = None
    if stop is Stop.LATCH:
        try:
            print(client.stop(), flush=True)
        except (TimeoutError, ValueError) as error:
            problem = error  # the word itself may still be heard
    client.say(text)
    time.sleep(0.5)  # reliable, but this process must be there until it has come
    if problem is not None:
        raise problem
    if stop is Stop.END:
        print("said; what was being done ends and the robot holds")
    return 0


def _wait_until_engaged(client: Client, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    while not (client.status and client.status.engaged):
        if time.monotonic() > end:
            raise TimeoutError(f"the robot is not engaged after {wait_s:g} s")
        time.sleep(0.1)
    time.sleep(0.5)  # the task node reads the same status and may read it later


def _follow(client: Client, instruction: str, timeout_s: float) -> int:
    told: list[str] = []

    def tell(feedback) -> None:
        line = feedback.subtask or feedback.plan
        if feedback.reason:
            line = f"{line} ({feedback.reason})"
        if line and line not in told[-1:]:
            told.append(line)
            print(f"  {line}", flush=True)

    result = client.start(instruction, timeout_s, tell)
    try:
        outcome = client.outcome(result, timeout_s + 10.0)
    except KeyboardInterrupt:
        client.cancel()
        raise
    if outcome is None:
        raise TimeoutError("the task node sent no outcome")
    judged = client.event
    print(f"{outcome.code} after {outcome.elapsed_s:.1f} s: {outcome.message}")
    if judged is not None and judged.instruction == instruction:
        print(
            f"the simulation says: {'done' if judged.ever_success else 'not done'} ({judged.detail})"
        )
    return EXIT.get(outcome.code, 1)
