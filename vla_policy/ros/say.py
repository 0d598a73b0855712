"""`vla say "put the red cube in the tray"`: tell the running robot what to do, wait for the outcome."""

from __future__ import annotations

import argparse

from vla_policy.ros import session
from vla_policy.ros.client import Client

EXIT = {"done": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla say`."""
    parser.add_argument("instruction", nargs="+", help="what to do, in plain words")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="give up after S seconds"
    )
    parser.add_argument("--engage", action="store_true", help="let commands through first")
    parser.add_argument("--namespace", default="", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """0 if the policy holds the instruction for done, else 1."""
    instruction = " ".join(args.instruction).strip()
    if not instruction:
        raise ValueError("an empty instruction; say for example: vla say pick up the red cube")
    if not args.timeout > 0:
        raise ValueError(f"--timeout: got {args.timeout:g} s, expected > 0")
    domain = session.join()
    with Client("say", namespace=args.namespace) as client:
        if not client.wait_for_task(5.0):
            raise TimeoutError(
                f"no robot in ROS domain {domain}; start one with `vla up` or `make demo`"
            )
        if args.engage:
            client.engage()
        return _follow(client, instruction, args.timeout)


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
