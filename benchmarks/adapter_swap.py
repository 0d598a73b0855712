"""Adapters exchanged in the running graph while the arm works: policy, control and task node around the twin.

    . tools/env.sh && python benchmarks/adapter_swap.py --swaps 40 --out benchmarks/adapter_swap.json

Two adapters act as their base does and turn the tool on the way, one to the left, one to the right, so every row of a chunk shows
whose it is: mixtures counts chunks with rows of both, strangers chunks that are not of the adapter that they name. Every fourth
exchange is to a folder that is not in memory. Times in ms; of the clock of the simulation where it says sim_.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import played_graph as played

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from adapter_folders import turned, turning
from vla_policy.msg import ActionChunk, ControlCommand
from vla_policy.srv import SetAdapter

from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.messages import convert
from vla_policy.ros.operator.running_graph import NodeLog, RunningGraph
from vla_policy.ros.operator.trial import engage, wait_for_task
from vla_policy.ros.process import qos

POLICY, BY, EVERY_S, TASK_S = "tiny", 0.25, 0.8, 60.0
FOLDER_EVERY = 4


class Heard:
    """What the graph said. chunks: (wall s, message). commands: (wall s, message) of every tick."""

    def __init__(self, node) -> None:
        self.lock = threading.Lock()
        self.chunks, self.commands = [], []
        node.create_subscription(ActionChunk, "action_chunk", self._chunk, qos.COMMAND)
        node.create_subscription(ControlCommand, "control_command", self._command, qos.TICKS)

    def _chunk(self, message) -> None:
        with self.lock:
            self.chunks.append((time.monotonic(), message))

    def _command(self, message) -> None:
        with self.lock:
            self.commands.append((time.monotonic(), message))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--renderer", default="raycast")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        found = measured(args, Path(name))
    report = {**played.heading(load), **found}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if not (report["mixtures"] or report["strangers"] or report["refused"]) else 1


def measured(args: argparse.Namespace, folder: Path) -> dict:
    """The figures of a run."""
    ways = {"left": BY, "right": -BY}
    folders = {name: turning(folder / name, POLICY, by) for name, by in ways.items()}
    named = ",".join(f"{name}={path}" for name, path in folders.items())
    specs = node_specs("vx300s", policy=POLICY, head="flow", sim=True, renderer=args.renderer, web_port=None)  # fmt: skip
    specs = tuple(played.changed(specs, {"policy": {"adapters": named}}))
    with (folder / "nodes.log").open("w") as file:
        graph = RunningGraph(lambda head: specs, NodeLog(file, print))
        try:
            client = graph.start("flow")
            heard = Heard(client.node)
            service = client.node.create_client(SetAdapter, "policy/set_adapter")
            graph.wait_until_ready()
            swaps, works = worked(args, client, service, heard, folders)
        finally:
            graph.close()
    return summed(heard, swaps, works, {str(folders[n]): by for n, by in ways.items()} | ways)


def worked(args, client, service, heard, folders) -> tuple[list[dict], list[dict]]:
    """Exchanges, and the tasks during which they were made."""
    swaps, works, seed = [], [], args.seed
    while len(swaps) < args.swaps:
        client.engage(False)
        scene = client.set_scene(seed, "")
        seed += 1
        wait_for_task(client, scene.instruction)
        time.sleep(0.4)
        engage(client)
        began = time.monotonic()
        result = client.start(scene.instruction, 20.0)
        outcome = None
        while outcome is None and len(swaps) < args.swaps and time.monotonic() - began < TASK_S:
            name = ("left", "right")[len(swaps) % 2]
            known = len(swaps) % FOLDER_EVERY != FOLDER_EVERY - 1
            asked = name if known else str(folders[name])
            called = time.monotonic()
            answer = client.call(service, SetAdapter.Request(adapter=asked), "set_adapter", 60.0)
            swaps.append({"adapter": asked, "kept": known, "called": called, "answered": time.monotonic(), "answer": answer})  # fmt: skip
            outcome = client.outcome(result, EVERY_S)
        if outcome is None:
            client.cancel()
        event = client.event
        works.append({
            "began": began, "ended": time.monotonic(), "outcome": getattr(outcome, "code", "cancelled"),
            "done": bool(event and event.instruction == scene.instruction and event.ever_success),
        })  # fmt: skip
    return swaps, works


def summed(heard: Heard, swaps: list[dict], works: list[dict], ways: dict[str, float]) -> dict:
    """Figures from what was heard."""
    mixtures, strangers, named = 0, 0, {}
    for _, message in heard.chunks:
        chunk = convert.chunk_from_msg(message, "action_chunk")
        names = list(chunk.names)
        start = names.index("ee.qx")
        turns = turned(chunk.actions[:, start : start + 4])
        signs = set(np.sign(turns))
        named[message.adapter] = named.get(message.adapter, 0) + 1
        if message.adapter:
            mixtures += len(signs) != 1
            strangers += signs != {np.sign(ways[message.adapter])}
    first_chunk = []
    for swap, following in zip(swaps, [*swaps[1:], None], strict=True):
        end = following["called"] if following else float("inf")
        first_chunk += [1e3 * (at - swap["called"]) for at, m in heard.chunks if swap["answered"] <= at < end and m.adapter == swap["adapter"]][:1]  # fmt: skip
    times = [convert.ns_from_stamp(s["answer"].exchange_time) / 1e6 for s in swaps]
    calls = {kept: [1e3 * (s["answered"] - s["called"]) for s in swaps if s["kept"] is kept] for kept in (True, False)}  # fmt: skip
    return {
        "swaps": len(swaps),
        "refused": [s["answer"].message for s in swaps if not s["answer"].success],
        "chunks": len(heard.chunks),
        "chunks_by_adapter": {
            Path(k).name + (" (folder)" if "/" in k else ""): n for k, n in named.items()
        },
        "mixtures": mixtures,
        "strangers": strangers,
        "exchange_ms": played.summary(times),
        "call_ms_in_memory": played.summary(calls[True] or [0], 1),
        "call_ms_from_folder": played.summary(calls[False] or [0], 1),
        "call_to_first_chunk_ms": played.summary(first_chunk or [0], 1),
        "motion": motion(heard, works),
        "tasks": len(works),
        "tasks_done": sum(w["done"] for w in works),
        "outcomes": [w["outcome"] for w in works],
    }


def motion(heard: Heard, works: list[dict]) -> dict:
    """Of the time from the first command of each task to its end: the longest rest, by what the control node said."""
    holds, gaps, ticks, reasons = [0.0], [0.0], 0, {}
    for work in works:
        said = [m for at, m in heard.commands if work["began"] <= at < work["ended"]]
        began = next((i for i, m in enumerate(said) if m.level <= 1 and len(m.sent)), len(said))
        held_since, sent_ns = None, None
        last = max((i for i, m in enumerate(said) if len(m.sent)), default=-1)
        for message in said[began : last + 1]:
            ticks += 1
            now_ns = convert.ns_from_stamp(message.header.stamp)
            if len(message.sent):
                gaps.append(0.0 if sent_ns is None else (now_ns - sent_ns) / 1e6)
                sent_ns = now_ns
            if message.level >= 2:
                held_since = now_ns if held_since is None else held_since
                holds.append((now_ns - held_since) / 1e6)
                for reason in message.reasons:
                    reasons[reason] = reasons.get(reason, 0) + 1
            else:
                held_since = None
    return {
        "ticks": ticks,
        "sim_longest_hold_ms": round(max(holds), 1),
        "sim_longest_gap_between_commands_ms": round(max(gaps), 1),
        "reasons_of_holds": reasons,
    }


if __name__ == "__main__":
    sys.exit(main())
