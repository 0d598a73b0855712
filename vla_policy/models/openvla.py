"""OpenVLA: two vision towers, a projector and Llama 2 that writes one action as seven tokens.

    [BOS | image patches | rest of the prompt]  causal, then one action token after another over the cached keys

Source: OpenVLA (arXiv:2406.09246).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vla_policy.models.config import WHOLE
from vla_policy.models.gemma import LayerCache
from vla_policy.models.llama import Llama, LlamaConfig
from vla_policy.models.vit import Vit, VitConfig
from vla_policy.parsing.dataclass_json import require_sizes


@dataclass(frozen=True, slots=True)
class OpenVlaConfig:
    """vocab: rows of the embedding. action_vocab: action tokens are the last of the first action_vocab ids."""

    name: str
    dino: VitConfig
    siglip: VitConfig
    language: LlamaConfig
    vocab: int
    action_vocab: int
    action_dim: int = 7

    def __post_init__(self) -> None:
        require_sizes(self, {"vocab": WHOLE["vocab"], "action_dim": (1, 64)})
        if not 256 < self.action_vocab <= self.vocab:
            raise ValueError(
                f"action_vocab: got {self.action_vocab}, expected 257 .. vocab ({self.vocab})"
            )


def openvla_7b() -> OpenVlaConfig:
    """DINOv2-L/14 with four registers, SigLIP So400m/14 at 224 px, Llama 2 7B; vocabulary padded to 32064."""
    return OpenVlaConfig(
        name="openvla-7b",
        dino=VitConfig(
            image_px=224, patch_px=14, width=1024, depth=23, mlp=4096, heads=16, registers=4
        ),
        siglip=VitConfig(
            image_px=224, patch_px=14, width=1152, depth=26, mlp=4304, heads=16, registers=0
        ),
        language=LlamaConfig(
            width=4096, depth=32, mlp=11_008, heads=32, kv_heads=32, head_dim=128, eps=1e-6
        ),
        vocab=32_064,
        action_vocab=32_000,
    )


class FusedVision(nn.Module):
    """Both towers on the same image, features side by side, DINOv2 first."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        self.dino = Vit(config.dino)
        self.siglip = Vit(config.siglip)

    def forward(self, pixels: Float[Tensor, "b 6 h w"]) -> Float[Tensor, "b s f"]:
        """pixels: three channels normalised for DINOv2, then three for SigLIP."""
        return torch.cat((self.dino(pixels[:, :3]), self.siglip(pixels[:, 3:])), -1)


class Projector(nn.Module):
    """Three linear layers with exact GELU between them; the first widens four times."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, 4 * features)
        self.fc2 = nn.Linear(4 * features, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b s f"]) -> Float[Tensor, "b s e"]:
        x = self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(x)))))
        return x


class OpenVla(nn.Module):
    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.width
        self.vision = FusedVision(config)
        self.projector = Projector(config.dino.width + config.siglip.width, width)
        self.embed_tokens = nn.Embedding(config.vocab, width)
        self.language = Llama(config.language)
        self.lm_head = nn.Linear(width, config.vocab, bias=False)  # not tied

    def prompt(
        self, pixels: Float[Tensor, "b 6 h w"], text: Int[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b v"], list[LayerCache]]:
        """Logits of the first answer token, and the cache. text: ids that begin with BOS, none of them padding."""
        return self._run(self._embed(pixels, text), None)

    def states(
        self, pixels: Float[Tensor, "b 6 h w"], text: Int[Tensor, "b s"]
    ) -> Float[Tensor, "b s e"]:
        """lm_head's input after each token of text, which may be padded at its end (causal)."""
        x = self._embed(pixels, text)
        out, _ = self.language(x, *self._causal(x, 0), None)
        return torch.cat((out[:, :1], out[:, 1 + x.shape[1] - text.shape[1] :]), 1)

    def next(
        self, token: Int[Tensor, " b"], cache: list[LayerCache]
    ) -> tuple[Float[Tensor, "b v"], list[LayerCache]]:
        """Logits of the token after token, and the extended cache."""
        return self._run(self.embed_tokens(token[:, None]), cache)

    def _embed(self, pixels: Tensor, text: Tensor) -> Tensor:
        words = self.embed_tokens(text)
        patches = self.projector(self.vision(pixels)).to(words.dtype)
        return torch.cat((words[:, :1], patches, words[:, 1:]), 1)

    def _causal(self, x: Tensor, past: int) -> tuple[Tensor, Tensor | None]:
        """Positions after past tokens, and a mask if one is needed."""
        b, s, _ = x.shape
        mask = None
        if s > 1:
            mask = torch.ones(s, past + s, dtype=torch.bool, device=x.device).tril(past)
            mask = mask.expand(b, -1, -1)
        return torch.arange(past, past + s, device=x.device).expand(b, s), mask

    def _run(self, x: Tensor, cache: list[LayerCache] | None) -> tuple[Tensor, list[LayerCache]]:
        past = 0 if cache is None else cache[0][0].shape[2]
        out, cache = self.language(x, *self._causal(x, past), cache)
        return self.lm_head(out[:, -1]), cache


@torch.no_grad()
def write_action(
    model: OpenVla,
    pixels: Float[Tensor, "b 6 h w"],
    text: Int[Tensor, "b s"],
    *,
    constrained: bool,
) -> tuple[Int[Tensor, "b d"], Float[Tensor, "b d v"]]:
    """Most likely ids of one action, token by token, and the logits they were taken from.

    constrained: only the 256 action ids may be written. The published model is decoded without
    that; any other token in the answer then becomes an outermost bin.
    """
    first = model.config.action_vocab - 256
    logits, cache = model.prompt(pixels, text)
    ids: list[Tensor] = []
    seen = []
    for i in range(model.config.action_dim):
        if i:
            logits, cache = model.next(ids[-1], cache)
        seen.append(logits)
        if constrained:
            ids.append(logits[:, first : model.config.action_vocab].argmax(-1) + first)
        else:
            ids.append(logits.argmax(-1))
    return torch.stack(ids, 1), torch.stack(seen, 1)
