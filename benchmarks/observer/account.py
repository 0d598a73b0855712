"""What the judge is told besides the world, and the books that a running scenario keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .description import Described
from .motions import Path
from .world import World

MS = 1_000_000


@dataclass
class Account:
    """What the judge is told besides the world: true times, by the observer's own bookkeeping.

    silent: [from, to) in which nothing may move: stopped, disengaged or inactive, or somebody else
    commands. dead: [from, to) in which the node is not active. still: [from, to) in which nothing new may be followed, and why.
    engaged: times of engaging. led: [from, to) of hands, by group. moved: group -> [from, to) paths.
    """

    silent: list[tuple[int, int]] = field(default_factory=list)
    dead: list[tuple[int, int]] = field(default_factory=list)
    still: list[tuple[int, int, str]] = field(default_factory=list)
    engaged: list[int] = field(default_factory=list)
    stalls: list[tuple[int, int]] = field(default_factory=list)
    led: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    against: list[tuple[str, int, int]] = field(default_factory=list)
    lines: dict[str, list[tuple[int, int, Path]]] = field(default_factory=dict)
    # When offered, end of its last row, and how much later its rows are if the robot has stood since.
    reach: list[tuple[int, int, int]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    ticks: int = 0
    end_ns: int = 0


class Books:
    """Keeps the account of one scenario: from when to when nothing may move, or nothing new may be followed.

    engaged: whether an operator has engaged the node. stamps: input -> its newest stamp.
    plans: (observed, from when, until when, instruction) of chunks that may be followed.
    floor_ns: only what was observed from then on may be followed.
    """

    def __init__(self, robot: Described, world: World) -> None:
        self._robot, self._world = robot, world
        self.account = Account(
            led={g.name: [] for g in robot.groups}, lines={g.name: [] for g in robot.groups}
        )
        self.engaged = False
        self.stamps: dict[str, int] = {}
        self.plans: list[tuple[int, int, int, str]] = []
        self.floor_ns = 0
        self._silent_since: int | None = 0
        self._dead_since: int | None = None
        self._still: tuple[int, str] | None = (0, "not engaged")

    def empty(self) -> None:
        """Only what is observed from now on may be followed."""
        self.plans, self.floor_ns = [], self._world.now_ns

    def silence(self, why: str) -> None:
        if self._silent_since is None:
            self._silent_since = self._world.now_ns
        self.engaged = False
        self.plans = []
        self.end_lines()
        self.look(self._world.now_ns)

    def end_silence(self) -> None:
        if self._silent_since is not None:
            self.account.silent.append((self._silent_since, self._world.now_ns))
            self._silent_since = None

    def die(self) -> None:
        self.silence("inactive")
        if self._dead_since is None:
            self._dead_since = self._world.now_ns

    def live(self) -> None:
        if self._dead_since is not None:
            self.account.dead.append((self._dead_since, self._world.now_ns))
            self._dead_since = None

    def end_lines(self) -> None:
        for lines in self.account.lines.values():
            if lines and lines[-1][1] < 0:
                lines[-1] = (lines[-1][0], self._world.now_ns, lines[-1][2])

    def look(self, now_ns: int) -> None:
        """May anything be followed now? Kept as intervals in which it may not."""
        why = self._why_still(now_ns)
        if why is None:
            if self._still is not None:
                self.account.still.append((self._still[0], now_ns, self._still[1]))
                self._still = None
        elif self._still is None:
            self._still = (now_ns, why)

    def _why_still(self, now_ns: int) -> str | None:
        if not self.engaged:
            return "not engaged"
        for name, age_s in self._robot.ages.items():
            stamp = self.stamps.get(name)
            if stamp is None or now_ns - stamp > age_s * 1e9 + MS:
                self.empty()
                return f"{name} is stale"
        if not any(since <= now_ns <= until for _, since, until, _ in self.plans):
            return "no plan"
        return None

    def close(self) -> None:
        end_ns = self.account.end_ns
        if self._silent_since is not None:
            self.account.silent.append((self._silent_since, end_ns))
        if self._dead_since is not None:
            self.account.dead.append((self._dead_since, end_ns))
        if self._still is not None:
            self.account.still.append((self._still[0], end_ns, self._still[1]))
        self.end_lines()
