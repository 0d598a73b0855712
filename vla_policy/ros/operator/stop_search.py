"""Stopping a robot that has no note: it is called as soon as it is discovered. No ROS in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vla_policy.ros.operator.known_robots import Known
from vla_policy.ros.operator.stop_request import Key, Request, RobotIdentity, StoppableRobot

GRACE_S = 0.5  # after the robot that was meant: for others that are discovered a moment later
ELSEWHERE_S = (
    1.0  # for robots of ROS_DOMAIN_ID, before one of another domain is assumed to be meant
)
ANSWER_S = 1.0
NAME_S = 0.3  # a robot whose name does not arrive in time is called without it


class Network(Protocol):
    """The interface of ros/operator/robots_here.RobotsHere: robots as they are discovered, and calls to them."""

    def watch(self, until_s: float) -> Iterator[tuple[StoppableRobot, ...]]: ...
    def named(self, robots: Sequence[StoppableRobot], within_s: float) -> list[StoppableRobot]: ...
    def call(
        self, robots: Sequence[StoppableRobot], service: str, within_s: float
    ) -> list[str | None]: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """accepted: the answer of each robot called. others: discovered, matching, and not called.

    several: whether there were too many to call one of them. heard: all discovered robots.
    """

    accepted: dict[Key, bool]
    others: tuple[RobotIdentity, ...]
    several: bool
    heard: tuple[StoppableRobot, ...]


@dataclass(slots=True)
class Search:
    """One search of the network.

    told: robots that have answered already, and whether they accepted.
    silent: known robots that have not answered: none is taken for another, and their control nodes are waited for.
    nothing_yet: called once when the search goes on because no robot was discovered in its time.
    """

    network: Network
    request: Request
    tell: Callable[[RobotIdentity, str | None], None]
    told: tuple[RobotIdentity, ...] = ()
    accepted: dict[Key, bool] = field(default_factory=dict)
    silent: Sequence[Known] = ()
    answer_s: float = ANSWER_S
    name_s: float = NAME_S
    nothing_yet: Callable[[], None] = lambda: None
    _names: dict[Key, StoppableRobot] = field(default_factory=dict)

    def run(
        self, until_s: float, grace_s: float | None = GRACE_S, patience_s: float = 0.0
    ) -> Ending:
        """Search until then (time.monotonic()), or for grace_s after every robot that is meant has been called.

        Where none is discovered until then, the search goes on for up to patience_s, to grace_s after the first one.
        Of several that are discovered in the same moment none is called, but with --all. A reset waits until all
        are discovered: a stop too many does no harm.
        """
        began_s = time.monotonic()
        calls_at_once = self.request.word == "stop" or self.request.everyone
        asked_s: float | None = None
        end_s: float | None = until_s  # None: when the first one has been discovered
        robots: Sequence[StoppableRobot] = ()
        for heard in self.network.watch(until_s + patience_s):
            robots = self._with_names(heard)
            now_s = time.monotonic()
            if robots and end_s is None:
                end_s = now_s + (grace_s or 0.0)
            elif not robots and end_s is not None and now_s >= end_s and patience_s > 0.0:
                end_s = None
                self.nothing_yet()
            if end_s is not None and now_s >= end_s:
                break
            new, settled = self._meant(robots, elsewhere=now_s - began_s > ELSEWHERE_S)
            if calls_at_once and new and (self.request.everyone or not settled):
                if self._too_many(new, robots):
                    return self._ending(robots, several=True)
                self._call(new)
                settled = True
            if not settled:
                asked_s = None
            elif asked_s is None:
                asked_s = time.monotonic()
            if self.request.everyone or self._unheard(robots) or grace_s is None:
                continue
            if asked_s is not None and now_s - asked_s > grace_s:
                break
        new, settled = self._meant(robots, elsewhere=True)
        if new and not settled:
            if self._too_many(new, robots):
                return self._ending(robots, several=True)
            self._call(new)
        return self._ending(robots)

    def _meant(
        self, robots: Sequence[StoppableRobot], *, elsewhere: bool
    ) -> tuple[list[StoppableRobot], bool]:
        """Robots that are meant and not called yet, and whether one that is meant has been."""
        keys = {one.key for one in self.request.meant([*self.told, *robots])}
        if not elsewhere and not self.told:
            keys = {one.key for one in robots if self.request.is_first(one)}
        new = [one for one in robots if one.key in keys and one.key not in self.accepted]
        return new, any(key in self.accepted for key in keys)

    def _too_many(self, new: Sequence[StoppableRobot], robots: Sequence[StoppableRobot]) -> bool:
        return len(new) + len(self._unheard(robots)) > 1 and not self.request.everyone

    def _unheard(self, robots: Sequence[StoppableRobot]) -> list[Known]:
        """Known robots that are meant as much as a discovered one, and were not discovered themselves."""
        heard = {one.key for one in robots}
        meant = self.request.meant([*self.told, *robots, *self.silent])
        return [one for one in self.silent if one.key not in heard and one in meant]

    def _with_names(self, heard: Sequence[StoppableRobot]) -> Sequence[StoppableRobot]:
        """Names are requested only where they choose: a stop cannot wait for the answer."""
        if self.request.robot is None:
            return heard
        unnamed = [one for one in heard if one.key not in self._names]
        if unnamed:
            self._names |= {
                one.key: one for one in self.network.named(unnamed, self.name_s) if one.robot
            }
        return [self._names.get(one.key, one) for one in heard]

    def _call(self, robots: Sequence[StoppableRobot]) -> None:
        refusals = self.network.call(robots, self.request.word, self.answer_s)
        for robot, refusal in zip(robots, refusals, strict=True):
            self.accepted[robot.key] = refusal is None
        for robot, refusal in zip(self.network.named(robots, self.name_s), refusals, strict=True):
            same = robot.nodes.count(robot.control.rpartition("/")[2])
            if refusal is None and same > 1:
                self.accepted[robot.key] = False
                refusal = (
                    f"one of {same} control nodes of that name has confirmed it, the others not"
                )
            self.told = (*self.told, robot)
            self.tell(robot, refusal)

    def _ending(self, robots: Sequence[StoppableRobot], *, several: bool = False) -> Ending:
        new, _ = self._meant(robots, elsewhere=True)
        named = self.network.named(new, self.name_s) if new else ()
        others = [*named, *(self._unheard(robots) if several else ())]
        return Ending(dict(self.accepted), tuple(others), several, tuple(robots))
