"""Kill training at random moments: is every folder that is there whole, and is what comes out the same to the bit?

    python benchmarks/train_kill.py --kills 10 --out benchmarks/train_kill.json

A child process trains a small policy with `vla train` on a recorded set and is killed (SIGKILL) at a random moment: of
training, of writing a checkpoint, of starting; the next child goes on. After each kill every checkpoint under its final name,
and the link to the best of them, must load and act; what has another name must be refused; and no more steps may be lost
than were made since the last checkpoint. The weights, moments and mean of the last step are compared with those of a run that was left alone.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from demonstrations import image
from training_sets import ROBOT, arm_set, frame

from vla_policy.policy import load_policy
from vla_policy.train.run_folder import folder_of, steps_in
from vla_policy.types import Observation

STEPS, EVERY = 45, 5
WHEN = ("training", "writing a checkpoint", "starting", "writing a state")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(Path(scratch), args.kills, random.Random(args.seed))
    report |= {"command": " ".join(["python", *sys.argv])}
    report |= {"seed": args.seed, "torch": torch.__version__, "machine": machine()}
    print(json.dumps(report, indent=2))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(scratch: Path, kills: int, rng: random.Random) -> dict:
    data = arm_set(scratch / "set", (20, 17, 23))
    run_file = scratch / "run.yaml"
    run_file.write_text(json.dumps(run(data)))
    begun = time.monotonic()
    assert start(run_file, scratch / "whole").wait() == 0
    alone = time.monotonic() - begun
    out, told = scratch / "killed", []
    while len(told) < kills:
        when = WHEN[len(told) % len(WHEN)]
        told.append(kill_once(run_file, out, when, rng))
        print(told[-1], flush=True)
        if steps_in(out, "state")[-1:] == [STEPS]:
            shutil.rmtree(out)  # it came to its end: once more from the start
    assert start(run_file, out).wait() == 0
    return {
        "kills": told,
        "steps": STEPS,
        "checkpoint_every": EVERY,
        "most_steps_lost": max(k["lost"] for k in told),
        "folders_loaded": sum(k["loaded"] for k in told),
        "half_written_refused": sum(k["refused"] for k in told),
        "same_to_the_bit": same(scratch / "whole", out),
        "seconds_alone": round(alone, 1),
    }


def run(data: Path) -> dict:
    return {
        "policy": "tiny", "data": [{"set": str(data)}], "out": "", "steps": STEPS, "batch": 4, "micro_batch": 2,
        "ema": 0.9, "workers": 0, "threads": 1, "device": "cpu", "log_every": 1, "checkpoints": {"every": EVERY, "keep": 2},
    }  # fmt: skip


def start(run_file: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "vla_policy.cli", "train", run_file, "--out", out]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)


def kill_once(run_file: Path, out: Path, when: str, rng: random.Random) -> dict:
    """One child, killed up to 2 s after its first state, up to 3 s after it began, or up to 20 ms after it began to write."""
    before = steps_in(out, "state")[-1:] or [0]
    child = start(run_file, out)
    if when != "starting":
        while child.poll() is None and steps_in(out, "state")[-1:] in ([], before):
            time.sleep(0.001)
    if when.startswith("writing"):
        kind = when.removeprefix("writing a ") + "*"
        while child.poll() is None and not list(out.glob(f"{kind}/.*.partial")):
            pass
    longest = {"training": 2.0, "starting": 3.0}.get(when, 0.02)
    delay = rng.uniform(0.0, longest)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    step = (steps_in(out, "state")[-1:] or [0])[0]
    made = logged(out)
    assert step >= before[0] and made - step <= EVERY, (before, step, made)
    loaded, refused = look(out)
    return {
        "when": when,
        "delay_s": round(delay, 3),
        "from_step": before[0],
        "saved_step": step,
        "lost": max(0, made - step),
        "loaded": loaded,
        "refused": refused,
    }


def logged(out: Path) -> int:
    """Steps that were made: every step has a line, of which the last may be cut off."""
    path = out / "log.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def look(out: Path) -> tuple[int, int]:
    """How many folders load and act, and how many are refused; raises if one is neither."""
    loaded = refused = 0
    for folder in sorted((out / "checkpoints").glob("*")):
        if folder.name.isdigit():
            assert np.isfinite(load_policy(str(folder)).infer(observation()).actions).all()
            loaded += 1
    for half in sorted((out / "checkpoints").glob(".*")):
        try:
            load_policy(str(half))
        except (ValueError, OSError):
            refused += 1
        else:
            raise AssertionError(f"{half} was loaded")
    if (out / "checkpoint").is_symlink():
        load_policy(str(out / "checkpoint"))
        loaded += 1
    return loaded, refused


def observation() -> Observation:
    seen = frame(0, 2)
    return Observation(
        images={c: image(0, 2, c) for c in ROBOT.camera_names}, state=np.array(seen.state),
        state_names=ROBOT.state_names, instruction="push", obs_ns=5,
    )  # fmt: skip


def same(one: Path, two: Path) -> bool:
    files = [folder_of(Path(), "state", STEPS) / "training.safetensors"]
    files.append(folder_of(Path(), "checkpoints", STEPS) / "model.safetensors")
    pairs = [(load_file(one / f), load_file(two / f)) for f in files]
    return all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in pairs)


def machine() -> str:
    names = [
        x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")
    ]
    return f"{len(names)} x {names[0].partition(':')[2].strip()}"


if __name__ == "__main__":
    main()
