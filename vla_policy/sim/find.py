"""A scene in which a typed instruction makes sense."""

from __future__ import annotations

from vla_policy.sim.scene import sample_scene
from vla_policy.sim.tasks import parse_task

TRIES = 200


def find_scene(instruction: str, first_seed: int = 0, *, robot: str = "vx300s") -> tuple[int, str]:
    """(seed, split) of the first scene, from first_seed on, that has what the instruction names.

    robot: whose twin it is for. The split "unseen_pairs" is looked through only if training scenes never have it.
    Raises ValueError with the sentence of the first scene if none fits.
    """
    refusal: ValueError | None = None
    for split in ("train", "unseen_pairs"):
        for seed in range(first_seed, first_seed + TRIES):
            try:
                parse_task(instruction, sample_scene(seed, split=split, robot=robot))
            except ValueError as error:
                refusal = refusal or error
                continue
            return seed, split
    raise ValueError(f"{instruction!r}: {refusal}") from refusal
