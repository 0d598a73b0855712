"""OpenVLA's Hugging Face folders: sharded weights, and statistics of its training data sets.

config.json has norm_stats; a fine-tuned folder may have dataset_statistics.json, which replaces
them. Never read of the weights: the last block and final norm of each tower, SigLIP's pooling
head.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families import openvla, openvla_inputs
from vla_policy.formats import tool_columns
from vla_policy.formats.fit import Heads, PolicyFile
from vla_policy.formats.foreign.config_agreement import (
    OPENVLA,
    OPENVLA_IMAGES,
    require_agreement,
    require_llama,
    rope_theta,
)
from vla_policy.formats.tensors.naming import Named
from vla_policy.formats.tensors.store import Store, fill, open_store, require_same
from vla_policy.models.blank import without_weights
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.openvla import OpenVla, OpenVlaConfig
from vla_policy.models.text import NAMES, find_tokenizer, load_text_tokenizer
from vla_policy.models.vit import VitConfig
from vla_policy.parsing.json_document import read_json, require

RENAMED = (
    ("vision_backbone.featurizer.", "vision.dino."),
    ("vision_backbone.fused_featurizer.", "vision.siglip."),
    ("language_model.model.embed_tokens.", "embed_tokens."),
    ("language_model.model.", "language."),
    ("language_model.lm_head.", "lm_head."),
)
SKELETON = """\
# What {folder} does not say about itself; see docs/rt2.md.
checkpoint: {folder}
cameras: {{image: my_camera}}
state: [{pose}, gripper]
actions:
  names: [{step}, gripper]
  spaces: {{arm: ee_delta, hand: gripper}}
policy_hz: 5
embodiments: [my_robot]
statistics: {first}    # one of: {found}
"""
TOOL = tool_columns.ToolColumns("OpenVLA", {"ee_delta": tool_columns.STEP, "ee_pose": TOOL_POSE})
THETA = 10_000.0  # transformers' default
PUBLISHED = Heads(language=32, kv=32, vision=16)
BLOCK = re.compile(r"vision\.(dino|siglip)\.blocks\.(\d+)\.")


def load(
    folder: Path, file: PolicyFile, *, device: str, dtype: torch.dtype | None = None
) -> Checkpoint:
    """The checkpoint in folder with its policy file.

    file.statistics: the data set (`unnorm_key`). Raises FileNotFoundError or ValueError.
    """
    require_columns(file)
    header = read_json(folder / "config.json")
    store = open_store(folder)
    named = name_tensors(store)
    config = sizes(store, named, header, file.heads or PUBLISHED)
    words = load_text_tokenizer(_tokenizer(folder, file))
    mean, std = pixel_statistics(folder)
    settings = openvla.OpenVlaSettings(
        mean=mean,
        std=std,
        constrained="openvla_constrained" in file.compatibility,
        crop="openvla_centre_crop" in file.compatibility,
    )
    statistics = openvla.OpenVlaStatistics(
        openvla_inputs.action_range(norm_stats(folder, header), file.statistics, openvla.NAMES)
    )
    contract = file.contract(image_px=config.dino.image_px, model_action_names=openvla.NAMES)
    with without_weights():
        model = OpenVla(config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    expected = {key: named.names.get(key, key) for key in shapes}
    require_same(store, expected, shapes, set(named.unread))
    fill(model, store, expected, device=device, dtype_of=lambda key, own: dtype or own)
    return Checkpoint(model.eval(), contract, statistics, words, "openvla", settings)


def ours(name: str) -> str:
    """This project's name for a name in the folder; timm calls a layer scale gamma."""
    for theirs, mine in RENAMED:
        if name.startswith(theirs):
            name = mine + name[len(theirs) :]
            break
    return re.sub(r"^(vision\..*\.ls[12])\.gamma$", r"\1.scale_factor", name)


def name_tensors(store: Store) -> Named:
    """Maps tensors to the network's parameters, and lists those that are not read."""
    names = {ours(name): name for name in store.entries}
    last: dict[str, int] = {}
    for key in names:
        if match := BLOCK.match(key):
            last[match[1]] = max(int(match[2]), last.get(match[1], 0))
    unread = {
        key
        for key in names
        if re.match(r"vision\.(dino|siglip)\.(norm|attn_pool)\.", key)
        or ((match := BLOCK.match(key)) and int(match[2]) == last[match[1]])
    }
    kept = {key: name for key, name in names.items() if key not in unread}
    return Named(kept, frozenset(names[key] for key in unread))


