"""The record of PaliGemma's folders, which become RT-2 policies."""

from __future__ import annotations

from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import rt2
from vla_policy.formats.format import Facts, Format


def _ranges(file: PolicyFile) -> tuple[None, None]:
    rt2.require_columns(file)
    return None, None  # not trained on any robot's data


FORMAT = Format(
    name="paligemma",
    detect=lambda folder, config: config.get("model_type") == "paligemma",
    known_by="model_type paligemma",
    load=rt2.load,
    ranges=_ranges,
    skeleton=rt2.skeleton,
    facts=lambda folder: Facts(
        ("first",),
        None,
        None,
        lines=(rt2.LINE,),
    ),
    tool=rt2.TOOL,
)
