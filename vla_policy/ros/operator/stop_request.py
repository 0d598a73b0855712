"""The request of `vla stop`: stop or reset, and which robots are meant. No ROS in here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

Key = tuple[int, str]  # domain, full name of the control node
NOT_STOPPED = "If a robot moves, use its emergency stop."


class RobotIdentity(Protocol):
    """The identity of a robot, found by its note or by discovery."""

    @property
    def key(self) -> Key: ...
    @property
    def domain(self) -> int: ...
    @property
    def namespace(self) -> str: ...
    @property
    def robot(self) -> str: ...
    @property
    def choice(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StoppableRobot:
    """One robot's control node. control: its full name; nodes: of its namespace; robot: '' if it is not known."""

    domain: int
    control: str
    nodes: tuple[str, ...] = ()
    robot: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """Its key among all robots."""
        return self.domain, self.control

    @property
    def namespace(self) -> str:
        return self.control.rpartition("/")[0] or "/"

    @property
    def choice(self) -> str:
        """The arguments that choose it."""
        return f"--domain {self.domain} --namespace {self.namespace}"

    def __str__(self) -> str:
        nodes = f" (nodes {', '.join(self.nodes)})" if self.nodes else ""
        return (
            f"{self.robot or 'a robot'} in domain {self.domain}, namespace {self.namespace}{nodes}"
        )


R = TypeVar("R", bound=RobotIdentity)


@dataclass(frozen=True, slots=True)
class Request:
    """word: stop or reset. None where the command line does not choose. own: ROS_DOMAIN_ID, if it is set."""

    word: str = "stop"
    everyone: bool = False
    robot: str | None = None
    domain: int | None = None
    namespace: str | None = None
    own: int | None = None

    @property
    def names_one(self) -> bool:
        """Whether no other robot can be meant."""
        return self.domain is not None and self.namespace is not None

    @property
    def command(self) -> str:
        """`vla stop` with all that was chosen, but for a domain or namespace."""
        return " ".join(
            ["vla stop"]
            + (["--reset"] if self.word == "reset" else [])
            + (["--robot", self.robot] if self.robot is not None else [])
        )

    @property
    def command_for_all(self) -> str:
        """The same for all robots that this one may have meant."""
        place = [] if self.domain is None else ["--domain", str(self.domain)]
        place += [] if self.namespace is None else ["--namespace", self.namespace]
        return " ".join([self.command, *place, "--all"])

    @property
    def done(self) -> str:
        return "reset" if self.word == "reset" else "stopped"

    @property
    def failed(self) -> str:
        return "not reset" if self.word == "reset" else f"NOT STOPPED. {NOT_STOPPED}"

    def fits(self, robot: RobotIdentity) -> bool:
        """Whether the command line leaves it open that this one is meant."""
        return (
            self.domain in (None, robot.domain)
            and self.namespace in (None, robot.namespace)
            and self.robot in (None, robot.robot)
        )

    def is_first(self, robot: RobotIdentity) -> bool:
        """Whether it fits and goes before others: where ROS_DOMAIN_ID is set, robots of that domain."""
        free = self.everyone or self.domain is not None or self.own is None
        return self.fits(robot) and (free or robot.domain == self.own)

    def meant(self, robots: Iterable[R]) -> list[R]:
        """The first choice; for a stop the other matching ones if there is no first choice.

        An extra stop costs a reset; an extra reset lifts a stop that another operator needs.
        """
        fits = [robot for robot in robots if self.fits(robot)]
        first = [robot for robot in fits if self.is_first(robot)]
        return first if first or self.word == "reset" else fits


def told(robot: RobotIdentity, refusal: str | None, request: Request) -> str:
    """The sentence on one robot's answer; refusal: None where it was done."""
    if refusal is not None:
        return f"{robot}: {refusal}: {request.failed}"
    if request.word == "reset":
        return f"reset: {robot}"
    return f"stopped: {robot}; `vla stop --reset {robot.choice}` lifts it"


def choices(robots: Iterable[RobotIdentity], request: Request) -> str:
    """Lines with the command for each of several, and for all."""
    lines = [f"  {robot}:  {request.command} {robot.choice}" for robot in robots]
    return "\n".join([*lines, f"  all of them:  {request.command_for_all}"])
