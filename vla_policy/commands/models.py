"""`vla models`: every architecture, what it costs and how fast it can be; then the shipped policies."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.parsing.json_document import read_json
from vla_policy.paths import weights_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla models`."""
    parser.add_argument("names", nargs="*", help="architectures; none: all, without their stages")
    parser.add_argument("--cameras", type=int, default=2, help="pictures that are there")
    parser.add_argument("--prompt", type=int, default=48, help="tokens of the prompt")


def run(args: argparse.Namespace) -> int:
    """Print architectures, stages of the named ones, shipped checkpoints; 1 without any."""
    from vla_policy.families.architectures import published

    for name in args.names:
        if name not in published():
            raise ValueError(f"model: got {name!r}, expected one of {', '.join(published())}")
    if args.cameras < 1 or args.prompt < 0:
        raise ValueError(
            f"got {args.cameras} cameras and a prompt of {args.prompt}, expected 1 or more and 0 or more"
        )
    print("\n".join(table(args.names or list(published()), args.cameras, args.prompt)))
    for name in args.names:
        print("\n".join(("", *stage_table(name, args.cameras, args.prompt))))
    if args.names:
        return 0
    print()
    folders = shipped()
    for folder in folders:
        print(describe(folder))
    if not folders:
        print(f"no checkpoint in {weights_dir()}")
    return 0 if folders else 1


def table(names: list[str], cameras: int, prompt: int) -> list[str]:
    """One line per architecture: size, operations of a chunk, lower bound in ms per device."""
    from vla_policy.families.architectures import parameters, published, stages
    from vla_policy.models.roofline import DEVICES, total_seconds

    lines = [
        f"One chunk, {cameras} cameras, prompt of {prompt} tokens, bfloat16. ms: the least that arithmetic and memory allow.",
        f"{'':<20}{'parameters':>15}{'fp32 GB':>9}{'bf16 GB':>9}{'TFLOP':>8}{'GB read':>9}  "
        + "".join(f"{device.name:>13}" for device in DEVICES),
    ]
    for name in names:
        config = published()[name]()
        count, of = parameters(config), stages(config, cameras=cameras, prompt=prompt)
        tera, giga = sum(s.flops for s in of) / 1e12, sum(s.bytes for s in of) / 1e9
        times = "".join(f"{_ms(total_seconds(of, device)):>13}" for device in DEVICES)
        lines.append(
            f"{name:<20}{count:>15,}{count * 4e-9:>9.2f}{count * 2e-9:>9.2f}{tera:>8.3f}{giga:>9.2f}  {times}"
        )
    return lines


def stage_table(name: str, cameras: int, prompt: int) -> list[str]:
    """One line per stage of an architecture: operations, bytes, lower bound in ms per device."""
    from vla_policy.families.architectures import published, stages
    from vla_policy.models.roofline import DEVICES

    lines = [
        f"{name:<20}{'':>33}{'TFLOP':>8}{'GB read':>9}  "
        + "".join(f"{d.name:>13}" for d in DEVICES)
    ]
    for stage in stages(published()[name](), cameras=cameras, prompt=prompt):
        times = "".join(f"{_ms(stage.seconds(device)):>13}" for device in DEVICES)
        lines.append(
            f"  {stage.name:<51}{stage.flops / 1e12:>8.3f}{stage.bytes / 1e9:>9.2f}  {times}"
        )
    return lines


def shipped() -> tuple[Path, ...]:
    """Folders of the shipped checkpoints."""
    return tuple(sorted(path.parent for path in weights_dir().glob("*/config.json")))


def describe(folder: Path) -> str:
    """Name and size of a checkpoint folder, and its cameras, state and actions for each robot."""
    config = read_json(folder / "config.json")
    heads = [head for head in ("flow", "token") if config["model"].get(head)]
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    lines = [f"{folder.name}: {size_mb:.1f} MB, heads {' and '.join(heads)}"]
    for contract in config.get("contracts", {"": config.get("contract")}).values():
        lines += [
            f"  {', '.join(contract['embodiments'])}",
            f"    sees {', '.join(contract['camera_names'])} at {contract['image_px']} px "
            f"and {', '.join(contract['state_names'])}",
            f"    commands {', '.join(contract['action_names'])} at {contract['policy_hz']:g} Hz",
        ]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds < 1 else f"{seconds * 1e3:,.0f}"
