"""The kinds of models, one module each: the inputs of the network and the meaning of its outputs.

`Policy` (vla_policy/policy.py) is the only caller. It takes the checkpoint's family and calls, in
this order,

    prepare   Observation                      -> inputs          images scaled, state normalised, text tokenised
    sample    inputs, Sampling                 -> Sampled         model actions [candidates, rows, model_dim]
    restore   model actions, Observation       -> Rows            robot units, columns of contract.action_names
    express   ActionChunk, Observation         -> Expressed       the inverse, for a chunk to be
    continued

To add a family: write `families/<name>.py` with these as plain functions over a
`checkpoint.checkpoint.Checkpoint` and end it with `FAMILY = Family(...)` (families/family.py
documents arguments and results), add it to FAMILIES below, and let the loader in `formats/` set
`Checkpoint.family` to that name. docs/adding_a_family.md is a complete example. Whatever the
functions need beside the network is in the checkpoint: `contract` (cameras, state and action
names, spaces, rate), `statistics`, `tokenizer`, and `settings`, a frozen dataclass of the family
(prompt, camera slots, compatibility switches). Nothing else is kept between calls. Training is a
separate record (families/training.py), in `<name>_training.py`. Every option of `Sampling` that a
head does not support is refused (`require_plain`).
"""

from dataclasses import replace

from vla_policy.families import (
    openvla,
    openvla_training,
    pi0,
    pi0_training,
    rt2,
    rt2_training,
    smolvla,
    smolvla_training,
)
from vla_policy.families.family import Family
from vla_policy.families.tiny import lessons, tiny

FAMILIES: dict[str, Family] = {
    "tiny": replace(tiny.FAMILY, training=lessons.TRAINING),
    "pi0": replace(pi0.FAMILY, training=pi0_training.TRAINING),
    "smolvla": replace(smolvla.FAMILY, training=smolvla_training.TRAINING),
    "openvla": replace(openvla.FAMILY, training=openvla_training.TRAINING),
    "rt2": replace(rt2.FAMILY, training=rt2_training.TRAINING),
}
