"""Demonstrations recorded through the running twin and replayed on it: benchmarks/replay_graph.json.

    . tools/env.sh && python benchmarks/replay_graph.py --episodes 20 --out benchmarks/replay_graph.json

`vla record --sim --operator expert` makes the set, `vla replay K --set SET --engage` plays each episode in its own
scene, and physics judges again. succeeded_again counts the episodes that it calls done; figures: why the others were not.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import played_graph as played

from vla_policy.data.lerobot.reader import open_set
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.bringup.processes import Processes
from vla_policy.ros.operator.client import Client

RECORD_S, REPLAY_S, READY_S = 240.0, 180.0, 120.0  # for each demonstration


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--set", type=Path, help="recorded before, in place of a new one")
    parser.add_argument("--keep", type=Path, help="folder to record into; else one that goes")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        root = args.set or record(args, folder / "takes")
        found = replay(root, args.episodes, Path(name))
    report = {
        **played.heading(load),
        "episodes": len(found),
        "succeeded_again": sum(done for done, _ in found),
        "share": round(sum(done for done, _ in found) / max(1, len(found)), 3),
        "others": [said for done, said in found if not done],
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["share"] >= 0.95 else 1


def vla(*words: str) -> list[str]:
    """A verb as a process; each has its own ROS."""
    return ["vla", *words]


def record(args: argparse.Namespace, takes: Path) -> Path:
    line = vla("record", "--sim", "--operator", "expert", "--episodes", f"{args.episodes}")
    line += ["--seed", f"{args.seed}", "--renderer", "raycast", "--out", str(takes)]
    subprocess.run(line, check=False, timeout=RECORD_S * args.episodes)
    return takes / "set"


def replay(root: Path, most: int, folder: Path) -> list[tuple[bool, str]]:
    """(whether physics calls it done, what was said last) of each of the first episodes."""
    specs = [s for s in node_specs("vx300s", sim=True, renderer="raycast", web_port=None) if s.name != "policy"]  # fmt: skip
    found = []
    with (folder / "nodes.log").open("w") as log:
        processes = Processes(lambda node, line: log.write(f"{node}: {line}\n"))
        processes.start(specs)
        try:
            with Client("operator") as client:
                if not (client.wait_for_simulation(READY_S) and client.wait_for_task(READY_S)):
                    raise TimeoutError("the twin does not get ready")
            for episode in range(min(most, len(open_set(root).entries))):
                line = vla("replay", f"{episode}", "--set", str(root), "--engage")
                done = subprocess.run(
                    line, check=False, capture_output=True, text=True, timeout=REPLAY_S
                )
                words = (done.stdout + done.stderr).strip().splitlines()
                said = re.sub(r"\s+", " ", "; ".join(words[-2:]))
                found.append((done.returncode == 0, f"episode {episode}: {said}"))
                print(found[-1], flush=True)
        finally:
            processes.stop()
    return found


if __name__ == "__main__":
    sys.exit(main())
