"""What reading demonstrations costs: raw shards and decoded video, alone, in workers and while a policy is trained.

    python benchmarks/loader.py --out benchmarks/loader.json
    LEROBOT_PYTHON=/path/to/python python benchmarks/loader.py      # lerobot's own loader on the same sets beside it

Samples are two cameras, the state and ten rows of actions at random frames. Rates are per second of CPU time of all
threads of the process, so that they are those of one core, whatever else the machine does; wall time stands beside them.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "formats"))
from training_cases import CASES
from training_sets import ROBOT, collate, contract_for, frame

from vla_policy.data.conversion.shard_sets import set_to_shards
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.families import FAMILIES
from vla_policy.families.training import LossOptions
from vla_policy.train.augment import Augmentation, augmenter
from vla_policy.train.loader import Loader
from vla_policy.train.mixture import Entry, Mixture
from vla_policy.train.training_set import open_training_set

ROWS, BATCH = 10, 8
SIZES = ((96, 96), (240, 320))
LEROBOT = os.environ.get("LEROBOT_PYTHON", "")
THEIRS = """
import json, sys, time, resource
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, fps, rows, samples, batch, backend = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
torch.set_num_threads(1)
data = LeRobotDataset("local/set", root=root, video_backend=backend,
                      delta_timestamps={"action": [k / fps for k in range(rows)]})
loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, num_workers=0,
                                     generator=torch.Generator().manual_seed(0))
def stream():
    while True:
        yield from loader
taken = stream(); next(taken)
began, cpu, done = time.perf_counter(), time.process_time(), 0
while done < samples:
    done += len(next(taken)["action"])
print(json.dumps({"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "samples": done}))
"""


@dataclass(frozen=True)
class Example:
    """The tiny policy's example of a sample; goes to workers without the weights."""

    checkpoint: object

    def __call__(self, sample):
        return FAMILIES["tiny"].training.example(self.checkpoint, ("flow",), sample.value)


def as_tensors(sample):
    """What is read, unchanged."""
    seen = sample.value.observation.images
    return {c: torch.from_numpy(np.asarray(i).copy()) for c, i in seen.items()} | {
        "actions": torch.from_numpy(sample.value.actions.copy())
    }


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """Shading, noise and something that moves, as a camera gives it."""
    rng = np.random.default_rng(number % 30)
    rows, columns = np.mgrid[: size[0], : size[1]]
    base = np.stack([columns * 255 // size[1], rows * 255 // size[0], (rows + columns) // 5], -1)
    left = number * 2 % (size[1] // 2)
    base[size[0] // 4 : size[0] // 2, left : left + size[1] // 8] = (200, 30, 60)
    return (base + rng.integers(-4, 5, (*size, 1))).clip(0, 255).astype(np.uint8)


def make_set(root: Path, size: tuple[int, int], episodes: int, length: int) -> Path:
    with SetWriter(root, ROBOT, 10, robot_yaml="name: vx300s\n") as writer:
        for episode in range(episodes):
            writer.begin("pick up the red cube")
            for number in range(length):
                images = dict.fromkeys(ROBOT.camera_names, picture(number + 7 * episode, size))
                writer.add(frame(0, number % 25, images=images), wait=True)
            writer.save(True)
    return root


def measured(samples: int, take) -> dict:
    """take() gives one micro-batch; the first is not counted: files are opened in it."""
    take()
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while done < samples:
        take()
        done += BATCH
    return rates(done, time.process_time() - cpu, time.perf_counter() - wall)


def rates(samples: int, cpu_s: float, wall_s: float) -> dict:
    cameras = len(ROBOT.camera_names)
    return {
        "samples": samples,
        "images_a_core_second": round(cameras * samples / cpu_s, 1),
        "cpu_ms_a_sample": round(1e3 * cpu_s / samples, 3),
        "wall_ms_a_sample": round(1e3 * wall_s / samples, 3),
    }


def read(root: Path, samples: int, *, augment=None, example=as_tensors) -> dict:
    """In this process, at random frames."""
    data = open_training_set(root, contract_for(), rows=ROWS)
    mixture = Mixture([Entry(data)], seed=0, augment=augment)
    batches = Loader(mixture, example, collate, batch=BATCH, workers=0).batches(0)
    report = measured(samples, partial(next, batches))
    batches.close()
    return report


def theirs(root: Path, samples: int, backend: str) -> dict:
    command = [
        *shlex.split(LEROBOT),
        "-c",
        THEIRS,
        str(root),
        "10",
        str(ROWS),
        str(samples),
        str(BATCH),
        backend,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:300]}
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return rates(said["samples"], said["cpu_s"], said["wall_s"])


def trained(root: Path, folder: Path, steps: int, workers: int) -> dict:
    """The tiny policy's own step, batch of 8, and how much of its time it waited for data."""
    case = CASES["tiny"](folder)
    checkpoint, training = case.checkpoint, case.training
    data = open_training_set(root, checkpoint.contract, rows=case.policy.rows)
    mixture = Mixture([Entry(data)], seed=0, augment=augmenter(Augmentation()))
    light = replace(
        checkpoint, model=checkpoint.model.__class__(checkpoint.model.config).to("meta")
    )
    loader = Loader(mixture, Example(light), training.collate, batch=BATCH, workers=workers)
    optimiser = torch.optim.AdamW(checkpoint.model.parameters(), 1e-4)
    batches, generator = loader.batches(0), torch.Generator().manual_seed(0)
    began = 0.0
    for step in range(steps + 3):
        if step == 3:  # the queues are full
            began, waited = time.perf_counter(), loader.waited_s
        batch = next(batches)
        optimiser.zero_grad()
        training.loss(
            checkpoint, batch.tensors, LossOptions(heads=("flow",)), generator
        ).total.backward()
        optimiser.step()
    wall = time.perf_counter() - began
    batches.close()
    return {
        "workers": workers,
        "steps": steps,
        "step_ms": round(1e3 * wall / steps, 1),
        "waited_ms": round(1e3 * (loader.waited_s - waited) / steps, 1),
        "share_waited": round((loader.waited_s - waited) / wall, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the sets are made; lerobot must see it under the same path",
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    report = {
        "command": f"python benchmarks/loader.py --samples {args.samples} --episodes {args.episodes} "
        f"--length {args.length} --steps {args.steps}",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
                     "av": av.__version__, "opencv": cv2.__version__},
        "load_average": os.getloadavg()[0],
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        for size in SIZES:
            name = f"{size[1]}x{size[0]}"
            root = make_set(folder / name, size, args.episodes, args.length)
            here = {"video": read(root, args.samples)}
            if size == (96, 96):
                set_to_shards(root, folder / "shards")
                here["raw shards"] = read(folder / "shards", args.samples)
            here["video, augmented"] = read(root, args.samples, augment=augmenter(Augmentation()))
            if LEROBOT:
                for backend in ("pyav", "torchcodec"):
                    here[f"lerobot, {backend}"] = theirs(root, args.samples // 2, backend)
            report[name] = here
            print(name, json.dumps(here, indent=1), flush=True)
        (folder / "policy").mkdir()
        for source, root in (("raw shards", folder / "shards"), ("video", folder / "96x96")):
            report[f"training tiny on {source}"] = [
                trained(root, folder / "policy", args.steps, workers) for workers in (0, 1)
            ]
            print(source, report[f"training tiny on {source}"], flush=True)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
