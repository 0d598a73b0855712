"""What benchmarks/inference.py runs: models of several sizes with random weights, observations, and our own runtimes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from vla_policy.families.architectures import network
from vla_policy.models import config as configs
from vla_policy.models import flow
from vla_policy.models.config import GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.engine import Engine, build, compile_engine
from vla_policy.models.engine.graph import Graphs
from vla_policy.models.vla import VLA

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Run = Callable[["Inputs", int], Tensor]


@dataclass(frozen=True, slots=True)
class Inputs:
    """One batch in the form of pi0's contract.

    images: [b, c, 3, h, w] in [-1, 1]; camera_valid: bool[b, c]; text: ids[b, s], 0 is padding, at the end.
    """

    images: Tensor
    camera_valid: Tensor
    text: Tensor
    state: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Case:
    """cameras and words that are there, of the slots and tokens that the contract has; rows and steps of the chunk."""

    name: str
    cameras: int
    words: int
    slots: int = 3
    tokens: int = 48
    rows: int = 50
    steps: int = 10
    batch: int = 1


# A robot with two cameras under pi0's contract of three; all there; the same robot if a runtime is given no gaps.
CASES = (
    Case("two cameras of three, 12 words of 48", 2, 12),
    Case("three cameras, 48 words, nothing masked", 3, 48),
    Case("two cameras, 12 words, nothing masked", 2, 12, slots=2, tokens=12),
)
GPU_CASES = tuple(
    Case(f"{cameras} cameras of {slots}, {rows} rows", cameras, 48, slots=slots, rows=rows)
    for cameras, slots in ((2, 3), (3, 3))
    for rows in (50, 10)
)
CURVES = {
    "cameras": [Case("", n, 48, slots=n) for n in (1, 2, 3)],
    "steps": [Case("", 2, 48, slots=2, steps=n) for n in (1, 2, 5, 10, 20)],
    "rows": [Case("", 2, 48, slots=2, rows=n) for n in (10, 25, 50, 100)],
    "batch": [Case("", 2, 48, slots=2, batch=n) for n in (1, 2, 4, 8)],
    "words": [Case("", 2, n, slots=2, tokens=n) for n in (4, 24, 48, 200)],
}


def sized(kind: str, size: str) -> ModelConfig:
    """pi0 or pi05 at a size: "full"; "quarter" of every width (186 M with 32,000 words); "small", 6 layers of that; "tiny"."""
    full = {"pi0": configs.pi0, "pi05": configs.pi05}[kind]()
    if size == "full":
        return full
    width, depth, heads, px = {
        "quarter": (512, 18, 8, 224),
        "small": (512, 6, 8, 224),
        "tiny": (64, 2, 4, 56),
    }[size]
    geometry = {"depth": depth, "heads": heads, "kv_heads": 1, "head_dim": width // heads}
    eyes = width * 9 // 16
    return replace(
        full,
        name=f"{kind}-{size}",
        vocab=32_000 if width > 64 else 500,
        language=GemmaConfig(width=width, mlp=8 * width, **geometry),
        vision=SiglipConfig(px, 14, eyes, max(depth * 3 // 2, 2), eyes * 15 // 4, 4),
        flow=replace(full.flow, expert=GemmaConfig(width=width // 2, mlp=2 * width, **geometry)),
    )


def random_model(config: ModelConfig, dtype: torch.dtype, device: str) -> VLA:
    """config with torch's own random weights, made in place; norms and places random too, so that they matter."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = network(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "position" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def random_inputs(config: ModelConfig, case: Case, device: str) -> Inputs:
    """An observation as case says, the same for everybody."""
    generator = torch.Generator().manual_seed(1)
    b, px = case.batch, config.vision.image_px
    text = torch.zeros(b, case.tokens, dtype=torch.long)
    text[:, : case.words] = torch.randint(1, config.vocab, (b, case.words), generator=generator)
    valid = torch.zeros(b, case.slots, dtype=torch.bool)
    valid[:, : case.cameras] = True
    images = torch.rand(b, case.slots, 3, px, px, generator=generator) * 2 - 1
    images[~valid] = -1.0
    state = torch.randn(b, config.state_dim, generator=generator)
    noise = torch.randn(b, case.rows, config.action_dim, generator=generator)
    return Inputs(*(x.to(device) for x in (images, valid, text, state, noise)))


