"""The record of openpi's folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_policy.checkpoint.training_range import TrainingRanges, columns
from vla_policy.formats.conversion.portable import read_openpi
from vla_policy.formats.conversion.write import write_openpi
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import openpi
from vla_policy.formats.format import Facts, Format
from vla_policy.formats.skeleton import skeleton_of


def _ranges(file: PolicyFile) -> tuple[TrainingRanges | None, TrainingRanges | None]:
    found, stats = openpi.norm_stats(file.checkpoint, file.statistics)

    def of(part: str, names: tuple[str, ...], relative: frozenset[str]) -> TrainingRanges | None:
        values = {k: np.array(v, np.float64) for k, v in stats.get(part, {}).items() if v}
        return columns(names, values, str(found), relative)

    return (
        of("state", file.state_names, frozenset()),
        of("actions", file.action_names, frozenset(file.relative)),
    )


def _facts(folder: Path) -> Facts:
    slots, state, action = openpi.columns(folder)
    return Facts(slots, state or None, action or None)


FORMAT = Format(
    name="openpi",
    detect=lambda folder, config: (folder / openpi.ASSETS).is_dir() or "action_horizon" in config,
    load=openpi.load,
    ranges=_ranges,
    skeleton=lambda folder: skeleton_of(folder, *openpi.columns(folder)),
    facts=_facts,
    portable=read_openpi,
    write=write_openpi,
)
