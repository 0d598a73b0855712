"""`vla demo`: the simulated arm does what is typed, with both heads, judged by physics.

Starts the graph (simulation, policy, control, task, page), gives instructions one after another,
prints what the simulation says of each, and leaves pictures. Exit code 0 only if the arm did all.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from vla_policy.commands.page_arguments import page_settings
from vla_policy.commands.up import add_policy_arguments, announce
from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.video import contact_sheet, write_png, write_video
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import NodeSpec, node_specs
from vla_policy.ros.bringup.page_settings import PageSettings
from vla_policy.ros.bringup.processes import stop_on_sigterm
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.running_graph import NodeLog, RunningGraph
from vla_policy.ros.operator.trial import Trial, run_trial
from vla_policy.ros.operator.watch import Watch
from vla_policy.ros.process import notes
from vla_policy.ros.process.notes import namespace_of
from vla_policy.sim.tasks.typed import find_scene
from vla_policy.sim.twin import EXPERT

ROBOT = "vx300s"
HEADS = ("flow", "token")
FILM_HZ = 10.0  # twice real time
# Training draws its scenes from seeds below 1 000 000, evaluation from 1 000 000 on.
FIRST_SEED = 2_000_000
# The tasks without a typed instruction.
TASKS = (
    "put the red cube in the tray",
    "pick up the green cylinder",
    "put the purple ball on the pad",
)
# One more for a policy that reads other languages: what the simulation judges, what the policy is told. No robot data has it.
OTHER_WORDS = {"small": ("put the yellow ball in the tray", "mets la balle jaune dans le plateau")}


@dataclass(frozen=True, slots=True)
class ShownTask:
    """instruction: what the simulation judges. said: what the policy is told; None: the same."""

    seed: int
    instruction: str
    said: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla demo`."""
    parser.add_argument("instruction", nargs="*", help="what to do; several tasks if left out")
    parser.add_argument(
        "--say", metavar="WORDS", help="tell the policy this, and judge by the instruction"
    )
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
    space = namespace_of(args.namespace)
    if args.policy == EXPERT:
        raise ValueError(
            f"--policy: got {EXPERT!r}, expected a policy with heads; `vla up {ROBOT} --sim --policy {EXPERT}` runs it"
        )
    tasks, split = chosen_tasks(
        " ".join(args.instruction).strip(), args.seed, args.say, args.policy
    )
    page = page_settings(args)
    domain = session.join_or_isolate()
    args.out.mkdir(parents=True, exist_ok=True)
    heads = (args.head,) if args.head else HEADS
    stop_on_sigterm()
    with (args.out / "nodes.log").open("w") as log:
        show = Show(args, domain, split, NodeLog(log, print), page=page)
        try:
            announce(ROBOT, page.port, space)
            return show.run(heads, tasks)
        except KeyboardInterrupt:
            print("stopping", flush=True)
            return 130
        finally:
            show.close()
            notes.withdraw()


def chosen_tasks(
    instruction: str, seed: int, said: str | None = None, policy: str = "tiny"
) -> tuple[tuple[ShownTask, ...], str]:
    """The tasks, and the split of their scenes.

    said: what the policy is told in place of instruction. Raises ValueError if an instruction fits no scene, or there is
    nothing to judge what is said by.
    """
    if not 0 <= seed < 1000:
        raise ValueError(f"--seed: got {seed}, expected 0 to 999")
    first = FIRST_SEED + 1000 * seed
    if instruction:
        found, split = find_scene(instruction, first)
        return (ShownTask(found, instruction, said),), split
    if said is not None:
        raise ValueError(
            f"--say: got {said!r} alone, expected the instruction that it means beside it, for the simulation to judge"
        )
    told: list[tuple[str, str | None]] = [(words, None) for words in TASKS]
    if policy in OTHER_WORDS:
        told.append(OTHER_WORDS[policy])
    shown = [
        ShownTask(find_scene(words, first + 50 * k)[0], words, other)
        for k, (words, other) in enumerate(told)
    ]
    return tuple(shown), "train"


class Show:
    """The running demonstration: the graph's processes and its operator client."""

    def __init__(
        self,
        args: argparse.Namespace,
        domain: int,
        split: str,
        log: NodeLog,
        *,
        page: PageSettings,
    ) -> None:
        self._args, self._domain, self._split, self._page = args, domain, split, page
        self._robot = load_embodiment(ROBOT)
        self._graph = RunningGraph(self._specs, log, namespace=args.namespace)
        self._trials: list[Trial] = []

    def run(self, heads: tuple[str, ...], tasks: tuple[ShownTask, ...]) -> int:
        started = time.monotonic()
        client = self._graph.start(heads[0])
        watch = Watch(client.node, self._robot)
        self._graph.wait_until_ready()
        self._introduce(watch, time.monotonic() - started)
        for head in heads:
            self._graph.change_head(head)
            print(f"\n{head} head", flush=True)
            for task in tasks:
                self._show_task(client, watch, head, task)
        return self._conclude()

    def close(self) -> None:
        """Stop the graph."""
        self._graph.close()

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
            web_port=self._page.port or None,
            web=self._page.parameters(),
            namespace=args.namespace,
        )

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
        if self._page.port:
            print(f"  watch:  {self._page.url}")
        print(f"  join:   export ROS_DOMAIN_ID={self._domain}   or, in another terminal: "
              "`. tools/env.sh && vla say pick up the red cube`", flush=True)  # fmt: skip

    def _show_task(self, client: Client, watch: Watch, head: str, task: ShownTask) -> None:
        for attempt in range(1, self._args.attempts + 1):
            self._graph.check()
            trial = run_trial(
                client, watch, head, task.seed, task.instruction, self._args.timeout, task.said
            )
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
            while not self._graph.ended():
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
