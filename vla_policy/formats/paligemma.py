"""A PaliGemma or PaliGemma 2 folder of `transformers`: sizes, weights, tokenizer.

Three layouts of the same names exist and all are read: hub files and `transformers` before 4.52
(`language_model.model.layers`), 4.52 and later (`model.language_model.layers`), and 5.x, whose vision tower has no
inner `vision_model`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..models import tokenizer as tokenizers
from ..models.config import Gemma2Config, GemmaConfig, ModelConfig, SiglipConfig
from ..models.paligemma import LANGUAGE, of_parts
from ..models.vla import VLA
from . import sharded

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


@dataclass(frozen=True, slots=True)
class PaliGemma:
    """model: without action tokens yet, its token head set to one row."""

    model: VLA
    tokenizer: Tokenizer


def is_paligemma(config: dict[str, Any]) -> bool:
    """Whether a config.json is of such a folder."""
    return config.get("model_type") == "paligemma"


def load(
    folder: Path, *, cameras: int, rows: int, device: str = "cpu", tokenizer: Path | None = None
) -> PaliGemma:
    """Read folder. tokenizer: a tokenizer.json elsewhere, as PaliGemma's own is behind a licence.

    Raises FileNotFoundError or ValueError that says what is missing or does not fit.
    """
    header = sharded.read_json(folder / "config.json")
    if not is_paligemma(header):
        raise ValueError(
            f"{folder}/config.json: model_type is {header.get('model_type')!r}, expected 'paligemma'"
        )
    path = folder / "tokenizer.json" if tokenizer is None else tokenizer
    if not path.is_file():
        raise FileNotFoundError(
            f"no tokenizer at {path}: PaliGemma's tokenizer.json is behind Google's licence; "
            "download it with the weights, or name one"
        )
    tensors = untie(sharded.read(folder, ours, device=device), folder)
    config = sizes(tensors, header, cameras=cameras, rows=rows, where=folder)
    model = sharded.on_meta(lambda: VLA(config))
    sharded.assign(model, tensors, folder)
    return PaliGemma(model, tokenizers.load(path))


def ours(key: str) -> str:
    """A key of any of the three layouts in this project's names."""
    for theirs, name in RENAMED:
        if key.startswith(theirs):
            key = name + key[len(theirs) :]
    return key.replace(".mlp.fc", ".fc") if key.startswith("vision.") else key


def untie(tensors: dict[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The same without lm_head, which is the embedding; files hold either or both.

    Raises ValueError if both are there and differ.
    """
    head = tensors.pop("lm_head.weight", None)
    embedding = tensors.setdefault("embed_tokens.weight", head)
    if embedding is None:
        raise ValueError(f"{where}: neither embed_tokens.weight nor lm_head.weight")
    if head is not None and head is not embedding and not torch.equal(head, embedding):
        raise ValueError(
            f"{where}: lm_head.weight differs from the embedding, expected one matrix"
        )
    return tensors


def sizes(
    tensors: dict[str, Tensor], header: dict[str, Any], *, cameras: int, rows: int, where: Path
) -> ModelConfig:
    """The config that tensors are of; head counts and what has no weights come from header."""
    text, vision = header.get("text_config", {}), header.get("vision_config", {})
    language = _language(tensors, text, where)
    patch = _weight(tensors, "vision.patch_embedding.weight", where)
    eyes = SiglipConfig(
        image_px=math.isqrt(len(_weight(tensors, "vision.position_embedding", where)))
        * patch.shape[-1],
        patch_px=patch.shape[-1],
        width=patch.shape[0],
        depth=_depth(tensors, "vision"),
        mlp=len(_weight(tensors, "vision.layers.0.fc1.weight", where)),
        heads=vision.get("num_attention_heads", 12),
    )
    known = [name for name, config in LANGUAGE.items() if config == language]
    return of_parts(
        known[0] if known else "rt2-paligemma", language, eyes,
        vocab=len(tensors["embed_tokens.weight"]), cameras=cameras, rows=rows,
    )  # fmt: skip


def _language(tensors: dict[str, Tensor], text: dict[str, Any], where: Path) -> GemmaConfig:
    first = "language.layers.0."
    head_dim = text.get("head_dim", 256)
    q, k = (_weight(tensors, f"{first}self_attn.{n}_proj.weight", where) for n in "qk")
    heads = len(q) // head_dim
    if heads != (named := text.get("num_attention_heads", heads)) or len(q) % head_dim:
        raise ValueError(
            f"{where}: q_proj has {len(q)} rows, config.json says {named} heads of {head_dim}"
        )
    second = f"{first}pre_feedforward_layernorm.weight" in tensors
    return GemmaConfig(
        width=q.shape[1],
        depth=_depth(tensors, "language"),
        mlp=len(_weight(tensors, f"{first}mlp.gate_proj.weight", where)),
        heads=heads,
        kv_heads=len(k) // head_dim,
        head_dim=head_dim,
        gemma2=_gemma2(text, where) if second else None,
    )


def _gemma2(text: dict[str, Any], where: Path) -> Gemma2Config:
    # What a config.json leaves out has the default of transformers' Gemma2Config.
    values = {
        "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "sliding_window": 4096,
    }  # fmt: skip
    values = {key: text.get(key, default) for key, default in values.items()}
    if absent := [key for key, value in values.items() if value is None]:
        raise ValueError(f"{where}/config.json: {', '.join(absent)} is null, expected a number")
    scalar, attention, final, window = values.values()
    return Gemma2Config(int(scalar), float(attention), float(final), int(window))


def _depth(tensors: dict[str, Tensor], stack: str) -> int:
    start = f"{stack}.layers."
    return 1 + max(
        (int(k[len(start) :].split(".")[0]) for k in tensors if k.startswith(start)), default=-1
    )


def _weight(tensors: dict[str, Tensor], key: str, where: Path) -> Tensor:
    if key not in tensors:
        raise ValueError(f"{where}: no {key} among {len(tensors)} tensors; not a PaliGemma")
    return tensors[key]
