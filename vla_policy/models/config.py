"""Sizes of every model, as frozen data. A checkpoint's config.json is one ModelConfig."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from .. import records


@dataclass(frozen=True, slots=True)
class Gemma2Config:
    """What Gemma 2 (arXiv:2408.00118) adds to the stack; two more norms a block go with it.

    query_scalar: scores are divided by its root, instead of head_dim's. attention_cap, logit_cap: x becomes
    cap * tanh(x / cap). window: tokens that a token of an even layer sees, itself included.
    """

    query_scalar: int
    attention_cap: float = 50.0
    logit_cap: float = 30.0
    window: int = 4096


@dataclass(frozen=True, slots=True)
class GemmaConfig:
    """A Gemma decoder stack (arXiv:2403.08295). All stacks of one model share the head geometry and depth.

    gemma2: None for the first generation.
    """

    width: int
    depth: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    gemma2: Gemma2Config | None = None


@dataclass(frozen=True, slots=True)
class SiglipConfig:
    """SigLIP vision transformer (arXiv:2303.15343), without a pooling head."""

    image_px: int
    patch_px: int
    width: int
    depth: int
    mlp: int
    heads: int


@dataclass(frozen=True, slots=True)
class PointingConfig:
    """Convolutional tower with text-queried pointing (models/pointing.py)."""

    image_px: int
    channels: tuple[int, int, int]  # after the first, second and all later convolutions
    key_width: int
    value_width: int
    text_width: int
    text_depth: int


@dataclass(frozen=True, slots=True)
class TokenHeadConfig:
    """Actions as tokens: bins per dimension, rows of eight tokens per chunk."""

    bins: int
    rows: int
    temperature: float  # 0: argmax


@dataclass(frozen=True, slots=True)
class FlowHeadConfig:
    """Actions by flow matching from an expert stack.

    prefix_trained: it has seen clean leading rows in training (arXiv:2512.05964), so that a chunk can be
    continued by giving it those rows instead of by guidance.
    prefix_rows: how many such rows there were at most in training; None: any number. More are refused.
    time: how the expert learns the flow time. "concat" joins it to each noisy action (pi0), "adarms" scales,
    shifts and gates every norm of the expert by it (pi0.5).
    """

    expert: GemmaConfig
    rows: int
    steps: int
    prefix_trained: bool = False
    time: str = "concat"
    prefix_rows: int | None = None

    def __post_init__(self) -> None:
        if self.time not in ("concat", "adarms"):
            raise ValueError(f"flow.time: got {self.time!r}, expected 'concat' or 'adarms'")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole vision-language-action model.

    state_token: "prefix" puts the state before the text's answer (both heads see it), "suffix" beside the
    actions as in pi0; "none": it is in the words of the prompt (pi0.5) or not read at all (RT-2).
    arms: most arms that a robot may have; with more than one, image tokens are told which arm they are of.
    """

    name: str
    vocab: int
    language: GemmaConfig
    vision: SiglipConfig | PointingConfig
    cameras: int
    state_dim: int
    action_dim: int
    state_token: str
    max_text: int
    flow: FlowHeadConfig | None
    token: TokenHeadConfig | None
    arms: int = 1

    def __post_init__(self) -> None:
        if self.state_token not in ("prefix", "suffix", "none"):
            raise ValueError(
                f"state_token: got {self.state_token!r}, expected 'prefix', 'suffix' or 'none'"
            )
        if self.flow is not None:
            a, b = self.language, self.flow.expert
            if (a.depth, a.heads, a.kv_heads, a.head_dim) != (
                b.depth,
                b.heads,
                b.kv_heads,
                b.head_dim,
            ):
                raise ValueError(
                    "flow.expert: depth, heads, kv_heads and head_dim must equal the language model's: "
                    f"got {(b.depth, b.heads, b.kv_heads, b.head_dim)}, "
                    f"expected {(a.depth, a.heads, a.kv_heads, a.head_dim)}"
                )


def tiny(vocab: int) -> ModelConfig:
    """About 3 million parameters: trained on a laptop, runs on a CPU. vocab: size of its own tokenizer."""
    heads = {"depth": 4, "heads": 4, "kv_heads": 1, "head_dim": 32}
    return ModelConfig(
        name="tiny",
        vocab=vocab,
        language=GemmaConfig(width=160, mlp=448, **heads),
        vision=PointingConfig(
            image_px=96,
            channels=(24, 40, 64),
            key_width=48,
            value_width=24,
            text_width=96,
            text_depth=2,
        ),
        cameras=2,
        state_dim=8,
        action_dim=8,
        state_token="prefix",
        max_text=40,
        flow=FlowHeadConfig(expert=GemmaConfig(width=128, mlp=320, **heads), rows=10, steps=10),
        token=TokenHeadConfig(bins=256, rows=4, temperature=0.5),
    )


def tiny_cross(vocab: int) -> ModelConfig:
    """`tiny` for robots of one or two arms, with or without a base: flow head only, 17 action columns.

    The state is that of both arms and, for each action column, 1 if the robot has it (families/bodies.py).
    """
    return replace(
        tiny(vocab), name="tiny_cross", cameras=3, state_dim=33, action_dim=17, token=None, arms=2
    )


def pi0() -> ModelConfig:
    """pi0 (arXiv:2410.24164): PaliGemma-3B with a 300 M flow expert, 3,238,048,528 parameters."""
    heads = {"depth": 18, "heads": 8, "kv_heads": 1, "head_dim": 256}
    return ModelConfig(
        name="pi0",
        vocab=257_152,
        language=GemmaConfig(width=2048, mlp=16_384, **heads),
        vision=SiglipConfig(image_px=224, patch_px=14, width=1152, depth=27, mlp=4304, heads=16),
        cameras=3,
        state_dim=32,
        action_dim=32,
        state_token="suffix",
        max_text=48,
        flow=FlowHeadConfig(expert=GemmaConfig(width=1024, mlp=4096, **heads), rows=50, steps=10),
        token=None,
    )


def pi05() -> ModelConfig:
    """pi0.5 (arXiv:2504.16054): pi0 with the state in words and the flow time in every norm of the expert."""
    base = pi0()
    assert base.flow is not None
    return replace(
        base,
        name="pi05",
        state_token="none",
        max_text=200,
        flow=replace(base.flow, time="adarms"),
    )


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain JSON data of config."""
    return asdict(config)


def from_dict(data: dict[str, Any]) -> ModelConfig:
    """Inverse of to_dict. Raises ValueError naming a missing, unknown or ill-typed key."""
    return records.from_dict(ModelConfig, data, "config")
