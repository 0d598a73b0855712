"""PaliGemma's folders, as one kind of many: they become RT-2 policies."""

from __future__ import annotations

from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import rt2
from vla_policy.formats.format import Facts, Format


def _ranges(file: PolicyFile) -> tuple[None, None]:
    rt2.require_columns(file)
    return None, None  # it has seen no robot's data


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
