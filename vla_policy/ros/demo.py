"""`vla demo`: the simulated arm does what is typed, with both heads, judged by physics.

Starts the graph (simulation, policy, control, task, page), gives instructions one after another,
prints what the simulation says of each, and leaves pictures. Exit code 0 only if the arm did all.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
from pathlib import Path

from vla_policy.embodiment import load_embodiment
from vla_policy.film import contact_sheet, write_png, write_video
from vla_policy.ros import session
from vla_policy.ros.client import Client
from vla_policy.ros.graph import NodeSpec, node_specs
from vla_policy.ros.processes import Processes
from vla_policy.ros.trial import Trial, run_trial
from vla_policy.ros.up import add_policy_arguments, check_port, stop_all, stop_on_sigterm
from vla_policy.ros.watch import Lifecycles, Watch
from vla_policy.sim.find import find_scene

ROBOT = "vx300s"
HEADS = ("flow", "token")
READY_S = 90.0
FILM_HZ = 10.0  # twice as fast as it happened
# Training draws its scenes from seeds below 1 000 000, evaluation from 1 000 000 on.
FIRST_SEED = 2_000_000
# Shown when nothing is typed.
TASKS = (
    "put the red cube in the tray",
    "pick up the green cylinder",
    "put the purple ball on the pad",
)
LOG_LINE = re.compile(r"\[(ERROR|FATAL)\] (.*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla demo`."""
    parser.add_argument("instruction", nargs="*", help="what to do; several tasks if left out")
    parser.add_argument("--head", choices=HEADS, help="only this action head instead of both")
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="for each task")
    parser.add_argument("--attempts", type=int, default=2, help="tries of a task before it failed")
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for pictures and logs"
    )
    parser.add_argument("--stay", action="store_true", help="keep the graph running afterwards")
    add_policy_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 if every task succeeded, else 1."""
    tasks, split = chosen_tasks(" ".join(args.instruction).strip(), args.seed)
    check_port(args.web_port)
    domain = session.join_or_isolate()
    args.out.mkdir(parents=True, exist_ok=True)
    heads = (args.head,) if args.head else HEADS
    stop_on_sigterm()
    with (args.out / "nodes.log").open("w") as log:
        show = Show(args, domain, split, NodeLog(log))
        try:
            session.announce(session.Session(os.getpid(), domain, args.web_port or None))
            return show.run(heads, tasks)
        except KeyboardInterrupt:
            print("stopping", flush=True)
            return 130
        finally:
            show.close()
            session.withdraw()


def chosen_tasks(instruction: str, seed: int) -> tuple[tuple[tuple[int, str], ...], str]:
    """((scene seed, instruction) of each task, split of the scenes).

    Raises ValueError if an instruction fits no scene.
    """
    if not 0 <= seed < 1000:
        raise ValueError(f"--seed: got {seed}, expected 0 to 999")
    first = FIRST_SEED + 1000 * seed
    if instruction:
        found, split = find_scene(instruction, first)
        return ((found, instruction),), split
    return tuple(
        (find_scene(words, first + 50 * k)[0], words) for k, words in enumerate(TASKS)
    ), "train"


class NodeLog:
    """Keeps all lines of the nodes in a file; shows errors, once each."""

    def __init__(self, file) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._shown: set[str] = set()
        self.quiet = False
        self._refused_by = ""
        self.refusal: str | None = None

    def __call__(self, name: str, line: str) -> None:
        found = LOG_LINE.match(line)
        with self._lock:
            self._file.write(f"{name}: {line}\n")
            self._file.flush()
            if self._refused_by == name and not line.startswith("["):
                self.refusal += f"\n  {line.strip()}"
                return
            self._refused_by = ""
            if found is None or line in self._shown or self.quiet:
                return
            self._shown.add(line)
            if found.group(2).startswith("not configured: "):
                self.refusal, self._refused_by = f"{name} {found.group(2)}", name
                return
        print(f"    {name}: {found.group(2)}", flush=True)


class Show:
    """The running demonstration: the graph's processes and the operator that talks to them."""

    def __init__(self, args: argparse.Namespace, domain: int, split: str, log: NodeLog) -> None:
        self._args, self._domain, self._split, self._log = args, domain, split, log
        self._robot = load_embodiment(ROBOT)
        self._processes = Processes(log)
        self._client: Client | None = None
        self._trials: list[Trial] = []

    def run(self, heads: tuple[str, ...], tasks: tuple[tuple[int, str], ...]) -> int:
        started = time.monotonic()
        self._processes.start(self._specs(heads[0]))
        self._client = client = Client("demo")
        watch = Watch(client.node, self._robot)
        lifecycles = Lifecycles(client.node, ("policy", "control", "task"))
        self._wait_until_ready(lifecycles)
        self._introduce(watch, time.monotonic() - started)
        for head in heads:
            if head != heads[0]:
                self._change_head(head, lifecycles)
            print(f"\n{head} head", flush=True)
            for seed, instruction in tasks:
                self._show_task(watch, head, seed, instruction)
        return self._conclude()

    def close(self) -> None:
        """Leave the graph, then stop it."""
        self._log.quiet = True
        if self._client is not None:
            self._client.close()
        stop_all(self._processes)

    def _specs(self, head: str) -> tuple[NodeSpec, ...]:
        args = self._args
        return node_specs(
            ROBOT,
            policy=args.policy,
            head=head,
            device=args.device,
            sim=True,
            seed=args.seed,
            renderer=args.renderer,
            split=self._split,
            web_port=args.web_port or None,
        )

    def _wait_until_ready(self, lifecycles: Lifecycles) -> None:
        """Raises ValueError with the node's own sentence if one refuses or ends."""
        end = time.monotonic() + READY_S
        waiting = ["control", "task", "policy"]
        while waiting:
            self._check_nodes()
            waiting = [name for name in waiting if not lifecycles.active(name)]
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{' and '.join(waiting)} not ready in {READY_S:g} s; see {self._log_path}"
                )
            time.sleep(0.1)
        if not self._client.wait_for_simulation(max(1.0, end - time.monotonic())):
            self._check_nodes()
            raise TimeoutError(f"the simulation does not answer; see {self._log_path}")

    def _check_nodes(self) -> None:
        if self._log.refusal is not None:
            time.sleep(0.3)  # for the lines that say more
            raise ValueError(self._log.refusal)
        ended = self._processes.ended()
        if ended:
            time.sleep(0.3)  # for its last lines
            raise ValueError(f"{' and '.join(ended)} ended; see {self._log_path}")

    @property
    def _log_path(self) -> Path:
        return self._args.out / "nodes.log"

    def _introduce(self, watch: Watch, seconds: float) -> None:
        rates = watch.rates_hz(2.0)
        missing = [name for name, hz in rates.items() if hz == 0]
        if missing:
            raise ValueError(f"no picture of camera {' and '.join(missing)}; nothing will move")
        args = self._args
        cameras = ", ".join(f"{name} {hz:.0f} Hz" for name, hz in rates.items())
        print(f"ready after {seconds:.1f} s: {self._robot.description}, simulated")
        print(f"  policy {args.policy} on {args.device}, cameras {cameras}, "
              f"commands {self._robot.command_hz:g} Hz")  # fmt: skip
        if args.web_port:
            print(f"  watch:  http://127.0.0.1:{args.web_port}")
        print(f"  join:   export ROS_DOMAIN_ID={self._domain}   or, in another terminal: "
              "`. tools/env.sh && vla say pick up the red cube`", flush=True)  # fmt: skip

    def _change_head(self, head: str, lifecycles: Lifecycles) -> None:
        self._client.engage(False)
        self._processes.stop(["policy"])
        self._processes.start(spec for spec in self._specs(head) if spec.name == "policy")
        end = time.monotonic() + 5.0
        while lifecycles.active("policy") and time.monotonic() < end:
            time.sleep(0.05)
        self._wait_until_ready(lifecycles)

    def _show_task(self, watch: Watch, head: str, seed: int, instruction: str) -> None:
        for attempt in range(1, self._args.attempts + 1):
            self._check_nodes()
            trial = run_trial(self._client, watch, head, seed, instruction, self._args.timeout)
            self._trials.append(trial)
            word = "done  " if trial.success else "FAILED"
            again = "" if attempt == 1 else f", attempt {attempt}"
            print(f"  {word} {trial.instruction:<36} {trial.seconds:5.1f} s{again}   {trial.detail}",
                  flush=True)  # fmt: skip
            if trial.success:
                return

    def _conclude(self) -> int:
        done = {(trial.head, trial.instruction) for trial in self._trials if trial.success}
        asked = {(trial.head, trial.instruction) for trial in self._trials}
        print(f"\nthe arm did {len(done)} of {len(asked)}, as judged by physics")
        self._write_pictures()
        if self._args.stay:
            print("the graph keeps running; Ctrl-C ends it", flush=True)
            while not self._processes.ended():
                time.sleep(0.2)
        return 0 if done == asked else 1

    def _write_pictures(self) -> None:
        strips = [trial.strip for trial in self._trials if trial.strip.frames]
        if not strips:
            print("no picture of the overview camera came", file=sys.stderr)
            return
        sheet, video = self._args.out / "contact_sheet.png", self._args.out / "demo.mp4"
        write_png(sheet, contact_sheet(strips))
        try:
            write_video(video, strips, hz=FILM_HZ)
        except OSError as error:
            print(f"{error}", file=sys.stderr)
        print(f"pictures: {sheet} and {video}", flush=True)
