"""`vla record`: demonstrations of a robot, real or simulated, as bags and as a LeRobot data set.

Talks to the recorder of the running graph, or starts one there, or with --sim the whole twin. Space begins and ends a
take; after it a verdict says whether to keep it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from vla_policy.commands.page_arguments import add_page_arguments, page_settings
from vla_policy.commands.up import announce, end_as_ctrl_c, require_ros
from vla_policy.data.recording import Phase
from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import OPERATORS, node_specs
from vla_policy.ros.bringup.page_settings import PageSettings
from vla_policy.ros.bringup.processes import Processes, stop_all
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.demonstrations import DemonstrationResult, Demonstrator
from vla_policy.ros.operator.record_display import headline, lines, table
from vla_policy.ros.operator.record_keys import next_word, single_keys
from vla_policy.ros.operator.recorder_client import RecorderClient
from vla_policy.ros.operator.running_graph import READY_S, NodeLog
from vla_policy.ros.process import notes
from vla_policy.ros.process.notes import namespace_of

LOOK_S = 5.0  # to find a running recorder
KEY_S = 0.1
SEED_STRIDE = 100_000  # of scenes for each --seed; all below those of evaluation
TRIES = 3  # attempts for each requested demonstration
OUTCOMES = {"success": True, "failure": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla record`."""
    parser.add_argument("--robot", default="vx300s", help="robot, by name or YAML file")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to record, if no recorder runs yet"
    )
    parser.add_argument("--task", default="", help="what is demonstrated, in words")
    parser.add_argument("--sim", action="store_true", help="start the simulated twin as well")
    parser.add_argument(
        "--operator", choices=OPERATORS, help="who demonstrates in the twin, instead of a person"
    )
    parser.add_argument("--episodes", type=int, default=1, metavar="N", help="of the operator")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="longest demonstration of the operator"
    )
    parser.add_argument(
        "--disturbed",
        action="store_true",
        help="the twin follows the operator with errors, and does not always begin at home with its hand open, so that takes "
        "show how to come back",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the twin's scenes, 0 to 9")
    parser.add_argument("--renderer", default="auto", choices=("auto", "egl", "osmesa", "raycast"))
    add_page_arguments(parser, port=0)
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain of the robot")
    parser.add_argument("--namespace", default="", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """0 on success; 1 if fewer episodes were recorded than requested."""
    require_ros()
    load_embodiment(args.robot)
    page = page_settings(args)
    if args.operator and not args.sim:
        raise ValueError(f"--operator {args.operator} looks at the simulation's truth; add --sim")
    if args.disturbed and not args.operator:
        raise ValueError("--disturbed is of the twin's operator; add --sim --operator expert")
    if args.sim and args.out is None:
        raise ValueError("--sim starts a recorder of its own; say where it records: --out FOLDER")
    if args.episodes < 1 or not args.seconds > 0 or not 0 <= args.seed <= 9:
        raise ValueError(
            f"got --episodes {args.episodes}, --seconds {args.seconds:g}, --seed {args.seed}; "
            "expected at least 1, more than 0, 0 to 9"
        )
    end_as_ctrl_c()
    space = namespace_of(args.namespace)
    if args.sim:
        domain = session.join_or_isolate()
    else:
        domain, space = session.join(args.domain, space or None)
    with Client("record", namespace=space) as client:
        recorder = RecorderClient(client)
        if not args.sim and recorder.there(LOOK_S):
            return _with_person(recorder, args.task)
        return _start_and_record(args, client, recorder, space, domain, page=page)


def _start_and_record(
    args: argparse.Namespace,
    client: Client,
    recorder: RecorderClient,
    space: str,
    domain: int,
    *,
    page: PageSettings,
) -> int:
    """Start the missing nodes, record, and stop them again."""
    if args.out is None:
        raise ValueError(
            f"no recorder in ROS domain {domain}, namespace {space or '/'}; start one here with --out FOLDER, "
            "or with the robot: `vla up ROBOT --record FOLDER`"
        )
    out = args.out.expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    specs = node_specs(
        args.robot,
        sim=args.sim,
        seed=args.seed,
        renderer=args.renderer,
        web_port=page.port or None,
        web=page.parameters(),
        record=str(out),
        operator=args.operator or "",
        disturbed=args.disturbed,
        namespace=args.namespace,
    )
    if not args.sim:
        specs = tuple(spec for spec in specs if spec.name == "recorder")
    with (out / "nodes.log").open("a") as file:
        log = NodeLog(file, print)
        processes = Processes(log)
        try:
            processes.start(specs)
            if args.sim:
                announce(args.robot, page.port, space)
            _wait_until_there(processes, log, recorder, client, sim=args.sim)
            if args.operator:
                return _with_operator(args, client, recorder, out)
            return _with_person(recorder, args.task)
        except KeyboardInterrupt:
            print("stopping; what was saved stays", flush=True)
            return 130
        finally:
            log.quiet = True
            stop_all(processes)
            notes.withdraw()


def _wait_until_there(
    processes: Processes, log: NodeLog, recorder: RecorderClient, client: Client, *, sim: bool
) -> None:
    """Raises ValueError with a node's own sentence if one refuses or ends, TimeoutError after READY_S."""
    end_s = time.monotonic() + READY_S
    while not recorder.there(0.5):
        if log.refusal is not None:
            raise ValueError(log.refusal)
        if ended := processes.ended():
            raise ValueError(f"{' and '.join(ended)} ended; see {log.path}")
        if time.monotonic() > end_s:
            raise TimeoutError(f"the recorder is not ready in {READY_S:g} s; see {log.path}")
    if recorder.status is not None:
        print(recorder.status.message, flush=True)
    left_s = max(1.0, end_s - time.monotonic())
    if sim and not (client.wait_for_simulation(left_s) and client.wait_for_task(left_s)):
        raise TimeoutError(f"the simulation does not answer; see {log.path}")


def _with_operator(
    args: argparse.Namespace, client: Client, recorder: RecorderClient, out: Path
) -> int:
    demonstrator = Demonstrator(client, recorder, seconds=args.seconds)
    saved = tried = 0
    first = recorder.status.saved if recorder.status is not None else 0
    while saved < args.episodes and tried < TRIES * args.episodes:
        seed = args.seed * SEED_STRIDE + first + tried  # a new scene when a session continues
        done = demonstrator.demonstrate(seed)
        tried += 1
        saved += done.saved
        print(_line(done, seed), flush=True)
    print(f"{saved} of {args.episodes} episodes in {tried} demonstrations: {out / 'set'}")
    return 0 if saved == args.episodes else 1


def _line(done: DemonstrationResult, seed: int) -> str:
    word = "kept     " if done.saved else "discarded"
    return f"  {word} {done.instruction:<40} {done.seconds:5.1f} s  scene {seed}: {done.sentence}"


def _with_person(recorder: RecorderClient, task: str) -> int:
    if task:
        recorder.set_task(task)
    console = Console()
    said = ""
    with single_keys(), Live(console=console, auto_refresh=False, transient=True) as live:
        shown: tuple[object, ...] = ()
        while (word := next_word(KEY_S)) != "quit":
            status = recorder.status
            if status is None:
                continue
            if word is not None:
                said = _press(recorder, word, Phase(status.phase))
                if not console.is_terminal:
                    print(said, flush=True)
            if console.is_terminal:
                live.update(table(status, said), refresh=True)
            elif (news := (status.phase, *lines(status)[1:])) != shown:
                shown = news
                print("\n".join(lines(status)), flush=True)
    if recorder.status is not None:
        print(headline(recorder.status))
        if recorder.status.phase != Phase.IDLE:
            print("a take is open: `vla record` again to decide on it", file=sys.stderr)
    return 0


def _press(recorder: RecorderClient, word: str, phase: Phase) -> str:
    """Execute a key's action; returns its result as a sentence."""
    try:
        if word in OUTCOMES:
            return recorder.save(OUTCOMES[word])[1]
        if word != "go":
            return recorder.ask(word)[1]
        if phase is Phase.DECIDING:
            return recorder.save()[1]
        done, sentence = recorder.ask("start" if phase is Phase.IDLE else "end")
        return sentence or ("recording" if done else "")
    except TimeoutError as error:
        return str(error)
