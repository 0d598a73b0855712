"""`vla train --cross`: one `tiny_cross` for several robots, from a folder of data of each; or for one, to compare.

pointing  the tower, on the scenes of all robots in equal parts
heads     the language model and the flow head, on their demonstrations in equal parts
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.statistics import RangeNormalizer, Statistics
from vla_policy.data.frames import Frames, load_frames, robot_of
from vla_policy.embodiment import Embodiment, GroupLimits, Workspace, load_embodiment
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.tiny.columns import ARM, SLOTS, RobotColumns, body_of
from vla_policy.families.tool_steps import row_ranges
from vla_policy.formats.native.folder import load, read_headers, save
from vla_policy.models import config, tokenizer
from vla_policy.models.vla import VLA
from vla_policy.paths import find_policy
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.loop import LoopSettings
from vla_policy.train.tiny import multi_robot_heads, multi_robot_pointing

POINTING = LoopSettings(1800, 1e-3)
HEADS = LoopSettings(4200, 1e-3)


@dataclass(frozen=True, slots=True)
class RobotData:
    """One robot to train for. data: its folder, with scenes, scenes_val and episodes."""

    name: str
    body: RobotColumns
    contract: Contract
    statistics: Statistics
    data: Path


def run(args: argparse.Namespace) -> int:
    """Train, then leave a checkpoint folder at OUT/checkpoint."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    robots = [robot(path) for path in args.cross]
    if len({r.name for r in robots}) < len(robots):
        raise ValueError(f"--cross: each robot once, got {', '.join(r.name for r in robots)}")
    folder = args.out / "checkpoint"
    if args.stage == "heads" and args.init is None and not (folder / "config.json").is_file():
        raise ValueError(f"--stage heads: {folder} has no checkpoint; name one: --init")
    model, tokens = _model(folder, robots, args.init)
    checkpoints = [Checkpoint(model, r.contract, r.statistics, tokens) for r in robots]
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{model.config.name}: {size:,} parameters; {', '.join(r.name for r in robots)}; {args.out}"
    )
    if args.stage in ("all", "pointing"):
        multi_robot_pointing.train(
            model.pointing, tokens, _frames(robots, "scenes"), _frames(robots, "scenes_val"), args.out,
            settings=_settings(POINTING, args.pointing_steps, None), batch_size=args.images,
            length=model.config.max_text, seed=args.seed,
        )  # fmt: skip
        save(folder, *checkpoints)
    if args.stage in ("all", "heads"):
        examples = multi_robot_heads.join([
            multi_robot_heads.prepare(
                checkpoint, r.body, load_frames(r.data / "episodes").episodes(args.episodes), r.name,
                folder=args.out, held_out=args.held_out,
            )
            for checkpoint, r in zip(checkpoints, robots, strict=True)
        ])  # fmt: skip
        multi_robot_heads.train(
            model, tokens, examples, args.out, settings=_settings(HEADS, args.heads_steps, args.heads_rate),
            batch_size=args.batch, draws=args.draws, seed=args.seed,
        )  # fmt: skip
        save(folder, *checkpoints)
    print(f"checkpoint: {folder}")
    return 0


def robot(data: Path) -> RobotData:
    """The robot whose data a folder holds."""
    embodiment = load_embodiment(robot_of(data))
    contract = contract_of(embodiment)
    body = body_of(contract.state_names, contract.action_names)
    return RobotData(embodiment.name, body, contract, statistics_of(embodiment, body), data)


def contract_of(embodiment: Embodiment) -> Contract:
    """What a cross checkpoint expects of embodiment. Raises ValueError if the model has no columns for it."""
    states, actions = tuple(embodiment.state_names), tuple(embodiment.action_names)
    return Contract(
        camera_names=tuple(embodiment.camera_names),
        image_px=96,
        state_names=states,
        action_names=actions,
        model_action_names=body_of(states, actions).model_action_names,
        spaces=tuple((g.name, g.space) for g in embodiment.actions),
        policy_hz=float(embodiment.policy_hz),
        embodiments=(embodiment.name,),
    )


