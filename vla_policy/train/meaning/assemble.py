"""Assembles `small`: `tiny` with retrained positions, and the head of the pre-trained encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.models import config
from vla_policy.models.vla import VLA


def assemble(
    tiny: Checkpoint,
    tower: Mapping[str, Tensor],
    wide: Mapping[str, Tensor],
    beyond: Mapping[str, float],
    named: Sequence[str] = (),
) -> Checkpoint:
    """The checkpoint of `small`.

    tower: its pointing weights; wide: the head's. beyond, named: see Language.
    """
    if tiny.language is None:
        raise ValueError("tiny: got no language, expected the sentences that it was trained on")
    sizes = config.small(tiny.model.config.vocab)
    if sizes.pointing.wide is None:
        raise ValueError("small: got no pre-trained encoders in its sizes")
    model = VLA(sizes)
    weights = dict(tiny.model.state_dict())
    weights |= {f"vision.{name}": value for name, value in tower.items()}
    weights |= {f"vision.wide.{name}": value for name, value in wide.items()}
    model.load_state_dict(weights)
    contract = replace(tiny.contract, image_px=sizes.pointing.wide.image_px)
    language = replace(tiny.language, beyond=beyond, named=tuple(named))
    return replace(tiny, model=model.eval(), contract=contract, language=language, engine=None)
