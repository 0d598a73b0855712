"""A scene in which a typed instruction makes sense."""

from __future__ import annotations

from vla_policy.sim.scene import sample_scene
from vla_policy.sim.tasks import parse_task

TRIES = 400


def find_scene(instruction: str, first_seed: int = 0, *, split: str = "train") -> int:
    """The first seed from first_seed on whose scene has what the instruction names.

    Raises ValueError with the sentence of the first scene if no scene of TRIES fits.
    """
    refusal: ValueError | None = None
    for seed in range(first_seed, first_seed + TRIES):
        try:
            parse_task(instruction, sample_scene(seed, split=split))
        except ValueError as error:
            refusal = refusal or error
            continue
        return seed
    raise ValueError(f"{instruction!r}: {refusal}") from refusal
