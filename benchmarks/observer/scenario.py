"""One random run of a robot in virtual time: ticks, stalls, operators, hands, policies that misbehave."""

from __future__ import annotations

import numpy as np

from . import adapter
from .account import Account, Books
from .description import BASE, JOINTS, TOOL, TWIST, Described
from .motions import WANDER, Path, rows_of
from .places import start_places
from .spoilt_rows import spoilt, unit
from .tempers import temper
from .world import World

MS = 1_000_000
FOREVER_NS = 10**15
START_NS = 1_700_000_000 * 1_000_000_000


class Scenario:
    def __init__(self, robot: Described, seed: tuple[int, ...], ticks: int) -> None:
        self.robot, self.ticks = robot, ticks
        self.rng = rng = np.random.default_rng(seed)
        self.temper = temper(rng)
        self.world = World(robot, start_places(robot, rng), self.temper.latency_ns)
        self.world.offset_ns = START_NS
        self.books = Books(robot, self.world)
        self.account = self.books.account
        self.paths: dict[str, Path] = {}
        self._sequence, self._due = 0, []
        self._look_ns = 0
        self._frozen: dict[str, int] = {}
        self._stopped = False
        self._word = ""
        self._said = ""
        self._broken_ns = -1
        self._wait = 0
        self._led_in: tuple[int, int] | None = None
        self._held: str | None = None  # the group that a hand keeps although the node is engaged

    # The run.

    def run(self) -> tuple[World, Account]:
        rng, world, t = self.rng, self.world, self.temper
        self.node = self._new_node()
        self.node.activate()
        self._line_up()
        period = self.robot.period_ns
        tick_ns = period
        for _ in range(self.ticks):
            stall = 0
            if rng.random() < t.stall:
                stall = int(
                    rng.integers(60 * MS, 400 * MS)
                    if rng.random() < 0.85
                    else rng.integers(400 * MS, 2500 * MS)
                )
            late = stall > 0
            if late:
                self.note(f"stalls for {stall // MS} ms")
                self.account.stalls.append((world.now_ns, tick_ns + stall))
            tick_first = late and rng.random() < 0.5
            if not late:
                self._sense(tick_ns)
            heard_ns = tick_ns + stall
            if not tick_first:
                if late:
                    self._sense(heard_ns)
                self._between(heard_ns if late else None, tick_ns)
            jitter_ns = min(t.jitter_ns, int(0.3 * period))
            now_ns = heard_ns + (int(rng.integers(0, jitter_ns + 1)) if not late else 0)
            now_ns = max(now_ns, world.now_ns + 1)
            self._now(now_ns)
            self.node.tick(now_ns + world.offset_ns)
            self.books.look(now_ns)
            if tick_first:
                self._sense(now_ns + 100_000)
                self._between(now_ns + 100_000, tick_ns)
            # A timer that was late goes on in its old rhythm.
            tick_ns += period * max(1, -(-(now_ns - tick_ns) // period))
            self.account.ticks += 1
        # The process is killed: what it sent last runs out.
        self.account.end_ns = world.now_ns + 1_500 * MS
        self.account.stalls.append((world.now_ns, self.account.end_ns))
        self.books.close()
        return world, self.account

    def note(self, words: str) -> None:
        self.account.notes.append((self.world.now_ns, words))

    # What reaches the node between ticks.

    def _between(self, at_ns: int | None, tick_ns: int) -> None:
        """Chunks that have come, and what operators, hands and the clock do.

        at_ns: all at that moment, after a stall; None: spread over the time before the tick.
        """
        world, rng, t = self.world, self.rng, self.temper
        start = world.now_ns
        arrived = [d for d in self._due if d[0] <= (at_ns or tick_ns)]
        self._due = [d for d in self._due if d[0] > (at_ns or tick_ns)]
        for due_ns, chunk, known in arrived:
            self._now(at_ns if at_ns is not None else max(due_ns, start + 1))
            self._offer(chunk, known)
        self._now(at_ns if at_ns is not None else max(world.now_ns + 1, tick_ns - 1_000_000))
        if world.now_ns >= self._look_ns:
            self._observe()
            self._look_ns = world.now_ns + int(rng.integers(*t.gap_ns))
        self._operate()
        if rng.random() < t.silent:
            name = str(rng.choice(list(self.robot.ages)))
            self._frozen[name] = world.now_ns + int(rng.integers(50 * MS, 1500 * MS))
            self.note(f"{name} falls silent")
        if rng.random() < t.instruction:
            self._word = str(rng.choice(["pick", "place", "wipe"]))
            self.node.instruct(self._word)
            if t.change == "flush" and self._word != self._said:
                self._said = self._word
                if self.books.plans and self.books.plans[-1][3] != self._word:
                    self.books.plans = []
            self.note(f"instruction {self._word}")
        if rng.random() < t.jump:
            step = int(rng.choice([-1, 1]) * rng.integers(50 * MS, 5000 * MS))
            if step > 0:
                step += 1000 * MS
            world.offset_ns += step
            self.note(f"the clock jumps by {step // MS} ms")
            self.books.empty()
            self._frozen = {}
            self.books.stamps.clear()
        self.books.look(world.now_ns)

    def _now(self, time_ns: int) -> None:
        self.world.now_ns = max(self.world.now_ns, time_ns)
        self.node.now_ns = self.world.now_ns + self.world.offset_ns

    def _sense(self, heard_ns: int) -> None:
        """Let the node hear of the robot, as it was a moment ago."""
        world, rng, t, robot = self.world, self.rng, self.temper, self.robot
        taken_ns = max(0, heard_ns - t.lag_ns)
        joints, poses, openings = world.measured(taken_ns, rng, t.noise)
        for name in robot.ages:
            if self._frozen.get(name, -1) < heard_ns:
                self.books.stamps[name] = max(taken_ns, self.books.stamps.get(name, 0))
        if self._frozen.get("joints", -1) >= heard_ns and hasattr(self, "_last"):
            joints, openings = self._last.joints, self._last.openings
        if self._frozen.get("pose", -1) >= heard_ns and hasattr(self, "_last"):
            poses = self._last.poses
        offset = world.offset_ns
        stamp = {n: ns + offset for n, ns in self.books.stamps.items()}
        self._last = adapter.Seen(
            joints, stamp.get("joints"), poses, stamp.get("pose"), openings,
            {c: stamp[c] for c in robot.cameras if c in stamp},
        )  # fmt: skip
        self.node.see(self._last)

    def _observe(self) -> None:
        """The policy looks; its chunk comes later."""
        rng, t, robot, world = self.rng, self.temper, self.robot, self.world
        if not self.paths or not self.books.stamps:
            return
        obs_ns = max(0, world.now_ns - t.lag_ns)
        count = int(rng.integers(2, max(3, int(2.0e9 / robot.step_ns)) + 1))
        rows = rows_of(robot, self.paths, obs_ns, count)
        known = True
        step_ns = robot.step_ns
        if rng.random() < t.hostile:
            rows, known = spoilt(robot, rows, rng, t.style)
        elif t.style == WANDER and rng.random() < 0.1:
            shift = rng.normal(0.0, 0.05, rows.shape[1])
            rows = rows + shift * (np.arange(count)[:, None] >= rng.integers(0, count))
            rows = unit(self.robot, rows)
        self._sequence += 1
        chunk = adapter.ActionChunk(
            rows, robot.columns, obs_ns + world.offset_ns, step_ns, self._sequence, self._word
        )
        due_ns = world.now_ns + int(rng.integers(*t.policy_ns))
        self._due.append((due_ns, chunk, (known, obs_ns, count, world.offset_ns)))

    def _offer(self, chunk, known) -> None:
        good, obs_ns, count, offset = known
        node, world = self.node, self.world
        if self.temper.change == "flush" and self._said and chunk.instruction != self._said:
            good = None
        if not node.active:
            return
        node.chunk(chunk)
        if not self.books.engaged:
            return
        # The node only knows the stamp; after a jump of the clock it means another moment.
        obs_ns += offset - world.offset_ns
        if good is False:
            self.note("a chunk that is not finite")
            self.books.empty()
        elif good and obs_ns >= self.books.floor_ns - 2:
            until = min(
                obs_ns + round(1e9 * self.robot.chunk_age_s),
                max(world.now_ns, obs_ns) + count * self.robot.step_ns,
            )
            self.books.plans.append((obs_ns, world.now_ns, until, chunk.instruction))
            shift_ns = world.now_ns - obs_ns if self._stood_since(obs_ns) else 0
            self.account.reach.append(
                (world.now_ns, obs_ns + count * self.robot.step_ns, shift_ns)
            )
            self.books.look(world.now_ns)

    def _stood_since(self, time_ns: int) -> bool:
        """Whether nothing has moved since then: what is followed now may begin with its first row."""
        times = np.arange(max(0, time_ns), self.world.now_ns + 1, 5 * MS, dtype=np.int64)
        for group in self.robot.of_kind(JOINTS, TOOL, TWIST, BASE):
            _, velocities, _ = self.world.channels[group.name].played(times)
            if (np.abs(velocities[:, :3] if group.kind == TOOL else velocities) > 1e-3).any():
                return False
        return True

    # Operators, hands, others.

    def _operate(self) -> None:
        rng, t, node, world = self.rng, self.temper, self.node, self.world
        if self._wait > 0:
            self._wait -= 1
        if not node.active:
            if self._wait == 0:
                self._activate()
            else:
                self._maybe_hand(idle=True)
            return
        if not self.books.engaged:
            if rng.random() < 0.05:
                self._call(node.reset)
            if self._led_in is None and self._wait == 0 and rng.random() < 0.5:
                self._engage()
            self._maybe_hand(idle=True)
            return
        if not node.engaged:
            self.note(f"has let go by itself: {node.says}")
            self.books.silence("has let go by itself")
            self._wait = int(rng.integers(1, 60))
            return
        what = rng.random()
        if what < t.operator:
            self._operator_acts()
        elif what < t.operator + t.lifecycle:
            self._lifecycle()
        elif what < t.operator + t.lifecycle + t.other:
            group = self.robot.groups[int(rng.integers(len(self.robot.groups)))]
            self.note(f"somebody else commands {group.name}")
            world.channels[group.name].hold(world.now_ns)  # their command has replaced ours
            node.told_of_other(group.topic)
            self._other_since = world.now_ns
            self._wait = int(rng.integers(20, 120))
            node.tick(world.now_ns + world.offset_ns)  # the tick that hears of it
            self.books.silence("somebody else commands")
        else:
            self._maybe_hand(idle=False)

    def _operator_acts(self) -> None:
        node, rng = self.node, self.rng
        acts = [a for a in ("stop", "disengage", "engage", "reset") if rng.random() < 0.5]
        rng.shuffle(acts)
        for act in acts or ["stop"]:
            self.note(act)
            if act == "stop":
                node.stop()
                self._stopped = True
                self.books.silence("stopped")
            elif act == "disengage":
                node.engage(False)
                self.books.silence("disengaged")
            elif act == "engage":
                if self._led_in is None:
                    self._engage()
            elif node.reset():
                self._stopped = False
        self._wait = int(rng.integers(1, 100))

    def _call(self, act) -> None:
        if act():
            self._stopped = False

    def _engage(self) -> None:
        was = self.books.engaged
        if self.node.engage(True):
            if not was:
                self.note("engaged")
                self.books.engaged = True
                self.account.engaged.append(self.world.now_ns)
                self.books.end_silence()
                self.books.empty()
                self._line_up()

    def _lifecycle(self) -> None:
        rng, node = self.rng, self.node
        self._sometimes_nudge()
        what = rng.random()
        self.note("deactivate" if what < 0.6 else "shutdown")
        if what < 0.6:
            node.deactivate()
            if what < 0.15:
                node.configure_again()
        else:
            node.shutdown()
            self.node = self._new_node()
        self.books.die()
        self._wait = int(rng.integers(1, 80))

    def _activate(self) -> None:
        """Sometimes the transition to active and at once back, or stopped and taken down."""
        self._now(self.world.now_ns)
        self.note("activate")
        self.node.activate()
        self.books.live()
        if self._stopped and self.rng.random() < 0.3:
            self.note("shutdown while stopped")
            self.node.shutdown()
            self.node = self._new_node()
            self._stopped = False
            self.books.die()
            self._wait = 10

    def _sometimes_nudge(self) -> None:
        """Stopped or disengaged, moved by hand, and only then taken down: a week of every laboratory."""
        rng, node, world = self.rng, self.node, self.world
        if rng.random() > 0.5:
            return
        if rng.random() < 0.5:
            self.note("stop")
            node.stop()
            self._stopped = True
            self.books.silence("stopped")
        else:
            self.note("disengage")
            node.engage(False)
            self.books.silence("disengaged")
        if rng.random() < 0.7:
            self._idle(world.now_ns + 800 * MS)
            end_ns = world.now_ns + int(rng.integers(500 * MS, 2000 * MS))
            self._lead(end_ns, idle=True)
            self._idle(end_ns + 50 * MS)
            self._after_hand()

    def _idle(self, until_ns: int) -> None:
        """Ticks without anything else."""
        while self.world.now_ns < until_ns:
            self._now(self.world.now_ns + self.robot.period_ns)
            self._sense(self.world.now_ns)
            self.node.tick(self.node.now_ns)
            self.account.ticks += 1

    def _maybe_hand(self, *, idle: bool) -> None:
        world, rng = self.world, self.rng
        if self._led_in is not None:
            if world.now_ns > self._led_in[1]:
                self._after_hand()
            return
        if rng.random() >= self.temper.hand * (2.0 if idle else 0.6):
            return
        end_ns = world.now_ns + int(rng.integers(800 * MS, 1600 * MS))
        self._lead(end_ns, idle=idle)

    def _lead(self, end_ns: int, *, idle: bool) -> None:
        """A hand takes one arm somewhere; while engaged so far that the node must see it."""
        rng, robot, world = self.rng, self.robot, self.world
        kinds = (JOINTS, TOOL, TWIST) if idle else (JOINTS, TOOL)
        arms = robot.of_kind(*kinds)
        if not arms:
            return
        group = arms[int(rng.integers(len(arms)))]
        channel = world.channels[group.name]
        here, _ = channel.at(world.now_ns)
        target = np.array(here)
        if not idle and group.kind == JOINTS and self._long_quiet(group.name):
            # Another program moves it a little while we are engaged and have nothing to say.
            way = rng.uniform(-0.8, 0.8, len(here)) * group.jump
            target = np.clip(here + way, group.lower, group.upper)
            self.note(f"{group.name} is moved a little by another program")
            channel.led(world.now_ns, world.now_ns + 500 * MS, target)
            world.led_until[group.name] = world.now_ns + 500 * MS
            self.account.led[group.name].append((world.now_ns, world.now_ns + 500 * MS))
            self._led_in = (world.now_ns, world.now_ns + 500 * MS)
            self.books.end_lines()
            return
        if group.kind == JOINTS:
            far = 1.5 * (group.jump + 0.3 * group.speed)
            way = rng.uniform(-1.0, 1.0, len(here)) * (0.8 if idle else 0.0)
            if not idle:
                worst = int(rng.integers(len(here)))
                sign = 1.0 if here[worst] < (group.lower + group.upper)[worst] / 2 else -1.0
                way[worst] = sign * far[worst]
            slack = 0.04 if idle and rng.random() < 0.3 else 0.0
            target = np.clip(here + way, group.lower - slack, group.upper + slack)
            if not idle and abs(target - here)[worst] < 0.95 * far[worst]:
                return
        else:
            reach = 0.3 if idle else 1.5 * (group.jump + 0.3 * group.speed[0])
            way = rng.normal(size=3)
            way *= reach / np.linalg.norm(way) * (rng.uniform(0.1, 1.0) if idle else 1.0)
            slack = 0.045 if idle and rng.random() < 0.5 else 0.0
            lower, upper = group.box
            target[:3] = np.clip(here[:3] + way, lower - slack, upper + slack)
            if not idle and np.linalg.norm(target[:3] - here[:3]) < 0.95 * reach:
                return
        self.note(f"{group.name} is led by hand until {end_ns / 1e9:.2f}")
        if not idle:  # and keeps it there
            end_ns += 900 * MS
        channel.led(world.now_ns, end_ns - (0 if idle else 900 * MS), target)
        world.led_until[group.name] = end_ns
        self.account.led[group.name].append((world.now_ns, end_ns))
        self._led_in = (world.now_ns, end_ns)
        if not idle:
            # It lets go only when the node has been told to: a stiff arm would spring back otherwise.
            world.led_until[group.name] = FOREVER_NS
            self._held = group.name
            self.account.against.append((group.name, world.now_ns, end_ns))
        self.books.end_lines()

    def _long_quiet(self, name: str) -> bool:
        """Nothing has been sent to a group for longer than a hold is repeated."""
        sent = self.world.sent[name]
        return bool(sent) and self.world.now_ns - sent[-1].time_ns > 600 * MS

    def _after_hand(self) -> None:
        self._led_in = None
        held, self._held = self._held, None
        if held is None and not (self.books.engaged and self.rng.random() < 0.5):
            return
        if self.books.engaged:
            self.node.engage(False)
            self.note("disengage")
            self.books.silence("disengaged")
        if held is not None:
            start_ns, _ = self.account.led[held].pop()
            self.account.led[held].append((start_ns, self.world.now_ns))
            self.world.led_until[held] = self.world.now_ns

    # The node and the paths.

    def _new_node(self) -> adapter.Node:
        t = self.temper
        node = adapter.Node(
            self.robot.file,
            self.world.hear,
            scheme=t.scheme,
            change=t.change,
            now_ns=self.world.now_ns + self.world.offset_ns,
            wait=lambda ns: self._now(self.world.now_ns + ns),
        )
        node.raised = self.account.raised
        return node

    def _line_up(self) -> None:
        """New paths, from where everything is."""
        now_ns, rng = self.world.now_ns, self.rng
        self.books.end_lines()
        for group in self.robot.groups:
            here, _ = self.world.channels[group.name].at(now_ns)
            path = Path(rng, group, here, now_ns, self.temper.style)
            self.paths[group.name] = path
            if path.direction is not None and group.reference == "absolute":
                self.account.lines[group.name].append((now_ns, -1, path))
