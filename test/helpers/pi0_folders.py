"""Small lerobot and openpi folders of pi0 and pi0.5, policy files for them and an observation."""

import json
import shutil
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from vla_policy.types import Observation

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ("pi0", "pi05")
NAMES = [f"joint.j{i}" for i in range(6)] + ["gripper"]
LEROBOT = ["letterbox_lerobot_0_4_4", "state_padded_in_prompt"]
OPENPI_CAMERAS = {"left_wrist_0_rgb": "hand", "base_0_rgb": "front"}


def characters(path: Path) -> Path:
    """The tokenizer of the golden files: one token per character, newline is 3."""
    vocabulary = {"<pad>": 0, "<unk>": 1, "\n": 3} | {chr(c): c - 28 for c in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(path))
    return path


def policy_file(folder: Path, source: Path, **changes: object) -> Path:
    """A policy file for the golden folders; a change to None removes the key."""
    content = {
        "checkpoint": str(source), "tokenizer": str(characters(folder / "tokenizer.json")),
        "cameras": {"wrist": "hand", "base": "front"}, "state": NAMES,
        "actions": {"names": NAMES, "spaces": {"arm": "joint_position", "gripper": "gripper"}},
        "policy_hz": 10, "embodiments": ["golden"], "heads": {"language": 8, "kv": 1, "vision": 4},
    }  # fmt: skip
    content = {k: v for k, v in (content | changes).items() if v is not None}
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def copied(tmp_path: Path, kind: str) -> Path:
    return Path(shutil.copytree(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "ckpt"))


def observation(**changes: object) -> Observation:
    rng = np.random.default_rng(0)
    values = {
        "images": {
            "front": rng.integers(0, 255, (56, 56, 3), dtype=np.uint8),
            "hand": rng.integers(0, 255, (40, 56, 3), dtype=np.uint8),
        },
        "state": np.linspace(-0.5, 0.5, 7), "state_names": tuple(NAMES),
        "instruction": "pick up the_cube", "obs_ns": 5,
    }  # fmt: skip
    return Observation(**(values | changes))


def as_openpi(source: Path, folder: Path, *, asset: str = "trossen") -> Path:
    """The same checkpoint as openpi writes it."""
    weights = load_file(source / "model.safetensors")
    folder.mkdir()
    save_file(
        {k.removeprefix("model."): v for k, v in weights.items()}, folder / "model.safetensors"
    )
    state_file = next(source.glob("*_normalizer_processor.safetensors"))
    stats = load_file(state_file)
    both = {
        mine: {key: stats[f"{theirs}.{key}"].tolist() for key in ("mean", "std", "q01", "q99")}
        for mine, theirs in (("state", "observation.state"), ("actions", "action"))
    }
    (folder / "assets" / asset).mkdir(parents=True)
    (folder / "assets" / asset / "norm_stats.json").write_text(json.dumps({"norm_stats": both}))
    (folder / "config.json").write_text(json.dumps({"action_dim": 32, "action_horizon": 8}))
    return folder


def as_older_lerobot(folder: Path) -> Path:
    """The same checkpoint as lerobot 0.3 wrote it: statistics among the weights, older names, other keys."""
    weights = load_file(folder / "model.safetensors")
    for owner, file, theirs in (
        ("normalize_inputs", "*_normalizer_*", "observation.state"),
        ("unnormalize_outputs", "*_unnormalizer_*", "action"),
    ):
        path = next(folder.glob(f"{file}.safetensors"))
        stats = load_file(path)
        for key in ("mean", "std"):
            weights[f"{owner}.buffer_{theirs.replace('.', '_')}.{key}"] = stats[f"{theirs}.{key}"]
    save_file(weights, folder / "model.safetensors")
    for path in folder.glob("policy_*"):
        path.unlink()
    config = json.loads((folder / "config.json").read_text())
    config["num_steps"] = config.pop("num_inference_steps")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
