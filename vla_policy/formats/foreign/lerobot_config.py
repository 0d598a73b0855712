"""Which keys of config.json and which processor steps of a lerobot folder are supported, and how.

One table for each. A key or step outside them is refused by name, and so is a value that would
change the network's inputs or outputs in an unsupported manner. Keys of training and of lerobot's
own runtime are accepted.
Sources: lerobot 0.3.3, 0.4.4 and 0.6.1 (policies/pi0, pi05, smolvla, processor), and the keys that
its main branch had by August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_policy.parsing.json_document import read_json, require

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
# Use of a key: its value is read elsewhere, or has no effect on the network's inputs and outputs.
READ, FREE = "read", "free"
Rule = str | tuple[Any, ...]  # READ, FREE, or the supported values


def _all(rule: Rule, keys: str) -> dict[str, Rule]:
    return dict.fromkeys(keys.split(), rule)


_ANY_POLICY = (
    _all(READ, "type input_features output_features chunk_size normalization_mapping")
    | _all(READ, "max_state_dim max_action_dim tokenizer_max_length")
    | {"n_obs_steps": (1,), "min_period": (0.004, None), "max_period": (4.0, None)}
    # Where and how it was trained or stored.
    | _all(FREE, "device use_amp use_peft push_to_hub repo_id private tags license")
    | _all(FREE, "pretrained_path pretrained_revision compile_model compile_mode")
    | _all(FREE, "gradient_checkpointing freeze_vision_encoder train_expert_only train_state_proj")
    | _all(FREE, "optimizer_lr optimizer_betas optimizer_eps optimizer_weight_decay")
    | _all(FREE, "optimizer_grad_clip_norm optimizer_foreach optimizer_fused")
    | _all(FREE, "scheduler_warmup_steps scheduler_decay_steps scheduler_decay_lr")
    # lerobot's chunk execution; replaced by the execution scheme. Always-empty cameras are masked.
    | _all(FREE, "n_action_steps rtc_config use_cache empty_cameras")
    # Flipped joints and differences, which lerobot has for ALOHA only.
    | {"adapt_to_pi_aloha": (False,), "use_delta_joint_actions_aloha": (False,)}
)
_PI0 = (
    _all(READ, "num_inference_steps num_steps image_resolution resize_imgs_with_padding")
    | _all(READ, "rtc_training_max_delay use_relative_actions")
    # Sizes come from the tensors, the precision from the file.
    | _all(
        FREE, "paligemma_variant action_expert_variant dtype proj_width attention_implementation"
    )
    | _all(FREE, "time_sampling_beta_alpha time_sampling_beta_beta")
    | _all(FREE, "time_sampling_scale time_sampling_offset")
    # The relative step repeats it and is what counts; the tokenizer is the file in the folder.
    | _all(FREE, "relative_exclude_joints action_feature_names text_tokenizer_name")
    # Earlier images or states beside the current ones, and keys that matter only with them.
    | {"use_visual_memory": (False,), "use_proprioceptive_memory": (False,)}
    | _all(FREE, "memory_frames memory_stride memory_temporal_attention_every")
    | {"use_episode_metadata": (False,)}
    | _all(FREE, "metadata_missing_policy metadata_default_speed_steps metadata_default_quality")
    | _all(FREE, "metadata_default_mistake metadata_default_control_mode")
)
_SMOLVLA = (
    _all(READ, "num_steps resize_imgs_with_padding self_attn_every_n_layers")
    | _all(READ, "num_vlm_layers num_expert_layers vlm_model_name expert_width_multiplier")
    | {"attention_mode": ("cross_attn",), "add_image_special_tokens": (False,)}
    | {"prefix_length": (-1, 0, None)}
    # Sizes come from the tensors; padding of the text is masked.
    | _all(FREE, "load_vlm_weights pad_language_to")
)
CONFIG: dict[str, dict[str, Rule]] = {
    "pi0": _ANY_POLICY | _PI0, "pi05": _ANY_POLICY | _PI0, "smolvla": _ANY_POLICY | _SMOLVLA
}  # fmt: skip

_NORMAL: dict[str, Rule] = {
    "eps": READ, "features": FREE, "norm_map": READ, "normalize_observation_keys": READ,
}  # fmt: skip
STEPS: dict[str, dict[str, Rule]] = {
    "rename_observations_processor": {"rename_map": FREE},  # to the names in config.json
    "to_batch_processor": {},
    "device_processor": {"device": FREE, "float_dtype": FREE},
    "pi0_new_line_processor": {},  # the prompt always ends with a newline
    "smolvla_new_line_processor": {},
    "pi05_prepare_state_tokenizer_processor_step": {
        "max_state_dim": FREE, "task_key": ("task",),
        "include_state_in_prompt": (True,), "use_episode_metadata": (False,),
        **_all(FREE, "metadata_missing_policy metadata_default_speed_steps"),
        **_all(FREE, "metadata_default_quality metadata_default_mistake metadata_default_control_mode"),
    },
    "tokenizer_processor": {
        "max_length": READ, "task_key": ("task",), "padding_side": ("right",), "padding": FREE,
        "truncation": FREE, "tokenizer_name": FREE,
    },
    "normalizer_processor": _NORMAL,
    "unnormalizer_processor": _NORMAL,
    "relative_actions_processor": _all(READ, "enabled exclude_joints action_names"),
    "absolute_actions_processor": {"enabled": READ},
}  # fmt: skip
# (a step, one that must come later) if both are present: another order changes the numbers.
ORDER = (
    ("relative_actions_processor", "normalizer_processor"),
    ("normalizer_processor", "pi05_prepare_state_tokenizer_processor_step"),
    ("pi05_prepare_state_tokenizer_processor_step", "tokenizer_processor"),
    ("pi0_new_line_processor", "tokenizer_processor"),
    ("unnormalizer_processor", "absolute_actions_processor"),
)


@dataclass(frozen=True, slots=True)
class Relative:
    """Actions predicted relative to the state.

    mask: bool of each action column, lerobot's order.
    """

    mask: tuple[bool, ...]
    where: str


def require_understood(config: Mapping[str, Any], kind: str, path: Path) -> None:
    """Raises ValueError naming the first key of config.json with an unsupported name or value."""
    for key, value in config.items():
        if key not in CONFIG[kind]:
            raise ValueError(
                f"{path}: {key}: got {value!r}, but this setting is not known here, and it may change what the "
                "network gets or gives; take it out of the file only if it does not"
            )
        _require_value(CONFIG[kind][key], key, value, str(path))


def read_steps(folder: Path, processor: str) -> list[Mapping[str, Any]]:
    """The steps of a processor file in order.

    Raises ValueError for an unsupported step, setting or order.
    """
    path = folder / processor
    steps: list[Mapping[str, Any]] = require(read_json(path), "steps", list, path)
    names = [_require_step(step, path) for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path}: got the step {name} {names.count(name)} times, expected 1")
    for first, later in ORDER:
        if first in names and later in names and names.index(first) > names.index(later):
            raise ValueError(f"{path}: got the step {first} after {later}, expected it before")
    return steps


def settings_of(steps: list[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Settings of the step of that name; None without such a step."""
    return next((s.get("config", {}) for s in steps if s["registry_name"] == name), None)


