"""Whether a set recorded through the running graph trains as well as the generator's: benchmarks/recorded_training.json.

    vla record --robot vx300s --sim --operator expert --disturbed --episodes 54 --seed 3 --renderer raycast --out TAKES
    vla generate episodes --out MADE --count 60 --seed 3 --renderer raycast --raycast-share 1
    python benchmarks/recorded_training.py --recorded TAKES/set --generated MADE --out benchmarks/recorded_training.json

Both are of the same scenes, and in both the robot follows its commands with errors. `tiny` starts from its own eyes and
language and from the same random flow head, and learns from as many episodes of each, for as many steps, with the same
seeds, by the same trainer (vla_policy/train/trainer.py). Its eyes and language do not learn, so what they make of each frame is computed once, and the trainer gets that.

loss       of the flow head on episodes that nothing was learned from, of either set: first what was learned, then what was
           measured
success    in closed loop on the same evaluation scenes, with a 95 % interval (Wilson); only_*: trials in which one policy
           succeeded and the other did not; the difference has an interval for pairs (Agresti and Min 2005)
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import played_graph as played
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.evaluate.metrics import wilson
from vla_policy.families import FAMILIES
from vla_policy.families.losses import draw
from vla_policy.families.tiny.tiny_training import heads_loss, prefix_of
from vla_policy.families.training import LossOptions
from vla_policy.formats.load import load_checkpoint
from vla_policy.formats.native.folder import save
from vla_policy.models.vla import Prefix
from vla_policy.paths import find_policy
from vla_policy.train.batches import Batch
from vla_policy.train.checkpoints import newest
from vla_policy.train.learned_action import END, GRIPS, LEARNED, SENT
from vla_policy.train.run import Checkpoints, DataSetConfig, Optimiser, Run
from vla_policy.train.set_options import SetOptions
from vla_policy.train.setup import rows_of
from vla_policy.train.trainer import Work, train
from vla_policy.train.training_set import open_training_set

SETS = ("recorded", "generated")
FRESH = "flow."  # parameters that start from random numbers
FROZEN = ("vision", "language")
READ = ("state", "actions", "valid", "columns", "weight", "demonstrated")
AT_ONCE, DRAWS, MEASURED = 64, 4, 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SETS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=46, help="learned; the others measure")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seeds", type=int, default=1, help="runs of training of each set")
    parser.add_argument("--suites", default="pick_put,push")
    parser.add_argument("--learn", default=SENT, choices=LEARNED, help="action of the recorded")
    parser.add_argument("--grips", default=END, choices=GRIPS, help="of the recorded")
    parser.add_argument("--trials", type=int, default=50, help="of each suite and run")
    parser.add_argument("--work", type=Path, help="folder of the runs, to go on; else it goes")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    with TemporaryDirectory() as name:
        work = args.work or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        start = blank(work / "start")
        frames = {
            (s, part): Frames.read(args, s, start, part) for s in SETS for part in (True, False)
        }
        runs = [
            run_of(args, work, start, frames, s, seed) for seed in range(args.seeds) for s in SETS
        ]
    report = {
        **played.heading(load),
        "start": f"tiny, {FRESH}* from random numbers; {' and '.join(FROZEN)} stay as they are",
        "learned": {
            "episodes": args.episodes, "steps": args.steps, "batch": args.batch, "rate": args.rate,
            "action": args.learn, "grips": args.grips,
            "frames": {s: len(frames[s, True]) for s in SETS},
        },
        **summed_up(runs),
        "runs": [{k: v for k, v in run.items() if k != "done"} for run in runs],
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["as_well"] else 1


def blank(folder: Path) -> Path:
    """The shipped policy with a flow head that knows nothing."""
    if not folder.exists():
        known = loaded(find_policy("tiny"))
        torch.manual_seed(0)
        fresh = FAMILIES[known.family].network(known.model.config).state_dict()
        own = known.model.state_dict()
        known.model.load_state_dict({k: (fresh if k.startswith(FRESH) else own)[k] for k in own})
        save(folder, replace(known, engine=None))
    return folder


def loaded(folder: Path) -> Checkpoint:
    return load_checkpoint(folder, device="cpu", dtype=torch.float32)


class Frames:
    """Frames of some episodes as the flow head reads them, which never changes; a loader of random ones of them."""

    def __init__(self, tensors: dict[str, torch.Tensor], batch: int, seed: int = 0) -> None:
        self._tensors, self._batch, self._seed = tensors, batch, seed
        self.waited_s = 0.0

    @classmethod
    def read(cls, args: argparse.Namespace, name: str, start: Path, learned: bool) -> "Frames":
        """Of the episodes that are learned, or of the others."""
        checkpoint, folder = loaded(start), getattr(args, name)
        training, rows = FAMILIES[checkpoint.family].training, rows_of(checkpoint)
        count = len(open_training_set(folder, checkpoint.contract, rows=rows).episodes)
        which = range(args.episodes) if learned else range(args.episodes, count)
        options = SetOptions(episodes=tuple(which))
        if name == "recorded":
            options = replace(options, learn=args.learn, grips=args.grips)
        shown = open_training_set(folder, checkpoint.contract, rows=rows, options=options)
        parts = []
        for first in range(0, len(shown), AT_ONCE):
            some = range(first, min(first + AT_ONCE, len(shown)))
            samples = [shown.sample(i, np.random.default_rng((0, i))) for i in some]
            batch = training.collate([training.example(checkpoint, ("flow",), s) for s in samples])
            drawn = draw(batch, LossOptions(), torch.Generator(), torch.device("cpu"))
            with torch.no_grad():
                prefix = prefix_of(checkpoint.model, batch, batch["state"], drawn)
            parts.append({k: batch[k] for k in READ} | as_tensors(prefix))
        print(f"{name}: {len(shown)} frames, learned: {learned}", flush=True)
        return cls({k: torch.cat([p[k] for p in parts]) for k in parts[0]}, args.batch)

    def __len__(self) -> int:
        return len(self._tensors["state"])

    def drawn_by(self, seed: int) -> "Frames":
        return Frames(self._tensors, self._batch, seed)

    def batches(self, first: int, stride: int = 1) -> Iterator[Batch]:
        """The micro-batches that the trainer asks for."""
        number = first
        while True:
            rng = np.random.default_rng((self._seed, number))
            yield self.batch(rng.integers(0, len(self), self._batch).tolist())
            number += stride

    def batch(self, places: list[int]) -> Batch:
        return Batch(
            {k: v[places] for k, v in self._tensors.items()}, tuple(f"frame {i}" for i in places)
        )


def as_tensors(prefix: Prefix) -> dict[str, torch.Tensor]:
    found = {"prefix.out": prefix.out, "prefix.valid": prefix.valid}
    for layer, (keys, values) in enumerate(prefix.cache):
        found |= {f"prefix.keys.{layer}": keys, f"prefix.values.{layer}": values}
    return found


def prefix_in(batch: dict[str, torch.Tensor]) -> Prefix:
    """Inverse of as_tensors."""
    layers = sum(name.startswith("prefix.keys.") for name in batch)
    cache = [(batch[f"prefix.keys.{i}"], batch[f"prefix.values.{i}"]) for i in range(layers)]
    return Prefix(batch["prefix.out"], cache, batch["prefix.valid"])


def loss(checkpoint, batch, options, generator):
    """The family's own, over what its eyes and language made of the frames before."""
    drawn = draw(batch, options, generator, checkpoint.device)
    return heads_loss(checkpoint, prefix_in(batch), batch["state"], batch, options, drawn)


