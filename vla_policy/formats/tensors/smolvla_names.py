"""Names and sizes of SmolVLA tensors in lerobot folders, and in this project's.

All names start with `model.` there (`model._orig_mod.` after torch.compile). The language model's
output layer is in the file and never read.
Source: lerobot 0.4.4 (policies/smolvla).
"""

from vla_policy.formats.fit import Heads
from vla_policy.formats.tensors.naming import Named, TensorNaming, require_heads, shapes_of
from vla_policy.formats.tensors.store import Store
from vla_policy.models.config import SiglipConfig
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.smolvla import SmolFlowConfig, SmolVlaConfig

VLM = "vlm_with_expert.vlm.model."
UNREAD = "vlm_with_expert.vlm.lm_head.weight"
# Statistics among the weights: lerobot's folders before it had processor files.
OLD_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")

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
NAMING = TensorNaming(STEMS, prefixes=("model.", "_orig_mod."))
HEAD_DIM = 64  # of every SmolLM2
VISION_HEADS = {768: 12, 1152: 16}  # width of SigLIP -> heads


def name_tensors(store: Store) -> Named:
    """Match the names of a lerobot store. Raises ValueError if statistics are among the weights."""
    old = [name for name in store.entries if name.startswith(OLD_STATISTICS)]
    if old:
        raise ValueError(
            f"{store.folder}: {len(old)} statistics are among the weights ({old[0]}): a folder of lerobot before "
            "0.4; rewrite it with lerobot's src/lerobot/processor/migrate_policy_normalization.py"
        )
    by_name = {NAMING.canonical(name): name for name in store.entries}
    unread = {by_name[UNREAD]} & set(store.entries) if UNREAD in by_name else set()
    names = {NAMING.ours(name): found for name, found in by_name.items() if found not in unread}
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
    """The model's sizes from its tensors; head counts from heads, or from SmolLM2's 64 per head.

    Raises ValueError if a tensor that determines a size is missing, or if head counts do not
    match.
    """
    shapes = shapes_of(store, named, NAMING.theirs)
    q, k = (shapes[f"language.layers.0.self_attn.{name}_proj.weight"][0] for name in "qk")
    heads = heads or _published_heads(q, k, shapes["vision.patch_embedding.weight"][0], store)
    require_heads(store, heads, q, k)

    def llama(stem: str) -> LlamaConfig:
        mlp, width = shapes[f"{stem}layers.0.mlp.gate_proj.weight"]
        return LlamaConfig(
            width, shapes.depth(f"{stem}layers."), mlp, heads.language, heads.kv, q // heads.language
        )  # fmt: skip

    width, _, patch, _ = shapes["vision.patch_embedding.weight"]
    side, shuffle = (
        round(n**0.5)
        for n in (shapes["vision.position_embedding"][0], shapes["connector.weight"][1] // width)
    )
    return SmolVlaConfig(
        name="smolvla",
        vocab=shapes["embed_tokens.weight"][0],
        vision=SiglipConfig(
            image_px=side * patch, patch_px=patch, width=width, depth=shapes.depth("vision.layers."),
            mlp=shapes["vision.layers.0.fc1.weight"][0], heads=heads.vision,
        ),
        shuffle=shuffle,
        language=llama("language."),
        flow=SmolFlowConfig(llama("flow.expert."), joint_every, rows, steps),
        state_dim=shapes["state_proj.weight"][1],
        action_dim=shapes["flow.action_in_proj.weight"][1],
        max_text=max_text,
    )  # fmt: skip


def _published_heads(q: int, k: int, vision: int, store: Store) -> Heads:
    if q % HEAD_DIM or k % HEAD_DIM or vision not in VISION_HEADS:
        raise ValueError(
            f"{store.folder}: not a published size (q_proj {q}, k_proj {k} rows, vision {vision} wide); "
            "say the head counts as `heads` in the policy file"
        )
    return Heads(language=q // HEAD_DIM, kv=k // HEAD_DIM, vision=VISION_HEADS[vision])
