"""Sizes of every model, as frozen data. A checkpoint's config.json is one ModelConfig."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from vla_policy.parsing import dataclass_json
from vla_policy.parsing.dataclass_json import require_sizes

# Upper bounds of sizes: several times the largest existing model. A file with larger ones would
# use all memory before its weights could show that they do not match.
STACK = {
    "width": (1, 32_768), "depth": (1, 128), "mlp": (1, 131_072), "heads": (1, 256), "kv_heads": (1, 256),
    "head_dim": (2, 1024),
}  # fmt: skip
EYES = {
    "image_px": (1, 1024), "patch_px": (1, 256), "width": (1, 16_384), "depth": (1, 128), "mlp": (1, 65_536),
    "heads": (1, 256),
}  # fmt: skip
CHUNK = {"rows": (1, 1000), "steps": (1, 1000)}
WHOLE = {
    "vocab": (1, 1 << 20), "cameras": (1, 16), "state_dim": (0, 1024), "action_dim": (1, 1024),
    "max_text": (1, 8192), "arms": (1, 8),
}  # fmt: skip
MAX_PATCHES = 4096  # of one image: the cost of attention grows with their square


@dataclass(frozen=True, slots=True)
class Gemma2Config:
    """Additions of Gemma 2 (arXiv:2408.00118) to the stack; each block also has two more norms.

    query_scalar: scores are divided by its root, instead of head_dim's. attention_cap, logit_cap:
    x becomes cap * tanh(x / cap). window: tokens that a token of an even layer attends to, itself
    included.
    """

    query_scalar: int
    attention_cap: float = 50.0
    logit_cap: float = 30.0
    window: int = 4096

    def __post_init__(self) -> None:
        ends = {"query_scalar": (1, 1 << 20), "window": (1, 1 << 24)}
        require_sizes(self, ends | dict.fromkeys(("attention_cap", "logit_cap"), (1e-3, 1e6)))


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

    def __post_init__(self) -> None:
        require_stack(self)


@dataclass(frozen=True, slots=True)
class SiglipConfig:
    """SigLIP vision transformer (arXiv:2303.15343), without a pooling head."""

    image_px: int
    patch_px: int
    width: int
    depth: int
    mlp: int
    heads: int

    def __post_init__(self) -> None:
        require_eyes(self)


TRUNKS, TEXT_ENCODERS = ("efficientnet_lite0",), ("use_multilingual",)


@dataclass(frozen=True, slots=True)
class WideConfig:
    """Pre-trained encoders of a pointing tower, and the head that joins them (models/wide.py).

    trunk, text: names of the encoders, optional packages. image_px: side of the front image that the trunk sees.
    known: how many names it compares a word with, to tell whether the thing is there.
    crop_px: side to which the image around a candidate is enlarged for a closer look (models/crops.py); 0: none.
    reads: width of the heads that read what text alone tells (models/reader.py), with which it knows figures; 0: none.
    """

    trunk: str
    text: str
    image_px: int
    width: int
    key_width: int
    text_width: int
    known: int
    crop_px: int = 0
    reads: int = 0

    def __post_init__(self) -> None:
        widths = ("width", "key_width", "text_width")
        require_sizes(
            self,
            {"image_px": (32, 1024)} | dict.fromkeys(widths, (8, 4096)) | {"known": (1, 4096)},
        )
        for name, known in (("trunk", TRUNKS), ("text", TEXT_ENCODERS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}: got {getattr(self, name)!r}, expected {' or '.join(known)}"
                )
        if self.reads != 0 and not 8 <= self.reads <= 512:
            raise ValueError(f"reads: got {self.reads}, expected 0 or 8 to 512")
        if self.reads and not self.crop_px:
            raise ValueError("reads: got heads that read figures without crops to see them in")
        if self.crop_px != 0 and not 64 <= self.crop_px <= 512:
            raise ValueError(f"crop_px: got {self.crop_px}, expected 0 or 64 to 512")


@dataclass(frozen=True, slots=True)
class PointingConfig:
    """Convolutional tower with text-queried pointing (models/pointing.py).

    wide: additional pre-trained encoders, for words and objects that it was not trained on; or
    None.
    """

    image_px: int
    channels: tuple[int, int, int]  # after the first, second and all later convolutions
    key_width: int
    value_width: int
    text_width: int
    text_depth: int
    wide: WideConfig | None = None

    def __post_init__(self) -> None:
        widths = ("key_width", "value_width", "text_width")
        ends = {"image_px": (16, 512), "text_depth": (1, 64)} | dict.fromkeys(widths, (1, 4096))
        require_sizes(self, ends)
        if not all(1 <= channels <= 4096 for channels in self.channels):
            raise ValueError(f"channels: got {self.channels}, expected 1 to 4096 of each")


@dataclass(frozen=True, slots=True)
class TokenHeadConfig:
    """Actions as tokens: bins per dimension, rows of eight tokens per chunk."""

    bins: int
    rows: int
    temperature: float  # 0: argmax

    def __post_init__(self) -> None:
        require_sizes(self, {"bins": (2, 4096), "rows": CHUNK["rows"], "temperature": (0, 100)})


@dataclass(frozen=True, slots=True)
class FlowHeadConfig:
    """Actions by flow matching from an expert stack.

    prefix_trained: trained with clean leading rows (arXiv:2512.05964), so that a chunk is
    continued by conditioning on those rows instead of by guidance.
    prefix_rows: the most such rows in training; None: any number. More are refused.
    time: input of the flow time to the expert. "concat" joins it to each noisy action (pi0),
    "adarms" scales, shifts and gates every norm of the expert by it (pi0.5).
    """

    expert: GemmaConfig
    rows: int
    steps: int
    prefix_trained: bool = False
    time: str = "concat"
    prefix_rows: int | None = None

    def __post_init__(self) -> None:
        require_sizes(self, CHUNK)
        if self.time not in ("concat", "adarms"):
            raise ValueError(f"time: got {self.time!r}, expected 'concat' or 'adarms'")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole vision-language-action model.

    state_token: "prefix" puts the state before the answer (both heads attend to it), "suffix"
    beside the actions as in pi0; "none": it is text in the prompt (pi0.5) or not used at all
    (RT-2).
    arms: the most arms of a robot; with more than one, image tokens are marked with their arm.
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
        require_sizes(self, WHOLE)
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

    @property
    def flow_head(self) -> FlowHeadConfig:
        """flow. Raises ValueError if the model has no flow head."""
        if self.flow is None:
            raise ValueError(f"{self.name}: this model has no flow head")
        return self.flow

    @property
    def token_head(self) -> TokenHeadConfig:
        """token. Raises ValueError if the model has no token head."""
        if self.token is None:
            raise ValueError(f"{self.name}: this model has no token head")
        return self.token

    @property
    def pointing(self) -> PointingConfig:
        """vision. Raises ValueError if the vision tower does not point."""
        if not isinstance(self.vision, PointingConfig):
            raise ValueError(f"{self.name}: the vision tower of this model does not point")
        return self.vision

    @property
    def siglip(self) -> SiglipConfig:
        """vision. Raises ValueError if the vision tower is no SigLIP."""
        if not isinstance(self.vision, SiglipConfig):
            raise ValueError(f"{self.name}: the vision tower of this model is no SigLIP")
        return self.vision


def require_stack(config: Any) -> None:
    """Raises ValueError for a decoder stack with an impossible size."""
    require_sizes(config, STACK)
    if config.heads % config.kv_heads:
        raise ValueError(f"kv_heads: got {config.kv_heads}, expected a divisor of {config.heads}")


def require_eyes(config: Any) -> None:
    """Raises ValueError for a vision tower with an impossible size."""
    require_sizes(config, EYES)
    patches = (config.image_px // config.patch_px) ** 2
    if not 1 <= patches <= MAX_PATCHES:
        raise ValueError(f"patch_px: got {patches} patches, expected 1 to {MAX_PATCHES}")
    if config.width % config.heads:
        raise ValueError(f"heads: got {config.heads}, expected a divisor of {config.width}")


def tiny(vocab: int) -> ModelConfig:
    """About 3 million parameters: trained on a laptop, runs on a CPU. vocab: of its tokenizer."""
    language = GemmaConfig(width=160, depth=4, mlp=448, heads=4, kv_heads=1, head_dim=32)
    return ModelConfig(
        name="tiny",
        vocab=vocab,
        language=language,
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
        flow=FlowHeadConfig(expert=replace(language, width=128, mlp=320), rows=10, steps=10),
        token=TokenHeadConfig(bins=256, rows=4, temperature=0.5),
    )


def small(vocab: int) -> ModelConfig:
    """`tiny` with pre-trained encoders for words and objects outside its own training data."""
    base = tiny(vocab)
    wide = WideConfig(
        "efficientnet_lite0",
        "use_multilingual",
        224,
        96,
        192,
        512,
        known=621,
        crop_px=128,
        reads=48,
    )
    return replace(base, name="small", vision=replace(base.pointing, wide=wide))


def tiny_cross(vocab: int) -> ModelConfig:
    """`tiny` for robots of one or two arms, with or without a base: flow head only, 17 action columns.

    The state is that of both arms and, for each action column, 1 if the robot has it (families/tiny/columns.py).
    """
    return replace(
        tiny(vocab), name="tiny_cross", cameras=3, state_dim=33, action_dim=17, token=None, arms=2
    )


def pi0() -> ModelConfig:
    """pi0 (arXiv:2410.24164): PaliGemma-3B with a 300 M flow expert, 3,238,048,528 parameters."""
    language = GemmaConfig(width=2048, depth=18, mlp=16_384, heads=8, kv_heads=1, head_dim=256)
    return ModelConfig(
        name="pi0",
        vocab=257_152,
        language=language,
        vision=SiglipConfig(image_px=224, patch_px=14, width=1152, depth=27, mlp=4304, heads=16),
        cameras=3,
        state_dim=32,
        action_dim=32,
        state_token="suffix",
        max_text=48,
        flow=FlowHeadConfig(expert=replace(language, width=1024, mlp=4096), rows=50, steps=10),
        token=None,
    )


def pi05() -> ModelConfig:
    """pi0.5 (arXiv:2504.16054): pi0 with the state as text and the flow time in every norm of the expert."""
    base = pi0()
    return replace(
        base,
        name="pi05",
        state_token="none",
        max_text=200,
        flow=replace(base.flow_head, time="adarms"),
    )


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain JSON data of config."""
    return asdict(config)


def from_dict(data: dict[str, Any]) -> ModelConfig:
    """Inverse of to_dict. Raises ValueError naming a missing, unknown or ill-typed key."""
    config: ModelConfig = dataclass_json.from_dict(ModelConfig, data, "config")
    return config
