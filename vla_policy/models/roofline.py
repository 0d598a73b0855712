"""Lower bound of a chunk's time: operations and bytes of every stage against a device's rates.

A stage takes at least max(operations / peak, bytes / bandwidth). Counted are the products and
attention of the engine (models/engine), weights once per pass and the keys and values that are
read; not counted are norms, activations and kernel overhead. Weights and cache have two bytes a
number (bfloat16).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from vla_policy.models.config import GemmaConfig, ModelConfig, PointingConfig, SiglipConfig
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.openvla import OpenVlaConfig
from vla_policy.models.smolvla import SmolVlaConfig
from vla_policy.models.vit import VitConfig
from vla_policy.models.vla import VLA

WIDTH = 2  # bytes of a number


@dataclass(frozen=True, slots=True)
class Accelerator:
    """flops: dense bfloat16 operations a second. bandwidth: memory, bytes a second."""

    name: str
    flops: float
    bandwidth: float


# Vendors' dense bfloat16 (float16 for Orin) and memory figures, except: the H200's rate is
# measured in products, below the H100's 989 of the data sheet because of its power limit; the
# CPU's is that of a core of the machine in benchmarks/inference.json.
DEVICES = (
    Accelerator("H200", 790e12, 4.8e12),
    Accelerator("H100", 989e12, 3.35e12),
    Accelerator("RTX 4090", 165e12, 1.008e12),
    Accelerator("Jetson Thor", 259e12, 0.273e12),
    Accelerator("Jetson Orin", 42.5e12, 0.2048e12),
    Accelerator("Zen 4 core", 0.21e12, 0.03e12),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a chunk. flops and bytes of all its passes together."""

    name: str
    flops: float
    bytes: float

    def seconds(self, device: Accelerator) -> float:
        """The least time on device."""
        return max(self.flops / device.flops, self.bytes / device.bandwidth)


def total_seconds(of: tuple[Stage, ...], device: Accelerator) -> float:
    """The least time of a chunk: stages run one after another."""
    return sum(stage.seconds(device) for stage in of)