def sizes(store: Store, named: Named, header: dict[str, Any], heads: Heads) -> OpenVlaConfig:
    """Sizes from the tensors, head counts from heads, vocabulary padding and norm from header."""
    path = store.folder / "config.json"
    text = require(header, "text_config", dict, path)
    padding = require(header, "pad_to_multiple_of", int, path)
    first = "language.layers.0."
    q, k = (_shape(store, named, f"{first}self_attn.{n}_proj.weight") for n in "qk")
    if q[0] % heads.language or q[0] // heads.language * heads.kv != k[0]:
        raise ValueError(
            f"{store.folder}: {heads.language} query and {heads.kv} key heads do not fit q_proj with {q[0]} and "
            f"k_proj with {k[0]} rows; say the real numbers as `heads` in the policy file"
        )
    vocab = _shape(store, named, "embed_tokens.weight")[0]
    require_agreement(header, OPENVLA, path, "")
    config = OpenVlaConfig(
        name="openvla",
        dino=_tower(store, named, "vision.dino.", heads.vision),
        siglip=_tower(store, named, "vision.siglip.", heads.vision),
        language=LlamaConfig(
            width=q[1],
            depth=_depth(named, "language.layers."),
            mlp=_shape(store, named, f"{first}mlp.gate_proj.weight")[0],
            heads=heads.language,
            kv_heads=heads.kv,
            head_dim=q[0] // heads.language,
            eps=float(text.get("rms_norm_eps", 1e-6)),  # transformers' default
            theta=rope_theta(text, path, THETA),
        ),
        vocab=vocab,
        action_vocab=vocab - padding,
    )
    require_llama(text, config.language, path)
    return config


def _tower(store: Store, named: Named, stem: str, heads: int) -> VitConfig:
    width, _, patch_px, _ = _shape(store, named, f"{stem}patch_embed.proj.weight")
    side = math.isqrt(_shape(store, named, f"{stem}pos_embed")[1])
    return VitConfig(
        image_px=side * patch_px,
        patch_px=patch_px,
        width=width,
        depth=_depth(named, f"{stem}blocks."),
        mlp=_shape(store, named, f"{stem}blocks.0.mlp.fc1.weight")[0],
        heads=heads,
        registers=_shape(store, named, f"{stem}reg_token")[1]
        if f"{stem}reg_token" in named.names
        else 0,
    )


def _shape(store: Store, named: Named, key: str) -> tuple[int, ...]:
    if key not in named.names:
        raise ValueError(f"{store.folder}: not OpenVLA's weights: no {key}")
    return store.entries[named.names[key]].shape


def _depth(named: Named, stem: str) -> int:
    return len({key[len(stem) :].split(".")[0] for key in named.names if key.startswith(stem)})


def data_sets(folder: Path) -> tuple[str, ...]:
    """Names of the data sets whose statistics the folder has."""
    return tuple(sorted(norm_stats(folder, read_json(folder / "config.json"))))


def skeleton(folder: Path) -> str:
    """The start of a policy file for folder."""
    found = data_sets(folder)
    return SKELETON.format(
        folder=folder,
        pose=", ".join(TOOL_POSE),
        step=", ".join(tool_columns.STEP),
        first=found[0] if len(found) == 1 else "'?'",
        found=", ".join(found),
    )


def norm_stats(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Data set -> statistics; those of the fine-tuning if present."""
    own = folder / "dataset_statistics.json"
    return read_json(own) if own.is_file() else require(header, "norm_stats", dict, folder)


def pixel_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of both towers' pixels, from the processor if present."""
    path = folder / "preprocessor_config.json"
    default = ([openvla_inputs.IMAGENET[i], openvla_inputs.HALF[i]] for i in (0, 1))
    found = read_json(path) if path.is_file() else {}
    require_agreement(found, OPENVLA_IMAGES, path, "")
    out = []
    for key, values in zip(("means", "stds"), default, strict=True):
        flat = tuple(float(v) for tower in found.get(key, values) for v in tower)
        if len(flat) != 6:
            raise ValueError(f"{path}: {key}: got {len(flat)} numbers, expected 2 towers of 3")
        out.append(flat)
    return out[0], out[1]


def _tokenizer(folder: Path, file: PolicyFile) -> Path:
    path = file.tokenizer or find_tokenizer(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder}: no tokenizer: neither {' nor '.join(NAMES)}; say `tokenizer: <path>` in {file.path}"
        )
    return path


def require_columns(file: PolicyFile) -> None:
    """Raises ValueError unless the file has one camera and the columns of one tool."""
    if len(file.cameras) != 1:
        raise ValueError(f"{file.path}: cameras: got {len(file.cameras)}, OpenVLA reads one")
    tool_columns.require(TOOL, file.path, file.action_names, file.spaces, file.state_names)
