"""Closed-loop success of the running graph: real nodes in their own processes, judged by physics.

The same scenes and sentences as `vla evaluate` (vla_policy/evaluate/suites.py), one attempt each. Beside the
success it says how long a task took in simulated and in wall time and what the nodes complained of.

. tools/env.sh && python benchmarks/graph_loop.py --episodes 50 --out benchmarks/graph_loop.json
"""

import argparse
import collections
import datetime
import json
import os
import platform
import re
import tempfile
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.metrics import wilson
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.operator.running_graph import NodeLog, RunningGraph
from vla_policy.ros.operator.trial import run_trial
from vla_policy.ros.operator.watch import Watch

ROBOT = "vx300s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", default="flow,token")
    parser.add_argument("--suites", default="pick_put,push")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--log", type=Path, help="keep what the nodes print in this file")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    rows = []
    path = args.log or Path(tempfile.mkdtemp()) / "nodes.log"
    with path.open("w") as file:
        log = NodeLog(file, print)
        graph = RunningGraph(
            lambda head: node_specs(ROBOT, policy=args.policy, head=head, sim=True, web_port=None),
            log,
        )
        try:
            heads = args.heads.split(",")
            client = graph.start(heads[0])
            watch = Watch(client.node, load_embodiment(ROBOT))
            graph.wait_until_ready()
            for head in heads:
                graph.change_head(head)
                for suite in args.suites.split(","):
                    rows.append(measure(graph, client, watch, head, suite, args, file))
                    print(json.dumps(rows[-1]), flush=True)
        finally:
            graph.close()
    report = {
        "command": f"python benchmarks/graph_loop.py --heads {args.heads} --suites {args.suites} "
        f"--episodes {args.episodes} --seed {args.seed} --policy {args.policy}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(graph, client, watch, head: str, suite: str, args, log) -> dict:
    """Counts of one head on one suite."""
    start = log.tell()
    trials = []
    for index in track(range(args.episodes), f"{head} {suite}"):
        graph.check()
        scene, task = trial(SUITES[suite], args.seed, index)
        trials.append(run_trial(client, watch, head, scene.seed, task.instruction, 20.0))
    done = sum(t.success for t in trials)
    low, high = wilson(done, len(trials))
    log.flush()
    text = Path(log.name).read_text()[start:]
    warnings = collections.Counter(
        re.sub(r"-?\d+(\.\d+)?", "#", line)[:90] for line in text.splitlines() if "[WARN]" in line
    )
    seconds = [t.seconds for t in trials if t.success]
    return {
        "head": head,
        "suite": suite,
        "trials": len(trials),
        "success": done,
        "interval_95": [round(low, 4), round(high, 4)],
        "seconds_p50_p90": np.percentile(seconds, (50, 90)).round(2).tolist() if seconds else None,
        "failures": [f"{t.instruction}: {t.detail}" for t in trials if not t.success],
        "warnings": dict(warnings.most_common(12)),
    }


if __name__ == "__main__":
    main()