def run_of(args, work: Path, start: Path, frames: dict, name: str, seed: int) -> dict:
    """One training: its losses on what was held out of both sets, and its trials."""
    out = work / f"{name}-{seed}"
    began_s = time.process_time()
    run = Run(
        policy=str(start),
        data=(DataSetConfig(str(getattr(args, name))),),
        out=str(out),
        steps=args.steps,
        batch=args.batch,
        loss=LossOptions(heads=("flow",), draws=DRAWS),
        optimiser=Optimiser(learning_rate=args.rate),
        freeze=FROZEN,
        ema=0.99,
        checkpoints=Checkpoints(every=args.steps),
        log_every=100,
        seed=seed,
        device="cpu",
    )
    checkpoint = loaded(start)
    training = replace(FAMILIES[checkpoint.family].training, loss=loss)
    train(run, Work(checkpoint, training, frames[name, True].drawn_by(seed)), shown=False)
    learned = newest(out)
    trained_s = time.process_time() - began_s
    checkpoint = loaded(learned)
    measured = {s: round(held_out(checkpoint, frames[s, False]), 4) for s in SETS}
    suites = trials(args, out, learned, seed)
    done = [bool(t["success"]) for rows in suites.values() for t in rows]
    found = {
        "set": name, "seed": seed, "loss": measured, "trials": len(done), "succeeded": sum(done),
        "training_cpu_s": round(trained_s, 1), "done": done,
        "suites": {name: outcomes(rows) for name, rows in suites.items()},
    }  # fmt: skip
    print({k: v for k, v in found.items() if k != "done"}, flush=True)
    return found


