"""The record of lerobot's folders of SmolVLA. In policy files their format is lerobot."""

from __future__ import annotations

from vla_policy.checkpoint.training_range import TrainingRanges, normalised_columns
from vla_policy.formats.conversion.smolvla import from_lerobot, from_own
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import smolvla
from vla_policy.formats.format import Format
from vla_policy.formats.kinds.lerobot import facts


def _ranges(file: PolicyFile) -> tuple[TrainingRanges | None, TrainingRanges | None]:
    header = smolvla.read_folder(file.checkpoint, file).header
    return (
        normalised_columns(header.statistics.state, frozenset()),
        normalised_columns(header.statistics.actions, frozenset(header.settings.relative)),
    )


FORMAT = Format(
    name="smolvla",
    detect=lambda folder, config: "input_features" in config and config.get("type") == "smolvla",
    load=smolvla.load,
    ranges=_ranges,
    skeleton=smolvla.skeleton,
    facts=facts,
    said_as="lerobot",
    tokenizer="~/smolvlm2/tokenizer.json   # of SmolVLM2-500M-Video-Instruct; the folder has none",
    rewrite=from_lerobot,
    rewrite_own={"smolvla": from_own},
)
