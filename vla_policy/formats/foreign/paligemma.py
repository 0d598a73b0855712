"""A PaliGemma or PaliGemma 2 folder of `transformers`: sizes, weights, tokenizer.

Three layouts of the same names exist and all are read: hub files, also written by
`save_pretrained` (`language_model.model.layers`), 4.52 and later in memory
(`model.language_model.layers`), and 5.x in memory, whose vision tower has no inner
`vision_model`. Output and input embedding are tied: files hold either or both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vla_policy.formats.foreign.common import build
from vla_policy.formats.foreign.config_agreement import require_paligemma
from vla_policy.formats.tensors.naming import Named
from vla_policy.formats.tensors.safetensors_file import chunks
from vla_policy.formats.tensors.store import Store, open_store
from vla_policy.models.config import Gemma2Config, GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.paligemma import LANGUAGE, of_parts
from vla_policy.models.text import TextTokenizer, find_tokenizer, load_text_tokenizer
from vla_policy.models.vla import VLA
from vla_policy.parsing.json_document import read_json

EMBEDDING, OUTPUT = "embed_tokens.weight", "lm_head.weight"
RENAMED = (
    ("model.", ""),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "language_model."),
    ("language_model.embed_tokens.", "embed_tokens."),
    ("language_model.", "language."),
    ("vision_tower.vision_model.", "vision_tower."),
    ("vision_tower.embeddings.position_embedding.weight", "vision.position_embedding"),
    ("vision_tower.embeddings.", "vision."),
    ("vision_tower.encoder.", "vision."),
    ("vision_tower.", "vision."),
    ("multi_modal_projector.linear.", "projector."),
)


def load(
    folder: Path,
    *,
    cameras: int,
    rows: int,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
) -> tuple[VLA, TextTokenizer]:
    """The network, whose token head has no action ids yet, and its tokenizer.

    tokenizer: a tokenizer.json or tokenizer.model elsewhere, since PaliGemma's own is licensed.
    Raises FileNotFoundError or ValueError naming what is missing or does not match.
    """
    header = read_json(folder / "config.json")
    if header.get("model_type") != "paligemma":
        raise ValueError(
            f"{folder}/config.json: model_type is {header.get('model_type')!r}, expected 'paligemma'"
        )
    path = tokenizer or find_tokenizer(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder}: no tokenizer: PaliGemma's is behind Google's licence; download tokenizer.json or "
            "tokenizer.model with the weights, or name one"
        )
    words = load_text_tokenizer(path)
    if words.bos is None or words.eos is None:
        raise ValueError(f"{path}: no <bos> or no <eos>, expected PaliGemma's tokenizer")
    store = open_store(folder)
    named = name_tensors(store)
    config = sizes(store, named, header, cameras=cameras, rows=rows)
    require_paligemma(header, config, folder / "config.json")
    return build(store, named, config, device=device, dtype=dtype, network=VLA), words


def ours(name: str) -> str:
    """This project's name for a name in any of the three layouts."""
    for theirs, mine in RENAMED:
        if name.startswith(theirs):
            name = mine + name[len(theirs) :]
    return name.replace(".mlp.fc", ".fc") if name.startswith("vision.") else name


def name_tensors(store: Store) -> Named:
    """Match the names of store.

    Raises ValueError for duplicates, or an untied output embedding.
    """
    names: dict[str, str] = {}
    for name in store.entries:
        other = names.setdefault(ours(name), name)
        if other != name:
            raise ValueError(
                f"{store.folder}: {other} and {name} are the same tensor in two layouts"
            )
    unread: set[str] = set()
    if OUTPUT in names:
        output = names.pop(OUTPUT)
        if names.setdefault(EMBEDDING, output) != output:
            unread.add(output)
            a, b = store.entries[names[EMBEDDING]], store.entries[output]
            pairs = zip(chunks(a), chunks(b), strict=True)
            if a.shape != b.shape or a.dtype != b.dtype or any(x != y for x, y in pairs):
                raise ValueError(
                    f"{store.folder}: {output} differs from the embedding, expected one matrix"
                )
    return Named(names, frozenset(unread))


def sizes(
    store: Store, named: Named, header: dict[str, Any], *, cameras: int, rows: int
) -> ModelConfig:
    """The config matching the tensors; head counts and sizes without weights come from header."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in named.names:
            raise ValueError(f"{store.folder}: no {key} among {len(named.names)} tensors")
        return store.entries[named.names[key]].shape

    def depth(stack: str) -> int:
        start = f"{stack}.layers."
        layers = {int(k[len(start) :].split(".")[0]) for k in named.names if k.startswith(start)}
        return len(layers)

    language = _language(shape, depth("language"), header.get("text_config", {}), named, store)
    width, _, patch_px, _ = shape("vision.patch_embedding.weight")
    side = math.isqrt(shape("vision.position_embedding")[0])
    heads = header.get("vision_config", {}).get("num_attention_heads", 12)
    mlp = shape("vision.layers.0.fc1.weight")[0]
    eyes = SiglipConfig(side * patch_px, patch_px, width, depth("vision"), mlp, heads)
    known = [name for name, config in LANGUAGE.items() if config == language]
    return of_parts(
        known[0] if known else "rt2-paligemma", language, eyes,
        vocab=shape(EMBEDDING)[0], cameras=cameras, rows=rows,
    )  # fmt: skip


def _language(
    shape: Callable[[str], tuple[int, ...]],
    depth: int,
    text: dict[str, Any],
    named: Named,
    store: Store,
) -> GemmaConfig:
    first = "language.layers.0."
    head_dim = text.get("head_dim", 256)
    q, k = (shape(f"{first}self_attn.{n}_proj.weight") for n in "qk")
    heads = text.get("num_attention_heads", q[0] // head_dim)
    if heads * head_dim != q[0]:
        raise ValueError(
            f"{store.folder}: q_proj has {q[0]} rows, config.json says {heads} heads of {head_dim}"
        )
    second = f"{first}pre_feedforward_layernorm.weight" in named.names
    return GemmaConfig(
        width=q[1],
        depth=depth,
        mlp=shape(f"{first}mlp.gate_proj.weight")[0],
        heads=heads,
        kv_heads=k[0] // head_dim,
        head_dim=head_dim,
        gemma2=_gemma2(text, store.folder) if second else None,
    )


def _gemma2(text: dict[str, Any], folder: Path) -> Gemma2Config:
    # Missing keys of config.json have the defaults of transformers' Gemma2Config.
    values = {
        "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "sliding_window": 4096,
    }  # fmt: skip
    values = {key: text.get(key, default) for key, default in values.items()}
    if absent := [key for key, value in values.items() if value is None]:
        raise ValueError(f"{folder}/config.json: {', '.join(absent)} is null, expected a number")
    scalar, attention, final, window = values.values()
    return Gemma2Config(int(scalar), float(attention), float(final), int(window))
