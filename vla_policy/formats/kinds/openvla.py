"""The record of OpenVLA's folders."""

from __future__ import annotations

import json
from pathlib import Path

from vla_policy.checkpoint.training_range import TrainingRanges
from vla_policy.families.openvla import NAMES
from vla_policy.families.openvla_inputs import trained_range
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import openvla
from vla_policy.formats.format import Facts, Format
from vla_policy.parsing.json_document import read_json


def _ranges(file: PolicyFile) -> tuple[None, TrainingRanges]:
    openvla.require_columns(file)
    path = file.checkpoint / "config.json"
    sets = openvla.norm_stats(file.checkpoint, read_json(path))
    ends = trained_range(sets, file.statistics, NAMES)
    return None, TrainingRanges(
        ends.names, ends.lower, ends.upper, str(path), frozenset(ends.names[:6])
    )


def _facts(folder: Path) -> Facts:
    found = openvla.data_sets(folder)
    if len(found) == 1:
        line = f"statistics: {json.dumps(found[0])}   # the only one there is"
    else:
        line = f"statistics: DECIDE   # the data of this very robot, one of: {', '.join(found)}"
    return Facts(("image",), None, None, lines=(line,))


FORMAT = Format(
    name="openvla",
    detect=lambda folder, config: config.get("model_type") == "openvla",
    known_by="model_type openvla",
    load=openvla.load,
    ranges=_ranges,
    skeleton=openvla.skeleton,
    facts=_facts,
    remarks=lambda folder: [
        f"  statistics of: {', '.join(openvla.data_sets(folder)) or 'nothing'}"
    ],
    tool=openvla.TOOL,
)
