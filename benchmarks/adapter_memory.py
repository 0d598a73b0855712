"""Memory and time of training an adapter against the whole network, and what a full size needs.

    python benchmarks/adapter_memory.py --out benchmarks/adapter_memory.json
    python benchmarks/adapter_memory.py --expected pi05 --batch 4 --out benchmarks/adapter_memory_pi05.json

The first trains a random pi0 of a fiftieth of its size with `vla train`'s own loop, each way in a process of its own: the peak of
resident memory over what the process had before its first step, and CPU time of a step. Beside it stands what the second computes.

The second adds up what a device holds at once, from the full network's own parameters: the frozen layers (bfloat16 where only an
adapter learns), 16 bytes for each number that learns (weight, gradient, two moments), and what the forward pass keeps, counted at full
width with one and with two layers of each stack, and extended to all layers. Without the device's own runtime (0.5 to 1 GB).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from load_memory import MODELS, NAMES, write_policy
from torch import nn
from train_kill import machine

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.training import Demonstration, LossOptions
from vla_policy.formats.load import load_checkpoint
from vla_policy.models.config import GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.vla import VLA
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.adapters import halve_base, lay, reached
from vla_policy.train.batches import Batch
from vla_policy.train.optimiser import freeze, part_of
from vla_policy.train.recompute import recompute_layers
from vla_policy.train.run import DataSetConfig, Run
from vla_policy.train.trainer import Work, train
from vla_policy.types import Observation

STEPS, FAMILY = 4, "pi0"
# learns, precision, layers recomputed
WAYS = (
    ("all", "float32", False), ("expert", "float32", False), ("adapter", "float32", False),
    ("all", "bfloat16", True), ("adapter", "bfloat16", True),
)  # fmt: skip
LEARNS = {"all": {}, "expert": {"freeze": ["vision", "language"]}, "adapter": {"rank": 16}}


def middle() -> ModelConfig:
    """pi0 with 0.06 billion parameters, in the proportions of the large one."""
    base = MODELS["pi0"]()
    heads = {"depth": 6, "heads": 8, "kv_heads": 1, "head_dim": 256}
    expert = replace(base.flow, expert=GemmaConfig(width=256, mlp=1024, **heads))
    return replace(
        base, vocab=8000, language=GemmaConfig(width=512, mlp=4096, **heads), flow=expert,
        vision=SiglipConfig(image_px=112, patch_px=14, width=288, depth=8, mlp=1088, heads=16),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expected", choices=("pi0", "pi05"), help="of this size, on one device")
    parser.add_argument("--batch", type=int, default=4, help="samples at once")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print("FOUND" + json.dumps(measured(**json.loads(args.one))))
        return
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
        "batch": args.batch,
        "cameras": 2,
    }
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.expected:
            sizes = MODELS[args.expected]()
            report |= {"model": args.expected, "parameters": parameters_of(sizes)}
            ways = (("adapter", "bfloat16", True),)  # of config/runs/pi05_adapter.yaml
            report["held_gb"] = round(held(sizes, "adapter", "bfloat16") / 1e9, 2)
            report["expected_gb"] = expected(folder, sizes, args.batch, ways)
        else:
            report |= {"parameters": parameters_of(middle()), **both(folder, args.batch)}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def parameters_of(sizes: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in VLA(sizes).parameters())


def both(folder: Path, batch: int) -> dict:
    """Measured and computed peaks of the middle size, and ratios to training all of it."""
    path = str(write_policy(folder, middle()))
    found = {}
    for learns, precision, again in WAYS:
        name = name_of(learns, precision, again)
        asked = {"path": path, "learns": learns, "again": again, "precision": precision, "batch": batch}  # fmt: skip
        found[name] = child(asked)
        print(name, found[name], flush=True)
    computed = expected(folder, middle(), batch, WAYS)
    for name, row in found.items():
        row |= {"expected_gb": computed[name], "expected_over_peak": round(computed[name] / row["peak_gb"], 2)}  # fmt: skip
        whole = found[name.replace(name.split(",")[0], "all")]
        row["peak_of_all"] = round(row["peak_gb"] / whole["peak_gb"], 2)
        row["cpu_of_all"] = round(row["cpu_s_a_step"] / whole["cpu_s_a_step"], 2)
    return {"ways": found}


def name_of(learns: str, precision: str, again: bool) -> str:
    return f"{learns}, {precision}" + (", layers recomputed" if again else "")


def child(asked: dict) -> dict:
    # Memory goes back to the system when it is given up, so that what is resident is what is used.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(asked)],
        check=True, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    line = next(x for x in done.stdout.splitlines() if x.startswith("FOUND"))
    return json.loads(line.removeprefix("FOUND"))


class Watched:
    """The same batch at every step; memory and time when it is asked for."""

    waited_s = 0.0

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors, self.samples = tensors, tuple("abcdefgh"[: len(tensors["seed"])])
        self.resident, self.peaks, self.times = 0, [], []

    def batches(self, first: int, stride: int = 1):
        while True:
            if not self.times:
                Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
                self.resident = status("VmRSS")
            self.peaks.append(status("VmHWM"))
            self.times.append(time.process_time())
            yield Batch({k: v for k, v in self.tensors.items() if k != "seed"}, self.samples)


def measured(path: str, learns: str, again: bool, precision: str, batch: int) -> dict:
    """One way of training, in this process. GB are 1e9 bytes, above what the process had without the network."""
    torch.set_num_threads(1)
    bare = status("VmRSS")
    checkpoint = load_checkpoint(Path(path), device="cpu", dtype=torch.float32)
    watched = Watched(batch_of(checkpoint, batch))
    with tempfile.TemporaryDirectory() as out:
        run = run_of(learns, again, precision, batch, path, f"{out}/run")
        train(run, Work(checkpoint, FAMILIES[FAMILY].training, watched), shown=False)
    steps = np.diff(watched.times)[1:]
    return {
        "before_first_step_gb": round((watched.resident - bare) / 1e9, 3),
        "peak_gb": round((watched.peaks[-1] - bare) / 1e9, 3),
        "cpu_s_a_step": round(statistics.median(steps), 3),
        "max_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }


def run_of(learns: str, again: bool, precision: str, batch: int, path: str, out: str) -> Run:
    adapter = AdapterOptions() if learns == "adapter" else None
    frozen = tuple(LEARNS[learns].get("freeze", ()))
    return Run(
        path, (DataSetConfig("unread"),), out, steps=STEPS, batch=batch, precision=precision, adapter=adapter,
        gradient_checkpointing=again, freeze=frozen, device="cpu",
    )  # fmt: skip


def batch_of(checkpoint: Checkpoint, count: int) -> dict[str, torch.Tensor]:
    rng, training = np.random.default_rng(0), FAMILIES[FAMILY].training
    examples = []
    for _ in range(count):
        px = checkpoint.model.config.vision.image_px
        images = {c: rng.integers(0, 255, (px, px, 3), np.uint8) for c in checkpoint.contract.camera_names}  # fmt: skip
        seen = Observation(images, rng.uniform(-1, 1, len(NAMES)), tuple(NAMES), "pick it up", 5)
        actions = rng.uniform(-1, 1, (checkpoint.model.config.flow.rows + 2, len(NAMES)))
        shown = Demonstration(seen, actions, np.ones(len(actions), bool))
        examples.append(training.example(checkpoint, (), shown))
    return training.collate(examples) | {"seed": torch.arange(count)}


def status(key: str) -> int:
    """Bytes of this process, as the kernel says."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(key + ":"))


