"""PaliGemma and PaliGemma 2 at their published sizes, as the models that RT-2 turns into policies.

Source: PaliGemma (arXiv:2407.07726), PaliGemma 2 (arXiv:2412.03555), RT-2 (arXiv:2307.15818),
which used PaLI-X (5B, 55B) and PaLM-E (12B). The language model gets the projector's image
features unscaled, and text embeddings times the root of the width, in PaliGemma as in pi0 (older
`transformers` divide the image by that root and multiply everything by it, which is the same).
"""

from collections.abc import Iterable

from vla_policy.models.config import (
    Gemma2Config,
    GemmaConfig,
    ModelConfig,
    SiglipConfig,
    TokenHeadConfig,
)
from vla_policy.models.text import TextTokenizer

# 257,152 tokens and a reserve; 1024 <loc....> and 128 <seg...> are the last of them.
VOCAB = 257_216
BINS = 256

LANGUAGE = {
    "rt2-paligemma-3b": GemmaConfig(2048, 18, 16_384, heads=8, kv_heads=1, head_dim=256),
    "rt2-paligemma2-3b": GemmaConfig(2304, 26, 9216, 8, 4, 256, Gemma2Config(query_scalar=256)),
    "rt2-paligemma2-10b": GemmaConfig(3584, 42, 14_336, 16, 8, 256, Gemma2Config(256)),
    "rt2-paligemma2-28b": GemmaConfig(4608, 46, 36_864, 32, 16, 128, Gemma2Config(144)),
}


def rt2(name: str, *, image_px: int = 224) -> ModelConfig:
    """One of LANGUAGE's sizes with So400m/14 vision and a token head of one row.

    Raises KeyError.
    """
    vision = SiglipConfig(image_px, patch_px=14, width=1152, depth=27, mlp=4304, heads=16)
    return of_parts(name, LANGUAGE[name], vision, vocab=VOCAB)


def of_parts(
    name: str,
    language: GemmaConfig,
    vision: SiglipConfig,
    *,
    vocab: int,
    cameras: int = 1,
    rows: int = 1,
) -> ModelConfig:
    """A PaliGemma of any size that writes actions; like RT-2 it does not read the state."""
    return ModelConfig(
        name=name,
        vocab=vocab,
        language=language,
        vision=vision,
        cameras=cameras,
        state_dim=0,
        action_dim=8,
        state_token="none",
        max_text=128,
        flow=None,
        token=TokenHeadConfig(bins=BINS, rows=rows, temperature=0.0),
    )


def choose_action_ids(
    tokenizer: TextTokenizer, rule: str = "rare", count: int = BINS
) -> tuple[int, ...]:
    """The ids that become actions, bin 0 first. RT-2 overwrites the least frequent tokens (3.2).

    rule: "rare" takes the highest ids of the ordinary vocabulary, where sentencepiece puts the
    least frequent tokens; <loc....> and <seg...> keep their meaning. "loc" takes the last
    <loc....>, for a model that need not point any more.
    Raises ValueError for another rule or too few such tokens.
    """
    places = _ids(tokenizer, (f"<loc{i:04d}>" for i in range(1024)))
    if rule == "rare":
        names = ("<image>", *(f"<seg{i:03d}>" for i in range(128)))
        unused = (f"<unused{i}>" for i in range(100))
        never = {0, tokenizer.bos, tokenizer.eos, *places, *_ids(tokenizer, (*names, *unused))}
        ids = [i for i in range(tokenizer.size) if i not in never]
    elif rule == "loc":
        ids = places
    else:
        raise ValueError(f"rule of the action tokens: got {rule!r}, expected rare or loc")
    if len(ids) < count:
        raise ValueError(
            f"{tokenizer.source}: {len(ids)} {rule} tokens, expected at least {count}"
        )
    return tuple(ids[-count:])


def _ids(tokenizer: TextTokenizer, names: Iterable[str]) -> list[int]:
    """The ids of those names that are tokens."""
    found = (tokenizer.token_id(name) for name in names)
    return [i for i in found if i is not None]
