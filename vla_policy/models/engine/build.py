"""compile_engine: a plain model in, an Engine out."""

from dataclasses import replace

import torch

from vla_policy.models.engine import choose
from vla_policy.models.engine.engine import Engine
from vla_policy.models.engine.fold import fold_head, fold_stack
from vla_policy.models.engine.graph import Graphs
from vla_policy.models.engine.linear import Prepare, can_pack, packed, plain, scaled8
from vla_policy.models.engine.vision import Vision, fold_vision
from vla_policy.models.pointing import PointingTower
from vla_policy.models.siglip import Siglip
from vla_policy.models.vla import VLA

# Size of a weight below which a packed product is slower than a plain one: 10 us more per call.
SMALL = 100_000
# Parameters above which a model is released: memory holds it once.
RELEASED = 1_000_000_000


@torch.no_grad()
def compile_engine(
    model: VLA,
    *,
    precision: str = "auto",
    float8: bool = False,
    capture: bool | None = None,
    release: bool = False,
) -> Engine:
    """The engine of model, on the model's device; the model is not changed, unless release.

    precision: "auto" (choose.precision), "float32" or "bfloat16". float8: products of vision and
    prefix in float8 e4m3, on a GPU, not exact. capture: one CUDA graph per shape; None: on a GPU.
    release: free the model's weights as they are folded, so that memory holds them once; the model
    itself cannot run afterwards.
    Raises ValueError for a model without a flow head, or with stacks unknown to the engine.
    """
    config = model.config
    if model.flow is None:
        raise ValueError(f"{config.name}: the engine runs flow heads, and this model has none")
    if config.language.gemma2 is not None:
        raise ValueError(f"{config.name}: the engine does not run Gemma 2 stacks")
    device = model.embed_tokens.weight.device
    on_gpu = device.type == "cuda"
    capture = on_gpu if capture is None else capture
    if capture and not on_gpu:
        raise ValueError(f"capture: got a model on {device}, expected one on a GPU")
    if float8 and not on_gpu:
        raise ValueError(f"float8: got a model on {device}, expected one on a GPU")
    own = model.language.layers[0].mlp.up_proj.weight.dtype
    parameters = sum(p.numel() for p in model.parameters())
    dtype = choose.precision(precision, own=own, parameters=parameters, device=device)
    scores = choose.attention(dtype, device)
    prepare = _prepare(dtype, device)
    wide = scaled8(device) if float8 else prepare
    projections = _prepare(model.flow.action_in_proj.weight.dtype, device)
    head = fold_head(model.flow, prepare, projections, dtype, release=release)
    vision: Vision | PointingTower
    if isinstance(model.vision, Siglip):
        first = plain(model.vision.patch_embedding.weight.dtype, device)
        vision = fold_vision(model.vision, wide, first, (dtype, scores), release=release)
    else:
        vision = model.vision
    engine = Engine(
        config=config,
        dtype=dtype,
        vision=vision,
        projector=prepare(model.projector.weight, model.projector.bias),
        words=model.embed_tokens.weight.detach(),
        state=prepare(model.state_proj.weight, model.state_proj.bias)
        if config.state_token == "prefix"
        else None,
        language=fold_stack(model.language, wide, cache_only=True, release=release),
        head=head,
        cache_dtype=scores,
        conditions={},
        prepared={},
        chunk=None,
        slots=None if (slots := model.slots()) is None else slots.to(dtype),
    )
    return replace(engine, chunk=Graphs(engine.without_gaps)) if capture else engine


def engine_for(model: VLA, precision: str = "auto") -> Engine | None:
    """compile_engine for a model that runs faster with it; None for others.

    Models above a billion parameters are released: memory holds them once.
    """
    if model.flow is None or model.config.language.gemma2 is not None:
        return None
    parameters = sum(p.numel() for p in model.parameters())
    return compile_engine(model, precision=precision, release=parameters > RELEASED)


def _prepare(dtype: torch.dtype, device: torch.device) -> Prepare:
    """oneDNN's layout if available and faster, else torch's own product."""
    if device.type != "cpu" or not can_pack(dtype):
        return plain(dtype, device)
    large, small = packed(dtype), plain(dtype, device)
    return lambda weight, *rest: (large if weight.numel() >= SMALL else small)(weight, *rest)