def vla_work(config: ModelConfig, cameras: int, prompt: int) -> tuple[Stage, ...]:
    """Vision, prefix and actions of one chunk. cameras: images present. prompt: tokens."""
    language = config.language
    if isinstance(config.vision, PointingConfig):
        vision, per_image, cameras = _pointing(config), 1, 1
    else:
        per_image = (config.vision.image_px // config.vision.patch_px) ** 2
        projector = config.vision.width * language.width
        once = _tower(config.vision, per_image, projector)
        vision = Stage("vision", once.flops * cameras, once.bytes)
    tokens = cameras * per_image + prompt + (config.state_token == "prefix")
    if config.flow is None:
        written = config.token_head.rows * 8
        head = config.vocab * language.width
        return (
            vision,
            _read(language, tokens, language.depth, head),
            # of the output embedding only the action tokens
            _write(language, tokens, written - 1, config.token_head.bins * language.width),
        )
    expert, rows = config.flow.expert, config.flow.rows + (config.state_token == "suffix")
    around = 2 * config.action_dim * expert.width + _time_layers(config) * expert.width**2
    once = _pass(expert, rows, tokens + rows, expert.depth)
    step = Stage("actions", once.flops + 2 * around * rows, once.bytes + around * WIDTH)
    return vision, _cache(language, tokens), _times(step, config.flow.steps)


def openvla_work(config: OpenVlaConfig, cameras: int, prompt: int) -> tuple[Stage, ...]:
    """The same for OpenVLA, which has one image."""
    language, head = config.language, config.vocab * config.language.width
    patches = (config.siglip.image_px // config.siglip.patch_px) ** 2
    features = config.dino.width + config.siglip.width
    projector = 4 * features**2 + 4 * features * language.width + language.width**2
    towers = [_tower(config.dino, patches + config.dino.registers + 1, 0)]
    towers.append(_tower(config.siglip, patches, projector))
    vision = Stage("vision", sum(t.flops for t in towers), sum(t.bytes for t in towers))
    tokens = patches + prompt
    return (
        vision,
        _read(language, tokens, language.depth, head),
        _write(language, tokens, config.action_dim - 1, head),
    )


def smolvla_work(config: SmolVlaConfig, cameras: int, prompt: int) -> tuple[Stage, ...]:
    """The same for SmolVLA."""
    patches = (config.vision.image_px // config.vision.patch_px) ** 2
    projector = config.vision.width * config.shuffle**2 * config.language.width
    once = _tower(config.vision, patches, 0)
    seen = cameras * config.image_tokens
    vision = Stage(
        "vision",
        once.flops * cameras + 2 * projector * seen,
        once.bytes + projector * WIDTH,
    )
    tokens = seen + prompt + 1
    expert, rows = config.flow.expert, config.flow.rows
    step = _pass(expert, rows, tokens + rows, expert.depth)
    return vision, _cache(config.language, tokens), _times(step, config.flow.steps)


def _tower(vision: SiglipConfig | VitConfig, tokens: int, after: int) -> Stage:
    """One image through a vision transformer and a projector of after weights."""
    block = 4 * vision.width**2 + 2 * vision.width * vision.mlp
    weights = vision.depth * block + 3 * vision.patch_px**2 * vision.width + after
    attention = vision.depth * 4 * tokens**2 * vision.width
    return Stage("vision", 2.0 * weights * tokens + attention, float(weights * WIDTH))


def _pointing(config: ModelConfig) -> Stage:
    """tiny's convolutions, counted while they run."""
    tower = VLA(config).vision
    image = torch.zeros(1, 3, config.vision.image_px, config.vision.image_px)
    text = torch.ones(1, config.max_text, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        tower(image, image, torch.zeros(1, 4), text[None])
    return Stage(
        "vision", counter.get_total_flops(), WIDTH * sum(p.numel() for p in tower.parameters())
    )


def _weights(stack: GemmaConfig | LlamaConfig) -> tuple[int, int]:
    """Weights of one layer's key and value products, and of all its products."""
    cache = 2 * stack.width * stack.kv_heads * stack.head_dim
    rest = 2 * stack.width * stack.heads * stack.head_dim + 3 * stack.width * stack.mlp
    return cache, cache + rest


def _pass(stack: GemmaConfig | LlamaConfig, tokens: int, seen: int, layers: int) -> Stage:
    """tokens through layers of stack, each attending to seen keys and values."""
    weights = layers * _weights(stack)[1]
    attention = layers * 4 * tokens * seen * stack.heads * stack.head_dim
    looked_at = layers * seen * 2 * stack.kv_heads * stack.head_dim
    return Stage("actions", 2.0 * weights * tokens + attention, WIDTH * float(weights + looked_at))


def _cache(stack: GemmaConfig | LlamaConfig, tokens: int) -> Stage:
    """The prefix, if only keys and values are read: those alone in the last layer."""
    whole, cache = _pass(stack, tokens, tokens, stack.depth - 1), _weights(stack)[0]
    return Stage("prefix", whole.flops + 2.0 * cache * tokens, whole.bytes + cache * WIDTH)


def _read(stack: GemmaConfig | LlamaConfig, tokens: int, layers: int, head: int) -> Stage:
    """The prefix and the first token."""
    whole = _pass(stack, tokens, tokens, layers)
    return Stage("prefix", whole.flops + 2.0 * head, whole.bytes + head * WIDTH)


def _write(stack: GemmaConfig | LlamaConfig, tokens: int, count: int, head: int) -> Stage:
    """count more tokens, one after another."""
    once = _pass(stack, 1, tokens + count // 2, stack.depth)
    return _times(Stage("actions", once.flops + 2.0 * head, once.bytes + head * WIDTH), count)


def _times(stage: Stage, count: int) -> Stage:
    return Stage(stage.name, stage.flops * count, stage.bytes * count)


def _time_layers(config: ModelConfig) -> int:
    """Square layers per row and step around pi0's expert; pi0.5's are computed once, for all observations."""
    return 1 if config.flow_head.time == "concat" else 0
