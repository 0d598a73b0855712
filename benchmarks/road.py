"""The road of docs/checkpoints.md with the programs themselves: a folder of every kind, a robot, a mock that acts.

For each pair the commands that stand there are run one after the other as a user would: inspect, policy file, both
together, check, convert, then the mock and one sentence. The table says how long each took and what came of it: `acts`
where chunks came, the control node followed them and the sentence ended without a fault. The folders are small and
their weights random, so that a sentence is done means nothing; what is measured is the road and not the policy.

. tools/env.sh && python benchmarks/road.py --out benchmarks/road.json
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "test" / "helpers"))
from road_folders import FOLDERS

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup import session

PAIRS = (
    "pi0:ur5e_2f85 smolvla:fr3 openvla:panda_cartesian paligemma:vx300s pi05_relative:vx300s_pair pi0:tiago "
    "pi0_openpi:xarm7 pi0:vx300s_mobile smolvla:aloha pi0_lerobot_0.4:so101 smolvla:ur5e_servo "
    "pi0_lerobot_0.3:ur5e_2f85 pi05_relative:fr3 openvla:vx300s"
)
SENTENCE = "pick up the cube"
ACT_S = 4.0  # of the robot, that the sentence is followed
UP_S = 120.0
ENDS = re.compile(r"(done|timeout) after [0-9.]+ s")  # of vla say, when a sentence was followed
FAULT = re.compile(r"Traceback|\[ERROR\]|\[FATAL\]")  # single refused chunks are among the limits


def ran(words: list[str], folder: Path, out: Path | None = None) -> tuple[float, int, str]:
    """Seconds, exit status and all that was said; the output goes to out as well."""
    start = time.monotonic()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    if out is not None:
        out.write_text(done.stdout)
    return time.monotonic() - start, done.returncode, done.stdout + done.stderr


def walk(kind: str, robot: str, root: Path) -> dict:
    """One pair: step -> seconds, and the outcome in words."""
    write, heads = FOLDERS[kind]
    write(root / "folder", load_embodiment(robot))
    counts = [] if heads is None else ["--heads", *map(str, heads)]
    steps = (
        ("inspect", ["vla", "inspect", "folder", *counts], None),
        ("fill", ["vla", "inspect", "folder", "--policy-file", "--robot", robot, *counts], "policy.yaml"),
        ("both", ["vla", "inspect", "policy.yaml"], None),
        ("check", ["vla", "check", "checkpoint", "policy.yaml", "--robot", robot], None),
        ("convert", ["vla", "convert", "policy.yaml", "own", "--to", "vla"], None),
        ("check_own", ["vla", "check", "checkpoint", "own", "--robot", robot], None),
    )  # fmt: skip
    row: dict = {"folder": kind, "robot": robot, "seconds": {}}
    for step, words, out in steps:
        seconds, code, said = ran(words, root, None if out is None else root / out)
        row["seconds"][step] = round(seconds, 1)
        if code != 0:
            return row | {"outcome": f"{step}: {said.strip()[-400:]}"}
    return row | mocked(robot, root, row["seconds"])


def mocked(robot: str, root: Path, seconds: dict[str, float]) -> dict:
    """The mock is started, told one sentence and stopped."""
    log = root / "up.log"
    words = ["vla", "up", robot, "--mock", "--policy", "policy.yaml", "--web-port", "0"]
    start = time.monotonic()
    with log.open("w") as said:
        up = subprocess.Popen(words, cwd=root, stdout=said, stderr=said)
    try:
        say = ["vla", "say", "--wait", f"{UP_S:g}", "--timeout", f"{ACT_S:g}", SENTENCE]
        _, _, told = ran(say, root)
        seconds["mock_and_sentence"] = round(time.monotonic() - start, 1)
        stopped = ran(["vla", "stop", "--domain", os.environ["ROS_DOMAIN_ID"]], root)
        alive = up.poll() is None
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
        code = up.wait(30.0)
    faults = [line[-300:] for line in log.read_text().splitlines() if FAULT.search(line)]
    heard = [line.strip() for line in told.splitlines()]
    ends = [line for line in heard if ENDS.match(line)]
    wrong = []
    if not ends:
        wrong.append(f"vla say: {' '.join(heard)[-300:]}")
    if not alive or code != 0:
        wrong.append(f"vla up ended with {code}{'' if alive else ' by itself'}")
    if stopped[1] != 0:
        wrong.append(f"vla stop: {stopped[2].strip()[-300:]}")
    wrong += faults
    limits = [line for line in heard if line.startswith("limited by")]
    return {"outcome": "; ".join(wrong) or "acts", "said": ends, "limits": limits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default=PAIRS, help="folder:robot, separated by spaces")
    parser.add_argument("--keep", type=Path, help="folder that keeps what was written and said")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    session.join_or_isolate()
    table = {}
    if args.out and args.out.exists():  # pairs that are not measured now keep their row
        table = {(r["folder"], r["robot"]): r for r in json.loads(args.out.read_text())["pairs"]}
    now = []
    for pair in args.pairs.split():
        root = (args.keep or Path(tempfile.mkdtemp())) / pair.replace(":", "_")
        root.mkdir(parents=True, exist_ok=True)
        row = walk(*pair.split(":"), root) | {"load": round(os.getloadavg()[0], 1)}
        print(json.dumps(row), flush=True)
        table[row["folder"], row["robot"]] = row
        now.append(row["outcome"])
        if args.out:
            about = {"processors": os.cpu_count(), "sentence_s": ACT_S}
            content = {"about": about, "pairs": list(table.values())}
            args.out.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(0 if set(now) == {"acts"} else 1)


if __name__ == "__main__":
    main()
