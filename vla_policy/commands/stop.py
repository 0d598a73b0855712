"""`vla stop`: stop the running robot; it stays stopped until `vla stop --reset`.

A robot of this machine is stopped at once, over the socket that its control node keeps open, and
named; others are searched for during the rest of a second. Without a robot here the network is
searched for some seconds. Of several known robots none is stopped, and the list shows how to stop
each, or all.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from vla_policy.check.doctor.domains import LAST_DOMAIN, chosen_domain, domain_in_use
from vla_policy.parsing.files import one_line
from vla_policy.ros.operator.known_robots import Known, call_lines, known_robots
from vla_policy.ros.operator.stop_request import Key, Request, RobotIdentity, choices, told
from vla_policy.ros.operator.stop_search import Ending, Search
from vla_policy.ros.process import notes

MAX_DOMAINS = 12  # each costs a participant, thus time
LOOK_S = 3.3  # over the network: a participant announces itself only every 3 s
# On top of it where no robot is discovered: two more announcements, as a busy machine loses some.
PATIENCE_S = 6.7
# From the start of the command, after a stop over the local line: when the search for other robots
# ends, and when the command returns at the latest. A robot on another machine may appear later.
LOOKED_S, RETURNED_S = 0.78, 0.92
ASK_S = 0.1  # within that time, for a robot's answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla stop`."""
    parser.add_argument("--reset", action="store_true", help="lift an earlier stop instead")
    parser.add_argument("--all", action="store_true", help="every robot that is found")
    parser.add_argument("--robot", help="only robots of that name, as in vx300s")
    parser.add_argument("--domain", type=int, metavar="N", help="only in that ROS domain")
    parser.add_argument("--namespace", help="only in that namespace; / is the one without a name")


def run(args: argparse.Namespace) -> int:
    """Call stop or reset of the chosen robots; 0 if each accepted and no other one was found."""
    began_s = time.monotonic() - notes.age_s()
    request = _request(args)
    sessions, problems = notes.read()
    for problem in problems:
        print(f"vla stop: {problem}", file=sys.stderr)
    known = request.meant(known_robots(sessions))
    if len(known) > 1 and not request.everyone:
        if request.is_first(known[0]):
            _say_which(known, request)
            return 1
        # ROS_DOMAIN_ID differs, and its robot may be on another machine.
        _leave(_search(request, known, {}, ()))
    answered = call_lines(known, request.word, lambda robot, no: _tell(robot, no, request))
    silent = [robot for robot in known if robot.key not in answered]
    for robot in silent:
        print(f"{robot}: no answer yet; looking over the network", file=sys.stderr, flush=True)
    if answered and not silent and not request.everyone:
        if request.names_one or request.word == "reset":  # others are not concerned
            return 0 if all(answered.values()) else 1
        _leave(_look_for_others(request, known, answered, began_s))
    _leave(_search(request, known, answered, silent))


def where_to_look(domain: int | None) -> list[int]:
    """The domain of the command line; else ROS_DOMAIN_ID or 0, and those in use here."""
    if domain is not None:
        return [domain]
    from vla_policy.ros.bringup import session  # imports numpy, which is slow

    announced = [s.domain for s in notes.running()]
    domains = dict.fromkeys((domain_in_use(), *announced, *session.domains_in_use()))
    return list(domains)[:MAX_DOMAINS]


def _request(args: argparse.Namespace) -> Request:
    """Raises ValueError for an invalid domain or namespace."""
    if args.domain is not None and not 0 <= args.domain <= LAST_DOMAIN:
        raise ValueError(f"--domain: got {args.domain}, expected 0 to {LAST_DOMAIN}")
    space = args.namespace
    return Request(
        word="reset" if args.reset else "stop",
        everyone=args.all,
        robot=args.robot,
        domain=args.domain,
        namespace=None if space is None else notes.namespace_of(space) or "/",
        own=chosen_domain(),
    )


