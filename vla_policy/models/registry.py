"""Every architecture by name: its sizes, and the network that has them."""

from collections.abc import Callable

from torch import nn

from vla_policy.models import config, openvla, paligemma, smolvla
from vla_policy.models.config import ModelConfig
from vla_policy.models.openvla import OpenVla, OpenVlaConfig
from vla_policy.models.smolvla import SmolVla, SmolVlaConfig
from vla_policy.models.vla import VLA

Config = ModelConfig | OpenVlaConfig | SmolVlaConfig

TINY_VOCAB = 388  # of the tokenizer beside the shipped weights

CONFIGS: dict[str, Callable[[], Config]] = {
    "tiny": lambda: config.tiny(TINY_VOCAB),
    "tiny_cross": lambda: config.tiny_cross(TINY_VOCAB),
    "pi0": config.pi0,
    "pi05": config.pi05,
    "smolvla-450m": smolvla.smolvla_450m,
    "openvla-7b": openvla.openvla_7b,
    **{name: (lambda n=name: paligemma.rt2(n)) for name in paligemma.LANGUAGE},
}

NETWORKS: dict[type, Callable[..., nn.Module]] = {
    ModelConfig: VLA,
    OpenVlaConfig: OpenVla,
    SmolVlaConfig: SmolVla,
}


def network(sizes: Config) -> nn.Module:
    """The network of sizes, untrained, on torch's default device."""
    return NETWORKS[type(sizes)](sizes)
