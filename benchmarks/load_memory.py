"""Peak memory of loading a full-size pi0 from disk, against the size of its weights in bfloat16.

Writes a lerobot folder with random bfloat16 weights, in shards, tensor by tensor (6.5 GB), loads it through a policy
file in a fresh process and reads that process's peak resident memory from the kernel: once as plain networks, once with
the engine, into which they are folded.


python benchmarks/load_memory.py --out benchmarks/load_memory.json
python benchmarks/load_memory.py --model small      # a thousandth of it, to see that the command works
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models

from vla_policy.formats.tensors.pi0_names import EMBEDDING, NAMING, PREFIX, UNREAD
from vla_policy.formats.tensors.safetensors_file import CHUNK_BYTES, tensor_bytes, write
from vla_policy.models import config
from vla_policy.models.config import GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.vla import VLA
from vla_policy.parsing.json_document import write_json

SHARD_BYTES = 1 << 31
NAMES = [f"joint.j{i}" for i in range(7)]


def small() -> ModelConfig:
    """pi0 in small, heads of 256 as in the large one."""
    base = config.pi0()
    heads = {"depth": 2, "heads": 8, "kv_heads": 1, "head_dim": 256}
    expert = replace(base.flow, expert=GemmaConfig(width=64, mlp=128, **heads))
    return replace(
        base, vocab=3000, language=GemmaConfig(width=128, mlp=256, **heads), flow=expert,
        vision=SiglipConfig(image_px=56, patch_px=14, width=64, depth=2, mlp=128, heads=16),
    )  # fmt: skip


MODELS = {"pi0": config.pi0, "pi05": config.pi05, "small": small}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(MODELS), default="pi0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", nargs="+", default=["off", "auto"], help="see load_policy")
    parser.add_argument("--folder", type=Path, help="where to put the weights; a temporary folder")
    parser.add_argument("--load", type=Path, help="only load this policy file and report")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(measure(args.load, args.device, args.engine[0])))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        started = time.perf_counter()
        path = write_policy(Path(name), MODELS[args.model]())
        written_s = time.perf_counter() - started
        command = [
            sys.executable,
            __file__,
            "--load",
            str(path),
            "--device",
            args.device,
            "--engine",
        ]
        measured = {
            f"engine_{engine}": json.loads(
                subprocess.run([*command, engine], check=True, stdout=subprocess.PIPE).stdout
            )
            for engine in args.engine
        }
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": args.model,
        "device": args.device,
        "written_s": round(written_s, 1),
        **measured,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def measure(path: Path, device: str, engine: str) -> dict[str, float]:
    """Load a policy file in this process. GB are 1e9 bytes; peaks are those of the whole process."""
    from vla_policy.policy import load_policy

    torch.set_num_threads(1)
    before = _peak_bytes()
    started = time.perf_counter()
    policy = load_policy(str(path), device=device, engine=engine)
    seconds = time.perf_counter() - started
    with torch.device("meta"):  # an engine takes the network's own parameters away
        count = sum(p.numel() for p in VLA(policy.checkpoint.model.config).parameters())
    on_device = torch.cuda.max_memory_allocated() if device.startswith("cuda") else _peak_bytes()
    return {
        "parameters": count,
        "bfloat16_gb": round(2 * count / 1e9, 3),
        "process_before_gb": round(before / 1e9, 3),
        "peak_process_gb": round(_peak_bytes() / 1e9, 3),
        "peak_on_device_gb": round(on_device / 1e9, 3),
        "peak_over_bfloat16": round(on_device / (2 * count), 3),
        "load_s": round(seconds, 1),
    }


def write_policy(folder: Path, sizes: ModelConfig) -> Path:
    """A lerobot folder with random weights and the policy file for it. Returns the policy file."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    with torch.device("meta"):
        shapes = {NAMING.theirs(k): tuple(v.shape) for k, v in VLA(sizes).state_dict().items()}
    assert EMBEDDING in shapes
    shapes[UNREAD] = (sizes.vocab, sizes.flow.expert.width)
    index = {}
    for i, names in enumerate(_shards(shapes)):
        file = f"model-{i:05d}.safetensors"
        index |= {PREFIX + name: file for name in names}
        write(
            checkpoint / file,
            {PREFIX + name: (torch.bfloat16, shapes[name]) for name in names},
            (_random_bytes(shapes[name]) for name in names),
        )
    write_json(checkpoint / "model.safetensors.index.json", {"weight_map": index})
    _write_documents(checkpoint, sizes)
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    Tokenizer(models.WordLevel(vocabulary, "<unk>")).save(str(checkpoint / "tokenizer.json"))
    path = folder / "policy.yaml"
    path.write_text(
        f"checkpoint: {checkpoint}\ncameras: {{base: front, wrist: wrist}}\nstate: {json.dumps(NAMES)}\n"
        f"actions: {{names: {json.dumps(NAMES)}, spaces: {{arm: joint_position}}}}\n"
        "policy_hz: 50\nembodiments: [none]\n"
    )
    return path


def _write_documents(checkpoint: Path, sizes: ModelConfig) -> None:
    mode = "MEAN_STD" if sizes.name == "pi0" else "QUANTILES"
    modes = {"VISUAL": "IDENTITY", "STATE": mode, "ACTION": mode}
    px = sizes.vision.image_px
    image = {"type": "VISUAL", "shape": [3, px, px]}
    vector = {"type": "STATE", "shape": [len(NAMES)]}
    write_json(
        checkpoint / "config.json",
        {
            "type": sizes.name, "chunk_size": sizes.flow.rows, "num_inference_steps": sizes.flow.steps,
            "tokenizer_max_length": sizes.max_text, "max_state_dim": sizes.state_dim,
            "input_features": {
                "observation.images.base": image, "observation.images.wrist": image, "observation.state": vector
            },
            "output_features": {"action": vector}, "normalization_mapping": modes,
        },
    )  # fmt: skip
    values = {"mean": 0.0, "std": 1.0, "q01": -1.0, "q99": 1.0}
    tensors = {
        f"{name}.{key}": torch.full((len(NAMES),), value)
        for name in ("observation.state", "action")
        for key, value in values.items()
    }
    shapes = {k: (v.dtype, tuple(v.shape)) for k, v in tensors.items()}
    write(checkpoint / "stats.safetensors", shapes, (tensor_bytes(v) for v in tensors.values()))
    for processor, step in (("pre", "normalizer"), ("post", "unnormalizer")):
        settings = {"registry_name": f"{step}_processor", "config": {"norm_map": modes}, "state_file": "stats.safetensors"}  # fmt: skip
        write_json(checkpoint / f"policy_{processor}processor.json", {"steps": [settings]})


def _shards(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    names, size = [], 0
    for name, shape in shapes.items():
        names.append(name)
        size += 2 * torch.Size(shape).numel()
        if size >= SHARD_BYTES:
            yield names
            names, size = [], 0
    if names:
        yield names


def _random_bytes(shape: tuple[int, ...]) -> Iterator[bytes]:
    left = torch.Size(shape).numel()
    while left:
        count = min(left, CHUNK_BYTES // 2)
        left -= count
        yield next(tensor_bytes(torch.randn(count).mul_(0.02).bfloat16()))


def _peak_bytes() -> int:
    """Most memory that this process ever had resident; getrusage would count its parent's before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _machine() -> str:
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]  # fmt: skip
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{names[0]}, {len(names)} cores, {memory:.0f} GB{gpu}"


if __name__ == "__main__":
    main()