def _search(
    request: Request, known: Sequence[Known], answered: dict[Key, bool], silent: Sequence[Known]
) -> int:
    """Find, by discovery, robots that have not answered over their lines; call the chosen ones.

    silent: those of known that did not answer over their lines.
    """
    # Imported here, as it imports rclpy, which is slow.
    from vla_policy.ros.operator.robots_here import RobotsHere

    domains = where_to_look(request.domain)
    told = tuple(robot for robot in known if robot.key in answered)
    with RobotsHere(domains) as here:
        quiet = [robot for robot in known if robot.key not in answered]
        search = Search(
            here,
            request,
            _teller(request),
            told,
            dict(answered),
            quiet,
            nothing_yet=lambda: print(
                f"vla stop: no control node answers in {_looked(domains)} yet: {request.failed}; "
                f"looking on for {PATIENCE_S:g} s",
                file=sys.stderr,
                flush=True,
            ),
        )
        end = search.run(here.began_s + LOOK_S, patience_s=0.0 if known else PATIENCE_S)
        if end.several:
            _say_which(end.others, request)
            return 1
        unheard = [robot for robot in silent if robot.key not in end.accepted]
        for robot in unheard:
            _tell(robot, "it runs, but its control node is not heard of", request)
        if not end.accepted and not unheard:
            return _nothing(here.named(end.heard), domains, request)
        missed = _say_others(end.others, request)
        if not missed and not unheard and not request.everyone and not request.names_one:
            _say_how_long(time.monotonic() - here.began_s, request)
        return 0 if all(end.accepted.values()) and not unheard and not missed else 1


def _look_for_others(
    request: Request, known: Sequence[Known], answered: dict[Key, bool], began_s: float
) -> int:
    """After a stop, search for the rest of a second: 1 if a robot was found that is not stopped.

    The search has its own thread, as loading ROS may take any time; after the second the command
    ends without it.
    """
    ended: list[tuple[Ending | None, str, float]] = []  # or the error; seconds

    def look() -> None:
        try:
            from vla_policy.ros.operator.robots_here import RobotsHere

            if time.monotonic() > began_s + LOOKED_S:
                ended.append((None, "loading ROS took the whole second", 0.0))
                return
            with RobotsHere(where_to_look(request.domain)) as here:
                search = Search(
                    here,
                    request,
                    _teller(request),
                    tuple(known),
                    dict(answered),
                    answer_s=ASK_S,
                    name_s=ASK_S,
                )
                end = search.run(began_s + LOOKED_S, grace_s=None)
                ended.append((end, "", time.monotonic() - here.began_s))
        except (ImportError, RuntimeError, OSError, ValueError) as error:
            ended.append((None, one_line(error), 0.0))

    thread = threading.Thread(target=look, name="look for others", daemon=True)
    thread.start()
    thread.join(max(0.0, began_s + RETURNED_S - time.monotonic()))
    end, why, looked_s = ended[0] if ended else (None, "loading ROS took the whole second", 0.0)
    code = 0 if all((end.accepted if end else answered).values()) else 1
    if end is None:
        print(
            f"others were not looked for: {why}; `{request.command_for_all}` does", file=sys.stderr
        )
    elif _say_others(end.others, request):
        code = 1
    else:
        _say_how_long(looked_s, request)
    return code


def _leave(code: int) -> NoReturn:
    """Exit without Python's cleanup, which takes a third of a second with ROS loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _teller(request: Request) -> Callable[[RobotIdentity, str | None], None]:
    return lambda robot, refusal: _tell(robot, refusal, request)


def _tell(robot: RobotIdentity, refusal: str | None, request: Request) -> None:
    where = sys.stdout if refusal is None else sys.stderr
    print(told(robot, refusal, request), file=where, flush=True)


def _say_which(robots: Sequence[RobotIdentity], request: Request) -> None:
    print(
        f"{len(robots)} robots are running and none was {request.done}; say which:\n"
        f"{choices(robots, request)}",
        file=sys.stderr,
    )


def _say_others(robots: Sequence[RobotIdentity], request: Request) -> bool:
    """Print the robots that were found after the known one was called; returns whether any."""
    if robots:
        done = "reset" if request.word == "reset" else "STOPPED"
        print(
            f"NOT {done}, as it was not known that more than one is running:\n"
            f"{choices(robots, request)}",
            file=sys.stderr,
        )
    return bool(robots)


def _say_how_long(looked_s: float, request: Request) -> None:
    """Print the duration of the search: there may be robots that were not found."""
    if looked_s < LOOK_S:
        print(
            f"no other robot was heard of in {looked_s:.1f} s; one on another machine may take"
            f" {LOOK_S:g} s: `{request.command_for_all}` waits for it",
            file=sys.stderr,
        )


def _nothing(robots: Sequence[RobotIdentity], domains: Sequence[int], request: Request) -> int:
    if not robots:
        print(
            f"vla stop: no control node answers in {_looked(domains)}: {request.failed}",
            file=sys.stderr,
        )
    else:
        print(
            f"no robot fits, and none was {request.done}; there is\n{choices(robots, request)}",
            file=sys.stderr,
        )
    return 1


def _looked(domains: Sequence[int]) -> str:
    return f"domain{'s' if len(domains) > 1 else ''} {', '.join(map(str, domains))}"