def expected(folder: Path, sizes: ModelConfig, batch: int, ways: tuple) -> dict[str, float]:
    """GB (1e9 bytes) that a device holds at the peak of a step, by way."""
    found = {}
    for learns, precision, again in ways:
        total = held(sizes, learns, precision)
        plain = kept(folder, sizes, learns, precision, again=False)
        if again:  # beside every layer's input, all of the one that is computed again
            total += batch * kept(folder, sizes, learns, precision, again=True)["all"]
            total += batch * max(plain["vision"], plain["language"])
        else:
            total += batch * plain["all"]
        found[name_of(learns, precision, again)] = round(total / 1e9, 2)
    return found


def held(sizes: ModelConfig, learns: str, precision: str) -> int:
    """Bytes of weights, gradients and moments."""
    training = FAMILIES[FAMILY].training
    with torch.device("meta"):
        model = VLA(sizes)
    options = AdapterOptions()
    checkpoint = Checkpoint(model, None, None, None, FAMILY)
    covered = set(reached(checkpoint, options)) if learns == "adapter" else set()
    total = 0
    for name, module in model.named_modules():
        half = isinstance(module, nn.Linear) and learns == "adapter" and precision == "bfloat16"
        for own, p in module.named_parameters(recurse=False):
            part = part_of(f"{name}.{own}", training.parts)
            learned = {"all": True, "expert": part not in LEARNS["expert"]["freeze"], "adapter": part == "projections"}[learns]  # fmt: skip
            # Beside 16 bytes the cast of a weight that learns, which autocast keeps for the step.
            cast = 2 * (precision == "bfloat16" and p.ndim > 1)
            total += p.numel() * ((16 + cast) if learned else 2 if half else 4)
        if name in covered:
            cast = 2 * (precision == "bfloat16")
            total += options.rank * (module.in_features + module.out_features) * (16 + cast)
    return total