def outcomes(rows: list[dict]) -> dict:
    """How many of a suite's trials succeeded, and why others did not."""
    failures = Counter(t["failure"] for t in rows if t["failure"])
    succeeded = sum(bool(t["success"]) for t in rows)
    return {"succeeded": succeeded, "of": len(rows), "failures": dict(failures)}


def held_out(checkpoint: Checkpoint, frames: Frames) -> float:
    """The mean over all frames, with the same noise for every policy."""
    options, total = LossOptions(heads=("flow",), draws=MEASURED), 0.0
    for first in range(0, len(frames), AT_ONCE):
        places = list(range(first, min(first + AT_ONCE, len(frames))))
        with torch.no_grad():
            generator = torch.Generator().manual_seed(first)
            part = loss(checkpoint, frames.batch(places).tensors, options, generator)
        total += float(part.total) * len(places)
    return total / len(frames)


def trials(args, out: Path, policy: Path, seed: int) -> dict[str, list[dict]]:
    """What became of each trial, by suite; the same ones, in the same order, for every set."""
    found = out / "trials.json"
    if not found.exists():
        line = ["vla", "evaluate", "--policy", str(policy), "--head", "flow"]
        line += ["--suite", args.suites, "--episodes", f"{args.trials}", "--workers", "1"]
        line += ["--renderer", "raycast", "--seed", f"{seed}", "--out", str(found)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    suites = json.loads(found.read_text())["trials"]
    return {name: suites[name] for name in sorted(suites)}


def summed_up(runs: list[dict]) -> dict:
    """Per set that was learned, and whether the recorded one trains as well."""
    found, done = {}, {}
    for name in SETS:
        own = [run for run in runs if run["set"] == name]
        done[name] = [success for run in own for success in run["done"]]
        succeeded, of = sum(done[name]), len(done[name])
        found[name] = {
            "loss": {s: round(sum(r["loss"][s] for r in own) / len(own), 4) for s in SETS},
            "succeeded": succeeded,
            "of": of,
            "success": round(succeeded / of, 3),
            "interval": [round(x, 3) for x in wilson(succeeded, of)],
        }
    pairs = list(zip(*(done[name] for name in SETS), strict=True))
    ours, theirs = (sum(pair == only for pair in pairs) for only in ((True, False), (False, True)))
    low, high = paired(ours, theirs, len(pairs))
    return {
        "by_set": found,
        "only_recorded": ours,
        "only_generated": theirs,
        "recorded_minus_generated": round((ours - theirs) / len(pairs), 3),
        "interval": [low, high],
        # As far as so many trials can tell: no difference is within the interval, or it is better.
        "as_well": high >= 0.0,
    }


def paired(ours: int, theirs: int, of: int) -> tuple[float, float]:
    """95 % interval of the difference of two rates over the same trials. Source: Agresti and Min 2005."""
    a, b, n = ours + 0.5, theirs + 0.5, of + 2.0
    middle = (a - b) / n
    half = 1.96 * math.sqrt(a + b - (a - b) ** 2 / n) / n
    return round(middle - half, 3), round(middle + half, 3)


if __name__ == "__main__":
    sys.exit(main())
