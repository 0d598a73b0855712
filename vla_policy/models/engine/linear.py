"""y = x W^T + b, prepared once for the device that will run it.

    Plain     any device: torch's own product
    Packed    CPU: oneDNN with the weight in its blocked layout, the activation or the sum done in the same pass
    Scaled8   GPU: float8 e4m3 product, one scale per row of x and of W (not exact: about 2 digits)

All three have the same four methods, so callers need not know which one they have.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.engine import kernels

FLOAT8_MAX = 448.0  # largest float8 e4m3 number
# Rows of x that oneDNN optimises a layout for: 1 to 816 run as fast with this as with their own.
ROWS = 512
# Numbers of a weight that are folded at a time.
BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Plain:
    """torch's own product."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """gelu(y), the tanh form."""
        return F.gelu(self(x), approximate="tanh")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """y * other."""
        return self(x) * other

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """y + other."""
        if self.bias is not None:
            return self(x) + other
        rows = torch.addmm(other.flatten(0, -2), x.flatten(0, -2), self.weight.t())
        return rows.view(other.shape)


@dataclass(frozen=True, slots=True)
class Packed:
    """oneDNN's product; weight is in its blocked layout."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return self._with("none", x)

    def gelu(self, x: Tensor) -> Tensor:
        return self._with("gelu", x, "tanh")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        return self._and("mul", x, other)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self._and("add", x, other)

    def _with(self, activation: str, x: Tensor, form: str = "") -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, activation, [], form
        )
        return y

    def _and(self, operation: str, x: Tensor, other: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self.weight, self.bias, operation
        )
        return y


@dataclass(frozen=True, slots=True)
class Scaled8:
    """float8 product. weight: float8[n, k]; scale: float32[1, n], one per output."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        rows, scale = _to_float8(x.flatten(0, -2))
        y = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, out_dtype=torch.bfloat16
        )
        y = y if self.bias is None else y + self.bias
        shaped: Tensor = y.unflatten(0, x.shape[:-1]).to(x.dtype)
        return shaped

    def gelu(self, x: Tensor) -> Tensor:
        return F.gelu(self(x), approximate="tanh")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x) * other

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x) + other


Linear = Plain | Packed | Scaled8


@dataclass(frozen=True, slots=True)
class Gated:
    """gelu(gate(x)) * up(x), activation and multiplication fused into the two products."""

    gate: Linear
    up: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return self.up.times(x, self.gate.gelu(x))


@dataclass(frozen=True, slots=True)
class Joined:
    """The same with both matrices in one product, for products that cannot fuse it."""

    both: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return kernels.gated_gelu(self.both(x))


# (weight, bias, gain=None) -> product; gain: of the preceding norm, folded into weight's columns.
Prepare = Callable[..., Linear]


def gated(
    gate: Tensor,
    up: Tensor,
    prepare: Prepare,
    gain: Tensor | None = None,
    done: Callable[[], None] = lambda: None,
) -> Gated | Joined:
    """The gated layer of both weights, in prepare's fastest form.

    done: called once gate is unused.
    """
    first = prepare(gate, None, gain)
    if isinstance(first, Packed):
        del gate
        done()
        return Gated(first, prepare(up, None, gain))
    return Joined(prepare(torch.cat((gate, up)), None, gain))


def scaled(weight: Tensor, gain: Tensor | None, dtype: torch.dtype) -> Tensor:
    """weight in dtype, its columns times gain: in float32, in parts, never twice in memory."""
    if gain is None:
        return weight.to(dtype)
    out = torch.empty_like(weight, dtype=dtype)
    rows = max(BLOCK // weight.shape[1], 1)
    for own, into in zip(weight.split(rows), out.split(rows), strict=True):
        into.copy_(own.float() * gain)
    return out


def plain(dtype: torch.dtype, device: torch.device) -> Prepare:
    """Preparer of Plain products in dtype on device."""

    def prepare(weight: Tensor, bias: Tensor | None, gain: Tensor | None = None) -> Plain:
        return Plain(
            scaled(weight.to(device), gain, dtype).contiguous(),
            None if bias is None else bias.to(device, dtype),
        )

    return prepare


def packed(dtype: torch.dtype, rows: int = ROWS) -> Prepare:
    """Preparer of Packed products in dtype, laid out for about that many rows of x."""

    def prepare(weight: Tensor, bias: Tensor | None, gain: Tensor | None = None) -> Packed:
        blocked = torch.ops.mkldnn._reorder_linear_weight(
            scaled(weight.to("cpu"), gain, dtype).contiguous(), rows
        )
        return Packed(blocked, None if bias is None else bias.to("cpu", dtype))

    return prepare


def scaled8(device: torch.device) -> Prepare:
    """Preparer of float8 products; a matrix whose sides are not multiples of 16 stays bfloat16."""

    def prepare(weight: Tensor, bias: Tensor | None, gain: Tensor | None = None) -> Linear:
        if weight.shape[0] % 16 or weight.shape[1] % 16:
            return plain(torch.bfloat16, device)(weight, bias, gain)
        rows, scale = _to_float8(scaled(weight.to(device), gain, torch.float32))
        return Scaled8(rows, scale.t().contiguous(), None if bias is None else bias.to(device))

    return prepare


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this CPU and this torch have oneDNN's packed product in dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def _to_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """x[m, k] as float8 and the float32[m, 1] that scales it back."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / FLOAT8_MAX
    return (x / scale).to(torch.float8_e4m3fn), scale