def with_rows(config: ModelConfig, rows: int) -> ModelConfig:
    """config with another length of chunk; its weights are the same."""
    return replace(config, flow=replace(config.flow, rows=rows))


def plain(model: VLA) -> Run:
    """The plain networks, all slots of the contract computed and masked."""
    dtype = model.embed_tokens.weight.dtype

    def run(inputs: Inputs, steps: int) -> Tensor:
        b, c = inputs.camera_valid.shape
        features = model.vision(inputs.images.flatten(0, 1).to(dtype))
        tokens = features.unflatten(0, (b, c)).flatten(1, 2)
        state, noise = inputs.state.to(dtype), inputs.noise.to(dtype)
        valid = inputs.camera_valid.repeat_interleave(features.shape[1], 1)
        prefix = model.prefix(tokens, inputs.text, state, valid)
        return flow.integrate(lambda x, t: model.flow(prefix, state, x, t), noise, steps)

    return run


def fast(engine: Engine) -> Run:
    """The engine's one call."""

    def run(inputs: Inputs, steps: int) -> Tensor:
        return engine.sample(
            inputs.images,
            inputs.camera_valid,
            inputs.text,
            inputs.state,
            inputs.noise,
            steps=steps,
        )

    return run


def without_gaps(run: Run) -> Run:
    """run given only the cameras and words that are there (the same for the whole batch)."""

    def compact(inputs: Inputs, steps: int) -> Tensor:
        cameras, words = inputs.camera_valid[0], inputs.text[0] != 0
        there = replace(
            inputs,
            images=inputs.images[:, cameras],
            camera_valid=inputs.camera_valid[:, cameras],
            text=inputs.text[:, words],
        )
        return run(there, steps)

    return compact


def ladder(model: VLA, precision: str) -> dict[str, Run]:
    """From the plain networks to the engine, one kind of saving after another."""
    with patch.object(build, "can_pack", return_value=False):
        folded = compile_engine(model, precision=precision)
    return {
        "plain": plain(model),
        "gaps dropped": without_gaps(plain(model)),
        "folded and static": fast(folded),
        "packed and fused": fast(compile_engine(model, precision=precision)),
        "in bfloat16": fast(compile_engine(model, precision="bfloat16")),
    }


def stage_runs(engine: Engine, inputs: Inputs, steps: int) -> dict[str, Callable[[], object]]:
    """vision, prefix and actions of the engine by themselves, for an observation without gaps; as graphs on a GPU."""
    images = inputs.images.flatten(0, 1)
    b = len(inputs.state)

    features = engine.vision(images).unflatten(0, (b, -1)).flatten(1, 2)
    filled = engine.prefix(features, inputs.text, inputs.state)

    def prefix(features: Tensor) -> Tensor:
        return engine.prefix_without_gaps(features, inputs.text, inputs.state).cache.keys

    def actions(noise: Tensor) -> Tensor:
        return engine.integrate(filled, noise, steps, "euler")

    stages = {
        "vision": (engine.vision, images),
        "prefix": (prefix, features),
        "actions": (actions, inputs.noise),
    }
    return {
        name: partial(Graphs(function) if images.is_cuda else function, given)
        for name, (function, given) in stages.items()
    }


def of_rows(engine: Engine, rows: int) -> Engine:
    """engine for chunks of another length."""
    changed = replace(engine, config=with_rows(engine.config, rows), chunk=None)
    return (
        changed if engine.chunk is None else replace(changed, chunk=Graphs(changed.without_gaps))
    )
