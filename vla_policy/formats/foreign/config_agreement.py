"""Compares config.json of a transformers folder with the network here.

Weights do not show a norm's epsilon, the base of the rotary positions or an activation. A folder
with another value would load and compute wrong results silently, so it is refused, naming the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_policy.models import gemma, siglip
from vla_policy.models.config import ModelConfig
from vla_policy.models.llama import LlamaConfig

GELU = ("gelu_pytorch_tanh",)
ROPES = ("default", None)


def require_agreement(
    section: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]], path: Path, name: str
) -> None:
    """Raises ValueError naming the first key of section whose value is not one of those expected.

    A missing key has transformers' default, the first of them. name: of the section; may be empty.
    """
    for key, values in expected.items():
        if key in section and section[key] not in values:
            at = f"{name}.{key}" if name else key
            raise ValueError(
                f"{path}: {at}: got {section[key]!r}, only {values[0]!r} is understood: "
                "the network here computes with that"
            )


def rope_theta(text: Mapping[str, Any], path: Path, default: float) -> float:
    """Base of the rotary positions, as written by transformers 4 and 5.

    Raises ValueError for scaled positions, or for two different bases.
    """
    parameters = text.get("rope_parameters") or {}
    scaling = text.get("rope_scaling")
    kind = parameters.get("rope_type", "default")
    if kind not in ROPES or scaling not in (None, {"rope_type": "default"}):
        raise ValueError(
            f"{path}: text_config.{'rope_scaling' if scaling else 'rope_parameters'}: "
            f"got {scaling or parameters!r}, scaled rotary positions are not understood"
        )
    found = {s["rope_theta"] for s in (text, parameters) if s.get("rope_theta") is not None}
    if len(found) > 1:
        raise ValueError(f"{path}: text_config: got rope_theta {sorted(found)}, expected one")
    value = found.pop() if found else default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise ValueError(
            f"{path}: text_config.rope_theta: got {value!r}, expected a number above 0"
        )
    return float(value)


def require_paligemma(header: Mapping[str, Any], config: ModelConfig, path: Path) -> None:
    """Raises ValueError naming the first value of config.json that contradicts the tensors."""
    text, vision = header.get("text_config", {}), header.get("vision_config", {})
    language, tower = config.language, config.siglip
    windows = ["sliding_attention", "full_attention"]
    order = [windows[i % 2] for i in range(language.depth)]
    require_agreement(text, {
        "model_type": ("gemma2",) if language.gemma2 else ("gemma",),
        "rms_norm_eps": (gemma.EPS,), "attention_bias": (False, None),
        "hidden_act": GELU, "hidden_activation": (*GELU, None),
        "hidden_size": (language.width,), "intermediate_size": (language.mlp,),
        "num_hidden_layers": (language.depth,), "num_key_value_heads": (language.kv_heads,),
        "layer_types": (order if language.gemma2 else ["full_attention"] * language.depth, None),
        "tie_word_embeddings": (True, None),
    }, path, "text_config")  # fmt: skip
    theta = rope_theta(text, path, gemma.ROPE_THETA)
    if theta != gemma.ROPE_THETA:
        raise ValueError(
            f"{path}: text_config.rope_theta: got {theta:g}, only {gemma.ROPE_THETA:g} is understood: "
            "the network here computes with that"
        )
    require_agreement(vision, {
        "model_type": ("siglip_vision_model",), "layer_norm_eps": (siglip.EPS,), "hidden_act": GELU,
        "hidden_size": (tower.width,), "intermediate_size": (tower.mlp,), "num_hidden_layers": (tower.depth,),
        "patch_size": (tower.patch_px,), "image_size": (tower.image_px,), "num_channels": (3,),
        "vision_use_head": (False, None),
    }, path, "vision_config")  # fmt: skip


def require_llama(text: Mapping[str, Any], language: LlamaConfig, path: Path) -> None:
    """Raises ValueError naming the first value of text_config that contradicts the tensors."""
    require_agreement(text, {
        "model_type": ("llama",), "hidden_act": ("silu",),
        "attention_bias": (False, None), "mlp_bias": (False, None),
        "hidden_size": (language.width,), "intermediate_size": (language.mlp,),
        "num_hidden_layers": (language.depth,), "num_attention_heads": (language.heads,),
        "num_key_value_heads": (language.kv_heads, None), "head_dim": (language.head_dim, None),
        "tie_word_embeddings": (False, None), "pretraining_tp": (1, None),
    }, path, "text_config")  # fmt: skip


# Expected values of OpenVLA's config.json and preprocessor_config.json: image processing and actions.
OPENVLA: dict[str, tuple[Any, ...]] = {
    "use_fused_vision_backbone": (True,),
    "image_resize_strategy": ("resize-naive",),
    "n_action_bins": (256,),
    "timm_override_act_layers": ([None, None], None),
}
OPENVLA_IMAGES: dict[str, tuple[Any, ...]] = {
    "image_resize_strategy": ("resize-naive",),
    "tvf_do_letterbox": (False,),
    "interpolations": (["bicubic", "bicubic"],),
    "use_fused_vision_backbone": (True,),
}
