"""Names and sizes of SmolVLA tensors in lerobot folders, and in this project's.

Everything stands under `model.` there (`model._orig_mod.` where torch.compile was on). The language model's output
layer is in the file and never read.
Source: lerobot 0.4.4 (policies/smolvla).
"""

import re
from collections.abc import Mapping

from ..models.config import SiglipConfig
from ..models.llama import LlamaConfig
from ..models.smolvla import SmolFlowConfig, SmolVlaConfig
from .pi0_tensors import Named
from .policy_file import Heads
from .store import Store

PREFIXES = ("model.", "_orig_mod.")
VLM = "vlm_with_expert.vlm.model."
UNREAD = "vlm_with_expert.vlm.lm_head.weight"
# Statistics among the weights: how lerobot wrote folders before it had processor files.
OLD_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")

# (theirs, ours): starts of names, used in both directions.
STEMS = (
    (VLM + "vision_model.embeddings.position_embedding.weight", "vision.position_embedding"),
    (VLM + "vision_model.embeddings.patch_embedding.", "vision.patch_embedding."),
    (VLM + "vision_model.encoder.layers.", "vision.layers."),
    (VLM + "vision_model.post_layernorm.", "vision.post_layernorm."),
    (VLM + "connector.modality_projection.proj.", "connector."),
    (VLM + "text_model.embed_tokens.", "embed_tokens."),
    (VLM + "text_model.", "language."),
    ("vlm_with_expert.lm_expert.", "flow.expert."),
    ("action_", "flow.action_"),
)
HEAD_DIM = 64  # of every SmolLM2
VISION_HEADS = {768: 12, 1152: 16}  # width of SigLIP -> heads


def canonical(name: str) -> str:
    """The name without lerobot's prefixes."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def ours(name: str) -> str:
    """Key of this project's model for a canonical name; unknown names stay as they are."""
    for theirs, mine in STEMS:
        if name.startswith(theirs):
            name = mine + name[len(theirs) :]
            break
    return re.sub(r"^(vision\.layers\.\d+)\.mlp\.fc", r"\1.fc", name)


def theirs(key: str) -> str:
    """Inverse of ours: the canonical name of a key of the model."""
    key = re.sub(r"^(vision\.layers\.\d+)\.fc", r"\1.mlp.fc", key)
    for name, mine in STEMS:
        if key.startswith(mine):
            return name + key[len(mine) :]
    return key


def name_tensors(store: Store) -> Named:
    """Match the names of a lerobot store. Raises ValueError if statistics are among the weights."""
    old = [name for name in store.entries if name.startswith(OLD_STATISTICS)]
    if old:
        raise ValueError(
            f"{store.folder}: {len(old)} statistics are among the weights ({old[0]}): a folder of lerobot before "
            "0.4; rewrite it with lerobot's src/lerobot/processor/migrate_policy_normalization.py"
        )
    by_name = {canonical(name): name for name in store.entries}
    unread = {by_name[UNREAD]} & set(store.entries) if UNREAD in by_name else set()
    names = {ours(name): found for name, found in by_name.items() if found not in unread}
    return Named(names, frozenset(unread))


def sizes(
    store: Store,
    named: Named,
    *,
    rows: int,
    steps: int,
    max_text: int,
    joint_every: int,
    heads: Heads | None,
) -> SmolVlaConfig:
    """The model's sizes from its tensors; head counts from heads, or by the 64 numbers a head of SmolLM2 has.

    Raises ValueError if a tensor that tells a size is missing, or if the head counts do not fit.
    """
    shapes = {key: store.entries[name].shape for key, name in named.names.items()}

    def shape(key: str) -> tuple[int, ...]:
        if key not in shapes:
            raise ValueError(f"{store.folder}: the weights have no {theirs(key)}")
        return shapes[key]

    q, k = (shape(f"language.layers.0.self_attn.{name}_proj.weight")[0] for name in ("q", "k"))
    heads = heads or _published_heads(q, k, shape("vision.patch_embedding.weight")[0], store)
    if q % heads.language or k % heads.kv or q // heads.language != k // heads.kv:
        raise ValueError(
            f"{store.folder}: {heads.language} query and {heads.kv} key heads do not fit q_proj with {q} and k_proj "
            f"with {k} rows; say the real numbers as `heads` in the policy file"
        )

    def llama(stem: str) -> LlamaConfig:
        mlp, width = shape(f"{stem}layers.0.mlp.gate_proj.weight")
        return LlamaConfig(
            width, _depth(shapes, f"{stem}layers.", store), mlp, heads.language, heads.kv, q // heads.language
        )  # fmt: skip

    width, _, patch, _ = shape("vision.patch_embedding.weight")
    side, shuffle = (
        round(n**0.5)
        for n in (shape("vision.position_embedding")[0], shape("connector.weight")[1] // width)
    )
    return SmolVlaConfig(
        name="smolvla",
        vocab=shape("embed_tokens.weight")[0],
        vision=SiglipConfig(
            image_px=side * patch, patch_px=patch, width=width, depth=_depth(shapes, "vision.layers.", store),
            mlp=shape("vision.layers.0.fc1.weight")[0], heads=heads.vision,
        ),
        shuffle=shuffle,
        language=llama("language."),
        flow=SmolFlowConfig(llama("flow.expert."), joint_every, rows, steps),
        state_dim=shape("state_proj.weight")[1],
        action_dim=shape("flow.action_in_proj.weight")[1],
        max_text=max_text,
    )  # fmt: skip


def _published_heads(q: int, k: int, vision: int, store: Store) -> Heads:
    if q % HEAD_DIM or k % HEAD_DIM or vision not in VISION_HEADS:
        raise ValueError(
            f"{store.folder}: not a published size (q_proj {q}, k_proj {k} rows, vision {vision} wide); "
            "say the head counts as `heads` in the policy file"
        )
    return Heads(language=q // HEAD_DIM, kv=k // HEAD_DIM, vision=VISION_HEADS[vision])


def _depth(shapes: Mapping[str, tuple[int, ...]], stem: str, store: Store) -> int:
    found = {int(k[len(stem) :].split(".")[0]) for k in shapes if k.startswith(stem)}
    if found != set(range(len(found))) or not found:
        raise ValueError(
            f"{store.folder}: {theirs(stem)}: got layers {sorted(found)}, expected 0, 1, 2, ..."
        )
    return len(found)
