"""`vla stop`: stop the running robot; it stays stopped until `vla stop --reset`.

Looks in ROS_DOMAIN_ID, or if that is not set in domain 0 and every domain that somebody on this machine
speaks in. One robot is stopped and named; of several none, and the list says how to stop each, or all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from vla_policy.ros import session
from vla_policy.ros.graph import namespace_of
from vla_policy.ros.robots_here import Found, RobotsHere

NOT_STOPPED = "If a robot moves, use its emergency stop."
MAX_DOMAINS = 12  # each costs a participant, thus time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla stop`."""
    parser.add_argument("--reset", action="store_true", help="lift an earlier stop instead")
    parser.add_argument("--all", action="store_true", help="every robot that is found")
    parser.add_argument("--robot", help="only robots of that name, as in vx300s")
    parser.add_argument("--domain", type=int, metavar="N", help="only in that ROS domain")
    parser.add_argument("--namespace", help="only in that namespace; / is the one without a name")


def run(args: argparse.Namespace) -> int:
    """Call control/stop or control/reset of what was chosen; 0 if each accepted it."""
    space = None if args.namespace is None else namespace_of(args.namespace) or "/"
    domains, expected = where_to_look(args.domain)
    with RobotsHere(domains, expected) as here:
        robots = here.look()
        fits = [r for r in robots if space in (None, r.namespace)]
        if args.robot is not None:
            fits = [r for r in here.named(fits) if r.robot == args.robot]
        if not args.all:
            fits = _of_the_chosen_domain(fits)
        if not fits:
            return _nothing(here.named(robots), domains, args)
        if len(fits) > 1 and not args.all:
            return _which(here.named(fits), args)
        return _call(here, fits, args)


def where_to_look(domain: int | None) -> tuple[list[int], list[int]]:
    """Domains, and those of them in which somebody speaks. domain: of the command line."""
    if domain is not None:
        if not 0 <= domain <= 232:
            raise ValueError(f"--domain: got {domain}, expected 0 to 232")
        return [domain], [domain]
    announced = [s.domain for s in session.running()]
    expected = list(dict.fromkeys((*announced, *session.domains_in_use())))
    return list(dict.fromkeys((_default(), *expected)))[:MAX_DOMAINS], expected


def _default() -> int:
    return int(os.environ.get("ROS_DOMAIN_ID") or 0)


def _of_the_chosen_domain(robots: list[Found]) -> list[Found]:
    """Where ROS_DOMAIN_ID is set, its robots go before those of other domains."""
    if not os.environ.get("ROS_DOMAIN_ID"):
        return robots
    return [r for r in robots if r.domain == _default()] or robots


def _call(here: RobotsHere, robots: Sequence[Found], args: argparse.Namespace) -> int:
    refusals = here.call(robots, "reset" if args.reset else "stop")
    named = here.named(robots)
    for robot, refusal in zip(named, refusals, strict=True):
        if refusal is not None:
            what = "not reset" if args.reset else f"NOT STOPPED. {NOT_STOPPED}"
            print(f"{robot}: {refusal}: {what}", file=sys.stderr)
        elif args.reset:
            print(f"reset: {robot}")
        else:
            print(f"stopped: {robot}; `vla stop --reset {robot.choice}` lifts it")
    return 0 if all(refusal is None for refusal in refusals) else 1


def _which(robots: Sequence[Found], args: argparse.Namespace) -> int:
    done = "reset" if args.reset else "stopped"
    print(f"{len(robots)} robots are running and none was {done}; say which:", file=sys.stderr)
    _print_commands(robots, args)
    print(f"  all of them:  {_command(args)} --all", file=sys.stderr)
    return 1


def _nothing(robots: Sequence[Found], domains: Sequence[int], args: argparse.Namespace) -> int:
    looked = f"domain{'s' if len(domains) > 1 else ''} {', '.join(map(str, domains))}"
    if not robots:
        print(
            f"vla stop: NOT STOPPED: no control node answers in {looked}. {NOT_STOPPED}",
            file=sys.stderr,
        )
        return 1
    print("no robot fits, and none was stopped; there is", file=sys.stderr)
    _print_commands(robots, args)
    return 1


def _print_commands(robots: Sequence[Found], args: argparse.Namespace) -> None:
    for robot in robots:
        print(f"  {robot}:  {_command(args)} {robot.choice}", file=sys.stderr)


def _command(args: argparse.Namespace) -> str:
    return "vla stop --reset" if args.reset else "vla stop"
