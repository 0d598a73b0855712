"""Robots known by their note files, before any discovery, and requests to their control nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from vla_policy.ros.process.notes import Session, line_of
from vla_policy.ros.process.stop_line import ask


@dataclass(frozen=True, slots=True)
class Known:
    """One robot. key: domain and full name of its control node; lines: its control nodes, mostly one.

    None where only the process that starts its graph has written a note: the control node may still be starting.
    """

    key: tuple[int, str]
    robot: str
    pids: tuple[int, ...]
    lines: tuple[Session, ...] = ()

    @property
    def domain(self) -> int:
        return self.key[0]

    @property
    def namespace(self) -> str:
        return self.key[1].rpartition("/")[0] or "/"

    @property
    def choice(self) -> str:
        """The arguments that choose it."""
        return f"--domain {self.domain} --namespace {self.namespace}"

    def __str__(self) -> str:
        process = f"process{'es' if len(self.pids) > 1 else ''} {', '.join(map(str, self.pids))}"
        name = self.robot or "a robot"
        return f"{name} in domain {self.domain}, namespace {self.namespace} ({process})"


def known_robots(sessions: Iterable[Session]) -> tuple[Known, ...]:
    """One for each (domain, control node): the notes of control nodes precede those of the processes that started them."""
    by_key: dict[tuple[int, str], list[Session]] = {}
    for one in sessions:
        by_key.setdefault(one.controls, []).append(one)
    robots = []
    for key, notes in sorted(by_key.items()):
        lines = tuple(note for note in notes if note.control)
        about = lines or notes
        robots.append(Known(key, about[0].robot, tuple(note.pid for note in about), lines))
    return tuple(robots)


def call_lines(
    robots: Sequence[Known], word: str, tell: Callable[[Known, str | None], None]
) -> dict[tuple[int, str], bool]:
    """Call all control nodes at once; key -> whether all of that name accepted, if they answered.

    tell(robot, refusal or None) is called for each as soon as it has answered.
    """
    asked = [robot for robot in robots if robot.lines]
    if not asked:
        return {}
    with ThreadPoolExecutor(max_workers=min(32, len(asked))) as pool:
        calls = {pool.submit(_ask_all, robot, word): robot for robot in asked}
        answered = {}
        for call in as_completed(calls):
            robot = calls[call]
            answers = call.result()
            if answers is None:
                continue
            refusal = next((why for accepted, why in answers if not accepted), None)
            answered[robot.key] = refusal is None
            tell(robot, refusal)
    return answered


def _ask_all(robot: Known, word: str) -> list[tuple[bool, str]] | None:
    """None if one did not answer."""
    answers: list[tuple[bool, str]] | None = []
    for note in robot.lines:
        try:
            answer = ask(line_of(note), note.pid, word)
        except (OSError, ValueError):
            answers = None  # the others are called all the same
        else:
            answers = None if answers is None else [*answers, answer]
    return answers
