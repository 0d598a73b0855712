"""How fast training is: samples a second, the share of time waited for data, one process against two, and lerobot beside it.

    python benchmarks/training.py --out benchmarks/training.json
    LEROBOT_PYTHON=... python benchmarks/training.py ...     # lerobot's own policy, data set and loop on the same work

Every number is of `vla train` itself, from the lines of its log; the first lines, in which processes come up, are left out. All
processes have one thread. `tiny` learns from 320x240 video of two cameras. Against lerobot a small random pi0 (its published
layout, 0.3 million parameters) learns from the same set, batch and optimiser, its data read by the same number of processes; each of
them runs alternately, and the median of the rounds counts.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
import torch
import yaml
from demonstrations import image
from joint_sets import ROBOT, joint_set
from pi0_folders import GOLDEN, characters
from train_kill import machine
from training_sets import arm_set, frame

BATCH, STEPS, EVERY, SKIPPED = 16, 25, 5, 1
SIZE = (240, 320)
ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--scratch", type=Path, help="where lerobot sees it too")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        report = measure(Path(scratch), args)
    report |= {"command": " ".join(["python", *sys.argv])}
    report |= {"batch": BATCH, "image": SIZE, "torch": torch.__version__, "machine": machine()}
    report["load_average"] = round(os.getloadavg()[1], 1)
    print(json.dumps(report, indent=2))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(scratch: Path, args: argparse.Namespace) -> dict:
    arm = video_set(scratch / "arm")
    cases = {f"tiny, {w} loader processes": (arm, "tiny", w, 1) for w in (0, 1, 2)}
    cases["tiny, 2 processes with 1 loader each"] = (arm, "tiny", 1, 2)
    joints = joint_set(scratch / "joints", (60, 50, 55), size=SIZE)
    cases["small pi0"] = (joints, small_pi0(scratch), 1, 1)
    cases = {name: case for name, case in cases.items() if args.only in name}
    found: dict[str, list[dict]] = {name: [] for name in cases}
    theirs: list[dict] = []
    for round_ in range(args.rounds):
        for number, (name, (data, policy, workers, processes)) in enumerate(cases.items()):
            out = scratch / f"run-{round_}-{number}"
            found[name].append(ours(out, data, policy, workers, processes, args.steps))
            print(name, found[name][-1], flush=True)
        if python := os.environ.get("LEROBOT_PYTHON"):
            theirs.append(lerobot(python, joints, args.steps))
            print("lerobot", theirs[-1], flush=True)
    report: dict = {"cases": {name: middle(rounds) for name, rounds in found.items()}}
    if theirs:
        report["cases"]["small pi0, lerobot"] = middle(theirs)
        mine = report["cases"]["small pi0"]["samples_per_s"]
        report["times_lerobot"] = round(mine / middle(theirs)["samples_per_s"], 2)
    return report


def middle(rounds: list[dict]) -> dict:
    return {key: round(statistics.median(r[key] for r in rounds), 3) for key in rounds[0]}


def video_set(root: Path) -> Path:
    changed = {
        (e, n): {"images": {c: image(e, n, c, SIZE) for c in frame(e, n).images}}
        for e in range(3) for n in range(60)
    }  # fmt: skip
    return arm_set(root, (60, 50, 55), changed=changed)


def small_pi0(scratch: Path) -> Path:
    """A policy file over the folder that lerobot wrote."""
    names = list(ROBOT.state_names)
    content = {
        "checkpoint": str(GOLDEN / "ckpt061_pi0"), "tokenizer": str(characters(scratch / "tokenizer.json")),
        "cameras": {"base": "side", "wrist": "wrist"}, "state": names,
        "actions": {"names": names, "spaces": {"arm": "joint_position", "hand": "gripper"}},
        "policy_hz": 10, "embodiments": [ROBOT.name], "heads": {"language": 8, "kv": 1, "vision": 4},
    }  # fmt: skip
    path = scratch / "pi0.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def ours(
    out: Path, data: Path, policy: Path | str, workers: int, processes: int, steps: int
) -> dict:
    content = {
        "policy": str(policy), "data": [str(data)], "out": str(out), "steps": steps, "batch": BATCH, "threads": 1,
        "micro_batch": BATCH // processes, "workers": workers, "device": "cpu", "log_every": EVERY, "statistics": "policy",
        "checkpoints": {"every": steps},
    }  # fmt: skip
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content))
    start = [sys.executable]
    if processes > 1:
        start += [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
        ]
    command = [*start, "-m", "vla_policy.cli", "train", str(path)]
    subprocess.run(command, check=True, env=os.environ | ALONE, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    counted = lines[SKIPPED:-1]  # the last one writes the checkpoint too
    spent = [EVERY * BATCH / line["samples_per_s"] for line in counted]
    waited = sum(s * line["waited"] for s, line in zip(spent, counted, strict=True))
    return {
        "samples_per_s": len(spent) * EVERY * BATCH / sum(spent),
        "waited": waited / sum(spent),
    }


THERE = """
import json, sys, time
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
import make_training_golden as golden
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.pi0 import modeling_pi0
from lerobot.processor import PolicyProcessorPipeline
torch.set_num_threads(1)
root, folder, batch, steps, skipped = sys.argv[1], Path(sys.argv[3]), *map(int, sys.argv[4:7])
policy = golden.pi_policy(modeling_pi0, modeling_pi0.PI0Policy, folder).train()
before = PolicyProcessorPipeline.from_pretrained(
    folder, config_filename="policy_preprocessor.json", local_files_only=True,
    overrides={"tokenizer_processor": {"tokenizer": golden.characters(), "tokenizer_name": None}},
)
rows = [k / 10 for k in range(policy.config.chunk_size)]
data = LeRobotDataset("local/bench", root=root, video_backend="pyav", delta_timestamps={"action": rows})
loader = torch.utils.data.DataLoader(data, batch, shuffle=True, num_workers=1, drop_last=True, prefetch_factor=2)
optimiser = torch.optim.AdamW(policy.parameters(), lr=2.5e-5, betas=(0.9, 0.95), weight_decay=0.01)
def forever():
    while True:
        yield from loader
waited = 0.0
for step, given in zip(range(steps), forever()):
    if step == skipped:
        begun, waited = time.perf_counter(), 0.0
    elif step > skipped:
        waited += time.perf_counter() - asked
    renamed = {"observation.images.base": given["observation.images.side"],
               "observation.images.wrist": given["observation.images.wrist"]}
    kept = ("observation.state", "action", "action_is_pad", "task")
    loss, _ = policy.forward(before(renamed | {k: given[k] for k in kept if k in given}))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    loss.item()
    asked = time.perf_counter()
spent = asked - begun
print("FOUND" + json.dumps({"samples_per_s": (steps - skipped) * batch / spent, "waited": waited / spent}))
"""


def lerobot(python: str, data: Path, steps: int) -> dict:
    words = [data, GOLDEN, GOLDEN / "ckpt061_pi0", BATCH, steps, SKIPPED * EVERY]
    done = subprocess.run(
        [*shlex.split(python), "-c", THERE, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ALONE,
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("FOUND")), None)
    if line is None:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(line.removeprefix("FOUND"))


if __name__ == "__main__":
    main()
