"""lerobot folders of SmolVLA: config.json, model.safetensors, two processor files, statistics.

The statistics of the base checkpoint (lerobot/smolvla_base) are stored under the names of its
training data sets (`so100.buffer.action`); lerobot finds none for `action` and sends the network's
numbers as degrees. Here such a folder is refused unless a policy file names this robot's set.
Source: lerobot 0.4.4 and 0.6.1 (policies/smolvla).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.pi0 import Pi0Statistics
from vla_policy.families.smolvla import SmolVlaSettings
from vla_policy.formats.fit import PolicyFile
from vla_policy.formats.foreign import lerobot
from vla_policy.formats.foreign.common import (
    build,
    cameras,
    find_text_tokenizer,
    normaliser,
    relative_names,
    require_width,
)
from vla_policy.formats.foreign.lerobot_config import read_relative, require_understood
from vla_policy.formats.native.folder import Header
from vla_policy.formats.tensors import smolvla_names
from vla_policy.formats.tensors.naming import Named
from vla_policy.formats.tensors.store import Store, open_store
from vla_policy.models.smolvla import SmolVla, SmolVlaConfig
from vla_policy.parsing.json_document import read_json, require

FREE_TOKENIZER = "It is not in the folder: it is SmolVLM2's (huggingface.co/HuggingFaceTB/SmolVLM2-500M-Video-Instruct, free)"

SKELETON = """\
# What {folder} does not say about itself; see docs/checkpoints.md.
checkpoint: {folder}
tokenizer: ~/smolvlm2/tokenizer.json       # of SmolVLM2-500M-Video-Instruct
cameras:                                   # the checkpoint's name: your robot's; leave out what it has not
{cameras}
state: [{state}]                           # your robot's names, in the checkpoint's order
actions:
  names: [{actions}]
  spaces: {{arm: joint_position, gripper: gripper}}
policy_hz: 30
embodiments: [my_robot]
# statistics: so100.buffer                 # of base checkpoints: whose numbers these are
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and its policy file, without the weights' content."""

    store: Store
    named: Named
    header: Header


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The checkpoint in folder with its policy file. Raises ValueError or FileNotFoundError."""
    found = read_folder(folder, file)
    header = found.header
    tokenizer = find_text_tokenizer(
        folder, file.tokenizer, vocab=header.sizes.vocab, where=str(file.path), missing=FREE_TOKENIZER
    )  # fmt: skip
    model = build(
        found.store, found.named, header.sizes, device=device, dtype=dtype, network=SmolVla,
        called=smolvla_names.NAMING.theirs,
    )  # fmt: skip
    return Checkpoint(
        model, header.contract, header.statistics, tokenizer, header.family, header.settings
    )


def read_folder(folder: Path, file: PolicyFile) -> Folder:
    """Everything but the weights' content.

    Raises FileNotFoundError, or ValueError for contradictions.
    """
    path = folder / "config.json"
    config = read_json(path)
    require_understood(config, "smolvla", path)
    store = open_store(folder)
    named = smolvla_names.name_tensors(store)
    sizes = smolvla_names.sizes(
        store, named, heads=file.heads, rows=require(config, "chunk_size", int, path),
        steps=require(config, "num_steps", int, path),
        max_text=require(config, "tokenizer_max_length", int, path),
        joint_every=require(config, "self_attn_every_n_layers", int, path),
    )  # fmt: skip
    _require_sizes(config, sizes, path)
    inputs = require(config, "input_features", dict, path)
    outputs = require(config, "output_features", dict, path)
    modes = require(config, "normalization_mapping", dict, path)
    lerobot.require_plain_images(modes, path)
    for what, names, width, room in (
        ("state", file.state_names, lerobot.width(inputs, lerobot.STATE, path), sizes.state_dim),
        ("actions", file.action_names, lerobot.width(outputs, lerobot.ACTION, path), sizes.action_dim),
    ):  # fmt: skip
        require_width(f"{file.path}: {what}", names, width, room)
    state = lerobot.state_feature(folder, modes, file.statistics)
    actions = lerobot.action_feature(folder, modes, file.statistics)
    pairs = cameras(lerobot.camera_slots(inputs), file)
    header = Header(
        family="smolvla",
        sizes=sizes,
        contract=file.contract(
            image_px=sizes.vision.image_px, camera_names=tuple(robot for _, robot in pairs)
        ),
        settings=SmolVlaSettings(
            tuple(slot for slot, _ in pairs),
            relative_names(read_relative(folder, len(file.action_names)), file),
        ),
        statistics=Pi0Statistics(
            normaliser(state, file.state_names, file),
            normaliser(actions, file.action_names, file),
        ),
    )
    return Folder(store, named, header)


def skeleton(folder: Path) -> str:
    """The start of a policy file for folder."""
    path = folder / "config.json"
    config = read_json(path)
    inputs = require(config, "input_features", dict, path)
    outputs = require(config, "output_features", dict, path)
    slots = lerobot.camera_slots(inputs)
    state, actions = (
        ", ".join(f"joint.j{i}" for i in range(lerobot.width(features, name, path)))
        for features, name in ((inputs, lerobot.STATE), (outputs, lerobot.ACTION))
    )
    return SKELETON.format(
        folder=folder, state=state, actions=actions,
        cameras="\n".join(f"  {slot}: my_camera_{i}" for i, slot in enumerate(slots)),
    )  # fmt: skip


def _require_sizes(config: Mapping[str, Any], sizes: SmolVlaConfig, path: Path) -> None:
    """Raises ValueError if config.json contradicts the tensors.

    The norms' epsilon and the activations are SmolVLM's, so any other language model is refused
    by name.
    """
    named = config.get("vlm_model_name", "SmolVLM")
    if not isinstance(named, str) or "smolvlm" not in named.lower():
        raise ValueError(
            f"{path}: vlm_model_name: got {named!r}, only the SmolVLM models are understood: another one has other "
            "norms and activations; if it is a copy of one, write that one's name there"
        )
    wide = int(sizes.language.width * config.get("expert_width_multiplier", 0.75))
    if wide != sizes.flow.expert.width:
        raise ValueError(
            f"{path}: expert_width_multiplier: got {config.get('expert_width_multiplier', 0.75)!r}, which is {wide} "
            f"of {sizes.language.width} channels; the weights are of {sizes.flow.expert.width}"
        )
    side, depth = sizes.vision.image_px, sizes.language.depth
    expected = {
        "resize_imgs_with_padding": ([side, side],),
        "num_vlm_layers": (depth, -1, 0),
        "num_expert_layers": (depth, -1, 0),
        "max_state_dim": (sizes.state_dim,),
        "max_action_dim": (sizes.action_dim,),
    }
    for key, values in expected.items():
        got = config.get(key)
        got = list(got) if isinstance(got, tuple | list) else got
        if got not in values:
            raise ValueError(f"{path}: {key}: got {got!r}, the weights are of {values[0]!r}")
