"""`vla models`: the shipped policies and what each expects of a robot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vla_policy.paths import weights_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`vla models` takes no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print one paragraph per checkpoint; 1 if none is shipped."""
    folders = shipped()
    for folder in folders:
        print(describe(folder))
    if not folders:
        print(f"no checkpoint in {weights_dir()}")
    return 0 if folders else 1


def shipped() -> tuple[Path, ...]:
    """Folders of the shipped checkpoints."""
    return tuple(sorted(path.parent for path in weights_dir().glob("*/config.json")))


def describe(folder: Path) -> str:
    """Name, size and contract of a checkpoint folder, in three lines."""
    config = json.loads((folder / "config.json").read_text())
    model, contract = config["model"], config["contract"]
    heads = [head for head in ("flow", "token") if head in model]
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    return "\n".join(
        (
            f"{folder.name}: {size_mb:.1f} MB, heads {' and '.join(heads)}",
            f"  sees {', '.join(contract['camera_names'])} at {contract['image_px']} px "
            f"and {', '.join(contract['state_names'])}",
            f"  commands {', '.join(contract['action_names'])} at {contract['policy_hz']:g} Hz",
        )
    )
