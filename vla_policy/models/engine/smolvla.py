"""SmolVLA with every product prepared once for its device: the same module, other matrices.

The plain network already omits what need not be computed (absent cameras, padding, the last
layer's output, the odd layers' keys and values in every step).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vla_policy.models.engine import choose
from vla_policy.models.engine.linear import Linear, Prepare, can_pack, packed, plain
from vla_policy.models.engine.vision import fold_vision
from vla_policy.models.smolvla import SmolVla


class Product(nn.Module):
    """A prepared product where a network has an nn.Linear."""

    def __init__(self, product: Linear) -> None:
        super().__init__()
        self.product = product

    @property
    def weight(self) -> Tensor:
        """In its device's layout: read its dtype, not its values."""
        return self.product.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


@torch.no_grad()
def compile_smolvla(model: SmolVla, *, precision: str = "auto") -> SmolVla:
    """A copy of model on prepared products; model is not changed.

    precision: "auto" (choose.precision), "float32" or "bfloat16"; the projections of actions and
    time keep theirs.
    Raises ValueError for an unknown precision.
    """
    device = model.embed_tokens.weight.device
    own = model.language.layers[0].mlp.up_proj.weight.dtype
    parameters = sum(p.numel() for p in model.parameters())
    dtype = choose.precision(precision, own=own, parameters=parameters, device=device)

    def prepare(rows: int, dtype: torch.dtype = dtype) -> Prepare:
        packable = device.type == "cpu" and can_pack(dtype)
        return packed(dtype, rows) if packable else plain(dtype, device)

    def prepared(module: nn.Module, rows: int) -> nn.Module:
        return _twin(module, dtype, lambda x: prepare(rows)(x.weight, x.bias))

    flow = copy.copy(model.flow)
    flow._modules = {
        name: Product(prepare(64, part.weight.dtype)(part.weight, part.bias))
        if isinstance(part, nn.Linear)
        else prepared(part, 64)
        for name, part in model.flow.named_children()
    }
    twin = copy.copy(model)
    twin._modules = {
        "connector": prepared(model.connector, 128),
        "embed_tokens": prepared(model.embed_tokens, 1),
        "language": prepared(model.language, 128),
        "state_proj": prepared(model.state_proj, 1),
        "flow": flow,
    }
    first = plain(model.vision.patch_embedding.weight.dtype, device)
    scores = choose.attention(dtype, device)
    twin.vision = fold_vision(model.vision, prepare(1024), first, (dtype, scores))
    return twin


def engine_for_smolvla(model: SmolVla, precision: str = "auto") -> SmolVla | None:
    """compile_smolvla for a model that runs faster with it, a large one on a CPU; else None."""
    gains = sum(p.numel() for p in model.parameters()) >= choose.LARGE
    on_cpu = model.embed_tokens.weight.device.type == "cpu"
    return compile_smolvla(model, precision=precision) if gains and on_cpu else None


def _twin(
    module: nn.Module, dtype: torch.dtype, product: Callable[[nn.Linear], Linear]
) -> nn.Module:
    """module in dtype with products for its linear layers; unchanged parts share its memory."""
    if isinstance(module, nn.Linear):
        return Product(product(module))
    twin = copy.copy(module)
    twin._parameters = {
        name: None if p is None else nn.Parameter(p.detach().to(dtype), requires_grad=False)
        for name, p in module._parameters.items()
    }
    twin._modules = {
        name: None if m is None else _twin(m, dtype, product)
        for name, m in module._modules.items()
    }
    return twin