def kept(
    folder: Path, sizes: ModelConfig, learns: str, precision: str, *, again: bool
) -> dict[str, float]:
    """Bytes that the forward pass keeps of one sample: all, and of one layer of vision and of both other stacks together."""
    counted = {}
    for v, n in ((1, 1), (2, 1), (1, 2)):
        place = folder / f"{sizes.name}-{sizes.language.width}-{v}-{n}"
        if not place.exists():
            place.mkdir()
            write_policy(place, cut(sizes, v, n))
        checkpoint = load_checkpoint(place / "policy.yaml", device="cpu", dtype=torch.float32)
        run = run_of(learns, again, precision, 1, "unread", "unread")
        counted[v, n] = count_kept(checkpoint, run)
    vision, language = counted[2, 1] - counted[1, 1], counted[1, 2] - counted[1, 1]
    more = (sizes.vision.depth - 1) * vision + (sizes.language.depth - 1) * language
    return {"all": counted[1, 1] + more, "vision": vision, "language": language}


def cut(sizes: ModelConfig, vision: int, language: int) -> ModelConfig:
    """Fewer layers and words; all else as it is."""
    expert = replace(sizes.flow.expert, depth=language)
    return replace(
        sizes, vocab=3000, language=replace(sizes.language, depth=language),
        vision=replace(sizes.vision, depth=vision), flow=replace(sizes.flow, expert=expert),
    )  # fmt: skip


def count_kept(checkpoint: Checkpoint, run: Run) -> int:
    """Bytes of all tensors that are held for the way back, parameters and their casts apart."""
    model, training = checkpoint.model.train(), FAMILIES[FAMILY].training
    freeze(model, run, training.parts)
    if run.adapter is not None:
        laid = lay(checkpoint, "BASE", run.adapter)
        if run.precision == "bfloat16":
            halve_base(laid)
    holding: dict[int, torch.Tensor] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        holding[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def inputs(_: nn.Module, args: tuple, named: dict) -> None:
        for value in torch.utils._pytree.tree_leaves((args, named)):
            if isinstance(value, torch.Tensor):
                hold(value)

    if run.gradient_checkpointing:  # a layer's inputs are kept by the recomputation itself
        recompute_layers(model)
        for module in model.modules():
            if "forward" in vars(module):
                module.register_forward_pre_hook(inputs, with_kwargs=True)
    batch = batch_of(checkpoint, run.batch)
    half = torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x), half:
        loss = training.loss(checkpoint, batch, LossOptions(), torch.Generator().manual_seed(0))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters() if p.ndim > 1}
    shapes |= {s[::-1] for s in shapes}
    total = 0
    for at, tensor in holding.items():
        if at not in weights and tuple(tensor.shape) not in shapes:
            total += tensor.untyped_storage().nbytes()
    del loss
    return total


if __name__ == "__main__":
    main()
