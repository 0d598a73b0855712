"""The record of lerobot's folders of pi0 and pi0.5."""

from __future__ import annotations

from pathlib import Path

from vla_policy.checkpoint.training_range import TrainingRanges, normalised_columns
from vla_policy.formats.conversion.portable import read_lerobot
from vla_policy.formats.conversion.write import write_lerobot
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import common, lerobot
from vla_policy.formats.foreign.lerobot_config import (
    PREPROCESSOR,
    read_relative,
    read_steps,
    settings_of,
)
from vla_policy.formats.format import Facts, Format
from vla_policy.formats.skeleton import skeleton_of
from vla_policy.parsing.json_document import read_json, require


def _ranges(file: PolicyFile) -> tuple[TrainingRanges | None, TrainingRanges | None]:
    folder = lerobot.read_folder(file.checkpoint, heads=file.heads, statistics=file.statistics)
    said = common.describe(folder, file)  # raises if something is missing or does not match
    return (
        normalised_columns(said.statistics.state, frozenset()),
        normalised_columns(said.statistics.actions, frozenset(said.settings.relative)),
    )


def facts(folder: Path) -> Facts:
    """The facts in config.json and the processor files; also used for SmolVLA folders."""
    path = folder / "config.json"
    config = read_json(path)
    inputs = require(config, "input_features", dict, path)
    outputs = require(config, "output_features", dict, path)
    modes = require(config, "normalization_mapping", dict, path)
    width = lerobot.width(outputs, lerobot.ACTION, path)
    newer, labels, relative, state = False, (), None, None
    if (folder / PREPROCESSOR).is_file():
        settings = settings_of(read_steps(folder, PREPROCESSOR), "relative_actions_processor")
        newer = settings is not None
        labels = tuple((settings or {}).get("action_names") or ())
        relative = read_relative(folder, width)
        try:
            state = lerobot.state_feature(folder, modes, None)
        except ValueError:
            state = None  # reported when the policy file is loaded, which must name the set
    training = folder / "train_config.json"
    data = read_json(training).get("dataset") if training.is_file() else None
    return Facts(
        slots=lerobot.camera_slots(inputs),
        state_width=lerobot.width(inputs, lerobot.STATE, path),
        action_width=width,
        labels=labels if len(labels) == width else (),
        relative=() if relative is None else relative.mask,
        state=state,
        newer=newer or config["type"] == "smolvla",
        trained_on=str(data.get("repo_id", "")) if isinstance(data, dict) else "",
    )


FORMAT = Format(
    name="lerobot",
    detect=lambda folder, config: (
        "type" in config and "input_features" in config and config["type"] != "smolvla"
    ),
    known_by="type and input_features (lerobot)",
    load=lerobot.load,
    ranges=_ranges,
    skeleton=lambda folder: skeleton_of(folder, *lerobot.columns(folder)),
    facts=facts,
    portable=read_lerobot,
    write=write_lerobot,
)