def read_relative(folder: Path, width: int) -> Relative | None:
    """Which of width action columns are relative to the state; None if not stated.

    Raises ValueError if one processor makes actions relative and the other does not reverse it.
    """
    pre = settings_of(read_steps(folder, PREPROCESSOR), "relative_actions_processor") or {}
    post = settings_of(read_steps(folder, POSTPROCESSOR), "absolute_actions_processor") or {}
    enabled = [_flag(pre, folder / PREPROCESSOR), _flag(post, folder / POSTPROCESSOR)]
    if enabled[0] != enabled[1]:
        raise ValueError(
            f"{folder}: relative_actions_processor of {PREPROCESSOR} is {'on' if enabled[0] else 'off'}, "
            f"absolute_actions_processor of {POSTPROCESSOR} is {'on' if enabled[1] else 'off'}; expected both alike"
        )
    if not enabled[0]:
        return None
    path = folder / PREPROCESSOR
    excluded = _texts(pre, "exclude_joints", path) or ()
    names = _texts(pre, "action_names", path) or ()
    return Relative(relative_mask(names, excluded, width), f"{path}: relative_actions_processor")


def relative_mask(
    names: tuple[str, ...], excluded: tuple[str, ...], width: int
) -> tuple[bool, ...]:
    """Which of width columns are relative: names that contain none of excluded, in any case.

    As in lerobot, columns without a name are relative, and so are all columns if there are no
    names.

    >>> relative_mask(("arm.pos", "Gripper.pos"), ("gripper",), 3)
    (True, False, True)
    """
    words = [word.lower() for word in excluded if word]
    known = [not any(word in name.lower() for word in words) for name in names[:width]]
    return tuple(known + [True] * (width - len(known)))


def _require_step(step: Any, path: Path) -> str:
    name = step.get("registry_name") if isinstance(step, dict) else step
    if not isinstance(name, str) or name not in STEPS:
        raise ValueError(
            f"{path}: got the step {name!r}, which is not understood; known are {', '.join(STEPS)}"
        )
    settings = step.get("config", {})
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: {name}: config: got {settings!r}, expected a mapping")
    for key, value in settings.items():
        if key not in STEPS[name]:
            raise ValueError(
                f"{path}: {name}: {key}: got {value!r}, a setting that is not understood; "
                f"known are {', '.join(STEPS[name]) or 'none'}"
            )
        _require_value(STEPS[name][key], f"{name}: {key}", value, str(path))
    return name


def _require_value(rule: Rule, key: str, value: Any, where: str) -> None:
    # In Python False == 0; here they differ.
    if isinstance(rule, tuple) and not any(
        value == v and isinstance(value, bool) == isinstance(v, bool) for v in rule
    ):
        raise ValueError(f"{where}: {key}: got {value!r}, only {rule[0]!r} is understood")


def _flag(settings: Mapping[str, Any], path: Path) -> bool:
    value = settings.get("enabled", False)
    if not isinstance(value, bool):
        raise ValueError(f"{path}: enabled: got {value!r}, expected true or false")
    return value


def _texts(settings: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...] | None:
    value = settings.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError(f"{path}: {key}: got {value!r}, expected a list of names")
    return tuple(value)
