"""A small pi0 folder whose action projections learn a line: a step takes a millisecond."""

import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from pi0_folders import GOLDEN, policy_file

from vla_policy.families.training import Loss, Training
from vla_policy.formats.load import load_checkpoint
from vla_policy.formats.native.folder import load, save
from vla_policy.train.batches import Batch
from vla_policy.train.checkpoints import newest
from vla_policy.train.run import Checkpoints, DataSetConfig, HeldOut, Optimiser, Run, Schedule
from vla_policy.train.seeds import seed_of
from vla_policy.train.trainer import Work, train

PARTS = {"projections": r"^flow\.action_(in|out)_proj", "rest": ""}


def start(tmp_path: Path) -> Path:
    """A folder of this project with a small pi0."""
    folder = tmp_path / "start"
    if not folder.is_dir():
        scratch = tmp_path / "policy-file"
        scratch.mkdir()
        path = policy_file(scratch, GOLDEN / "ckpt_pi0_tiny")
        save(folder, load_checkpoint(path, device="cpu", dtype=torch.float32))
    return folder


class Numbers:
    """Sample p is drawn from (seed, p); not_finite: indices of samples with NaN."""

    def __init__(self, run: Run, *, not_finite=(), pause_s: float = 0.0) -> None:
        self.run, self.not_finite, self.pause_s = run, not_finite, pause_s
        self.waited_s = 0.0
        self.asked: list[int] = []

    def batches(self, first: int, stride: int = 1):
        number = first
        while True:
            self.asked.append(number)
            time.sleep(self.pause_s)
            yield self.batch(range(number * self.run.at_once, (number + 1) * self.run.at_once))
            number += stride

    def batch(self, samples) -> Batch:
        rows = []
        for p in samples:
            own = torch.Generator().manual_seed(seed_of(self.run.seed, 9, p))
            rows.append(torch.randn(4, 32, generator=own))
            if p in self.not_finite:
                rows[-1][0] = math.nan
        words = tuple(f"toys episode {p // 10} frame {p % 10}" for p in samples)
        weight = torch.tensor([1.0 + p % 3 for p in samples])
        return Batch({"x": torch.stack(rows), "weight": weight}, words)


def toy_loss(checkpoint, batch, options, generator) -> Loss:
    """y = -x from noisy x: noise per sample, dropout from torch's global generator."""
    head = checkpoint.model.flow
    noise = [
        torch.randn(4, 32, generator=torch.Generator().manual_seed(int(s))) for s in batch["seed"]
    ]
    x = batch["x"] + 0.1 * torch.stack(noise).to(batch["x"].device)
    y = head.action_out_proj(torch.tanh(head.action_in_proj(x)))
    if os.environ.get("TOY_DROPOUT"):
        y = F.dropout(y, 0.1)
    each = (y + batch["x"]).square().mean((1, 2))
    weight = batch["weight"].sum()
    total = (each * batch["weight"]).sum() / weight
    return Loss(total, weight, {"flow": total.detach()})


TOY = Training(
    example=None, question=None, collate=None, loss=toy_loss, parts=PARTS, adapters=()
)  # fmt: skip


def toy_run(tmp_path: Path, name: str = "run", **changes) -> Run:
    """Twelve steps of eight samples, a checkpoint every four."""

    values = {
        "policy": str(start(tmp_path)), "data": (DataSetConfig("toys"),), "out": str(tmp_path / name),
        "steps": 12, "batch": 8, "micro_batch": 4, "freeze": ("rest",), "ema": 0.9, "device": "cpu",
        "optimiser": Optimiser(learning_rate=0.01), "schedule": Schedule(warmup=2),
        "checkpoints": Checkpoints(every=4, keep=2), "log_every": 2, "held_out": HeldOut(0.1, 2), "seed": 5,
    }  # fmt: skip
    return Run(**(values | changes))


def toy_work(run: Run, **more) -> Work:
    """From the run's newest checkpoint, or its start."""
    numbers = Numbers(run, **more)
    checkpoint = load(newest(Path(run.out)) or Path(run.policy), dtype=torch.float32)
    held_out = tuple(numbers.batch(range(10**6 + 4 * i, 10**6 + 4 * i + 4)) for i in range(2))
    return Work(checkpoint, TOY, numbers, held_out)


if __name__ == "__main__":  # one process of several (torchrun), or one to be killed
    torch.set_num_threads(1)
    root, name = Path(sys.argv[1]), sys.argv[2]
    given = toy_run(root, name, **json.loads(sys.argv[3]))
    sys.stdout.write(f"{train(given, toy_work(given, pause_s=float(sys.argv[4])), shown=False)}\n")