def statistics_of(embodiment: Embodiment, body: RobotColumns) -> Statistics:
    """Ends of a robot's units: workspaces of its arms, steps of its tools, limits of its base."""
    limits = {
        name: embodiment.limits.groups[g.name] for g in embodiment.actions for name in g.names
    }
    boxes = [_workspace(limits[arm + TOOL_POSE[0]], arm) for arm in body.arms]
    turned = [1.0] * (len(TOOL_POSE) - 3)
    low = np.concatenate([[*box.lower, *(-x for x in turned), 0.0] for box in boxes])
    high = np.concatenate([[*box.upper, *turned, 1.0] for box in boxes])
    row = row_ranges()
    terminate, *own = zip(row.names, zip(row.lower, row.upper, strict=True), strict=True)
    ends: dict[str, tuple[float, float]] = dict([terminate])
    for slot in SLOTS[: len(body.arms)]:
        ends |= {slot + name: pair for name, pair in own}
    for name in body.base:
        speed = _speed(limits[name], name)
        ends[name] = (-speed, speed)
    names = tuple(arm + name for arm in body.arms for name in ARM)
    order = body.model_action_names
    return Statistics(
        RangeNormalizer(names, low, high),
        RangeNormalizer(order, *np.array([ends[n] for n in order]).T),
    )


def _workspace(limits: GroupLimits, arm: str) -> Workspace:
    if limits.workspace is None:
        raise ValueError(f"arm {arm!r}: got no workspace, expected one: it scales the poses")
    return limits.workspace


def _speed(limits: GroupLimits, name: str) -> float:
    speed = limits.angular_speed_rad_s if "w" in name else limits.linear_speed_m_s
    if speed is None:
        raise ValueError(f"{name}: got no limit of speed, expected one: it scales the column")
    return speed


def begin(model: VLA, weights: dict[str, Tensor]) -> list[str]:
    """Copy the weights of another model that fit; returns the names of those that are new.

    A tensor that is only longer begins with the other's. Raises ValueError if the other model has a tensor that
    this one does not have.
    """
    own, new = model.state_dict(), []
    if unknown := [key for key in weights if key not in own]:
        raise ValueError(f"--init: this model has no {', '.join(unknown)}")
    for key, value in own.items():
        old = weights.get(key)
        if old is None:
            new.append(key)
        elif old.shape == value.shape:
            value.copy_(old)
        elif old.ndim == value.ndim and all(
            a <= b for a, b in zip(old.shape, value.shape, strict=True)
        ):
            value[tuple(slice(n) for n in old.shape)] = old
            new.append(f"{key} beyond {tuple(old.shape)} of {tuple(value.shape)}")
        else:
            raise ValueError(
                f"--init: {key} is {tuple(old.shape)} there and {tuple(value.shape)} here"
            )
    return new


def _model(folder: Path, robots: list[RobotData], init: str | None) -> tuple[VLA, Tokenizer]:
    """The model and tokenizer of a run: as it was left, begun from another checkpoint, or new."""
    if (folder / "config.json").is_file():
        there = set(read_headers(folder))
        if there != {r.name for r in robots}:
            raise ValueError(
                f"{folder}: a run for {', '.join(sorted(there))}; choose another --out"
            )
        checkpoint = load(folder, embodiment=robots[0].name)
        return checkpoint.model, checkpoint.tokenizer
    words = _words(robots)
    if init is None:
        tokens = tokenizer.build(words)
        return VLA(config.tiny_cross(tokens.get_vocab_size())), tokens
    source = find_policy(str(init))
    checkpoint = load(source, embodiment=next(iter(read_headers(source))))
    tokens = checkpoint.tokenizer
    if strange := sorted(w for w in words if tokens.token_to_id(w) is None):
        raise ValueError(f"--init: {source} does not know the words {', '.join(strange)}")
    model = VLA(config.tiny_cross(tokens.get_vocab_size()))
    new = begin(model, checkpoint.model.state_dict())
    print(f"begun from {source}; new: {', '.join(new) or 'nothing'}")
    return model, tokens


def _words(robots: list[RobotData]) -> set[str]:
    words = {*COLOURS, *SHAPES}
    for frames in _frames(robots, "scenes").values():
        for text in {t for row in frames.texts for t in row}:
            words |= set(re.findall("[a-z0-9]+|[^a-z0-9 ]", text.lower()))
    return words


def _frames(robots: list[RobotData], name: str) -> dict[str, Frames]:
    return {r.name: load_frames(r.data / name) for r in robots}


def _settings(usual: LoopSettings, steps: int | None, rate: float | None) -> LoopSettings:
    return LoopSettings(
        usual.steps if steps is None else steps, usual.learning_rate if rate is None else rate
    )
