"""Small pi0 and pi0.5 networks with their engines, for the engine's tests."""

from unittest.mock import patch

import pytest
import torch

from vla_policy.checkpoint.contract import Contract
from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.engine import Engine, build, compile_engine
from vla_policy.models.vla import VLA

EXACT = {"atol": 1e-5, "rtol": 0.0}
BOTH = pytest.mark.parametrize("kind", ["pi0", "pi05"])
# A fictitious robot: the tests here concern the network only.
CONTRACT = Contract(
    ("front",), 28, ("s",), ("a",), ("a",), (("arm", "joint_position"),), 10.0, ("none",)
)
CAMERAS = ([[1, 1, 1], [1, 1, 1]], [[1, 0, 1], [1, 0, 1]], [[1, 1, 1], [0, 0, 1]])


def config(kind: str) -> ModelConfig:
    heads = {"depth": 3, "heads": 4, "kv_heads": 1, "head_dim": 16}
    expert = GemmaConfig(width=32, mlp=96, **heads)
    return ModelConfig(
        name=kind,
        vocab=300,
        language=GemmaConfig(width=64, mlp=160, **heads),
        vision=SiglipConfig(image_px=28, patch_px=7, width=48, depth=2, mlp=100, heads=4),
        cameras=3,
        state_dim=8,
        action_dim=8,
        state_token="suffix" if kind == "pi0" else "none",
        max_text=12,
        flow=FlowHeadConfig(
            expert, rows=9, steps=10, time="concat" if kind == "pi0" else "adarms"
        ),
        token=None,
    )


def network_of(kind: str) -> VLA:
    torch.manual_seed(3)
    model = VLA(config(kind)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "position" in name:  # otherwise they start at 0 or 1
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def engine_of(kind: str) -> Engine:
    """Of MODELS, with packed products, as in large models, if this CPU supports them."""
    with patch.object(build, "SMALL", 0):
        return compile_engine(MODELS[kind])


class Made(dict):
    """kind -> what make gives for it, made when a test first asks: every process collects all tests."""

    def __init__(self, make):
        super().__init__()
        self._make = make

    def __missing__(self, kind: str):
        # As at import: it is no inference tensor, and the test's random numbers stay.
        with torch.inference_mode(mode=False), torch.random.fork_rng():
            self[kind] = self._make(kind)
        return self[kind]


MODELS, ENGINES = Made(network_of), Made(engine_of)


def whole(given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """given as arguments of Engine.sample, with all cameras present."""
    there = torch.ones(2, 3, dtype=torch.bool)
    return given["images"], there, given["text"], given["state"], given["noise"]


def observation(batch: int = 2, words: tuple[int, ...] = (7, 4)) -> dict[str, torch.Tensor]:
    text = torch.zeros(batch, 12, dtype=torch.long)
    for row, n in zip(text, words, strict=True):
        row[:n] = torch.randint(1, 300, (n,))
    return {
        "images": torch.rand(batch, 3, 3, 28, 28) * 2 - 1,
        "text": text,
        "state": torch.randn(batch, 8),
        "noise": torch.randn(batch, 9, 8),
    }


def prefixes(kind: str, cameras: list[list[int]], **changes: torch.Tensor):
    """Inputs, the plain model's prefix and the engine's."""
    given = observation() | changes
    model, engine = MODELS[kind], ENGINES[kind]
    features = model.vision(given["images"].flatten(0, 1)).unflatten(0, (2, 3)).flatten(1, 2)
    valid = torch.tensor(cameras, dtype=torch.bool).repeat_interleave(16, 1)
    arguments = (features, given["text"], given["state"], valid)
    return given, model.prefix(*arguments), engine.prefix(*arguments)
