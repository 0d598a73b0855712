"""`vla stop`: stop the running robot; it stays stopped until `vla stop --reset`.

A robot of this machine is stopped at once, over the line that its control node keeps open; then, and for all
others, it looks in ROS_DOMAIN_ID, or if that is not set in domain 0 and every domain that somebody on this
machine speaks in. One robot is stopped and named; of several none, and the list says how to stop each, or all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vla_policy.ros.operator.known_robots import Known, call_lines, known_robots
from vla_policy.ros.process import notes

if TYPE_CHECKING:
    from vla_policy.ros.operator.robots_here import Found, RobotsHere

Key = tuple[int, str]
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
    """Call stop or reset of what was chosen; 0 if each accepted it and no other one runs."""
    if args.domain is not None and not 0 <= args.domain <= notes.LAST_DOMAIN:
        raise ValueError(f"--domain: got {args.domain}, expected 0 to {notes.LAST_DOMAIN}")
    if args.namespace is not None:
        args.namespace = notes.namespace_of(args.namespace) or "/"
    sessions, problems = notes.read()
    for problem in problems:
        print(f"vla stop: {problem}", file=sys.stderr)
    known = [robot for robot in known_robots(sessions) if _fits(robot, args)]
    if os.environ.get("ROS_DOMAIN_ID") and args.domain is None and not args.all:
        known = [robot for robot in known if robot.domain == _default()]
    if len(known) > 1 and not args.all:
        return _which(known, args)
    answered = call_lines(known, _verb(args), lambda robot, no: _tell(robot, no, args))
    if answered and args.domain is not None and args.namespace is not None:
        return 0 if all(answered.values()) else 1  # no other one is meant
    others = _look(args, known, answered)
    return others if all(answered.values()) else 1


def where_to_look(domain: int | None) -> tuple[list[int], list[int]]:
    """Domains, and those of them in which somebody speaks. domain: of the command line."""
    if domain is not None:
        return [domain], [domain]
    from vla_policy.ros.bringup import session  # imports numpy, which takes a while

    announced = [s.domain for s in notes.running()]
    expected = list(dict.fromkeys((*announced, *session.domains_in_use())))
    return list(dict.fromkeys((_default(), *expected)))[:MAX_DOMAINS], expected


def _look(args: argparse.Namespace, known: list[Known], answered: Mapping[Key, bool]) -> int:
    """Find the robots that have not answered over their lines, by discovery; call what is meant.

    0 if each accepted it and no other one runs.
    """
    from vla_policy.ros.operator.robots_here import (
        RobotsHere,  # imports rclpy, which takes a while
    )

    domains, expected = where_to_look(args.domain)
    silent = [robot for robot in known if robot.key not in answered]
    with RobotsHere(domains, expected) as here:
        if answered and not silent:
            print("looking for further robots, a few seconds more", file=sys.stderr, flush=True)
            return _look_for_others(here, args, set(answered))
        robots = here.look({robot.key for robot in silent}) or here.look(thorough=True)
        fits = _chosen(here, robots, args)
        rest = [robot for robot in fits if robot.key not in answered]
        heard = {robot.key for robot in robots}
        unheard = [robot for robot in silent if robot.key not in heard]
        if not rest and not unheard:
            return _nothing(here.named(robots), domains, args)
        if len(rest) + len(unheard) > 1 and not args.all:
            return _which([*here.named(rest), *unheard], args)
        code = _call(here, rest, args)
        for robot in unheard:
            _tell(robot, "it runs, but its control node is not heard of", args)
        if args.domain is not None and args.namespace is not None:
            return 1 if unheard else code
        told = {*answered, *(r.key for r in rest), *(r.key for r in unheard)}
        others = _look_for_others(here, args, told)
        return 1 if unheard else code or others


def _look_for_others(here: RobotsHere, args: argparse.Namespace, told: set[Key]) -> int:
    """After a stop: robots that are heard of late are told, or called as well with --all."""
    fits = _chosen(here, here.look(thorough=True), args)
    others = [robot for robot in fits if robot.key not in told]
    return _call(here, others, args) if args.all else _others(here.named(others), args)


def _chosen(here: RobotsHere, robots: Sequence[Found], args: argparse.Namespace) -> list[Found]:
    """Those that the command line names; where ROS_DOMAIN_ID is set its robots go before others."""
    named = here.named(robots) if args.robot is not None else robots
    fits = [robot for robot in named if _fits(robot, args)]
    if args.all or not os.environ.get("ROS_DOMAIN_ID"):
        return fits
    return [robot for robot in fits if robot.domain == _default()] or fits


def _default() -> int:
    return int(os.environ.get("ROS_DOMAIN_ID") or 0)


def _fits(robot: Known | Found, args: argparse.Namespace) -> bool:
    """Whether a robot is among those that the command line names."""
    return (
        args.domain in (None, robot.domain)
        and args.namespace in (None, robot.namespace)
        and args.robot in (None, robot.robot)
    )


def _call(here: RobotsHere, robots: Sequence[Found], args: argparse.Namespace) -> int:
    refusals = here.call(robots, _verb(args))
    for robot, refusal in zip(here.named(robots), refusals, strict=True):
        same = robot.nodes.count(robot.control.rpartition("/")[2])
        if refusal is None and same > 1:
            refusal = f"one of {same} control nodes of that name has confirmed it, the others not"
        _tell(robot, refusal, args)
    return 0 if all(refusal is None for refusal in refusals) else 1


def _tell(robot: Known | Found, refusal: str | None, args: argparse.Namespace) -> None:
    if refusal is not None:
        what = _failed(args) if args.reset else f"{_failed(args)}. {NOT_STOPPED}"
        print(f"{robot}: {refusal}: {what}", file=sys.stderr, flush=True)
    elif args.reset:
        print(f"reset: {robot}", flush=True)
    else:
        print(f"stopped: {robot}; `vla stop --reset {robot.choice}` lifts it", flush=True)


def _which(robots: Sequence[Known | Found], args: argparse.Namespace) -> int:
    done = "reset" if args.reset else "stopped"
    print(f"{len(robots)} robots are running and none was {done}; say which:", file=sys.stderr)
    _print_commands(robots, args)
    print(f"  all of them:  {_command(args)} --all", file=sys.stderr)
    return 1


def _others(robots: Sequence[Found], args: argparse.Namespace) -> int:
    """Those that were found after the one that was known has been stopped; 0 if there are none."""
    if not robots:
        return 0
    done = "reset" if args.reset else "STOPPED"
    print(f"NOT {done}, as it was not known that more than one is running:", file=sys.stderr)
    _print_commands(robots, args)
    print(f"  all of them:  {_command(args)} --all", file=sys.stderr)
    return 1


def _nothing(robots: Sequence[Found], domains: Sequence[int], args: argparse.Namespace) -> int:
    looked = f"domain{'s' if len(domains) > 1 else ''} {', '.join(map(str, domains))}"
    if not robots:
        print(
            f"vla stop: {_failed(args)}: no control node answers in {looked}. {NOT_STOPPED}",
            file=sys.stderr,
        )
        return 1
    print("no robot fits, and none was stopped; there is", file=sys.stderr)
    _print_commands(robots, args)
    return 1


def _print_commands(robots: Sequence[Known | Found], args: argparse.Namespace) -> None:
    for robot in robots:
        print(f"  {robot}:  {_command(args)} {robot.choice}", file=sys.stderr)


def _failed(args: argparse.Namespace) -> str:
    return "not reset" if args.reset else "NOT STOPPED"


def _verb(args: argparse.Namespace) -> str:
    return "reset" if args.reset else "stop"


def _command(args: argparse.Namespace) -> str:
    return "vla stop --reset" if args.reset else "vla stop"
