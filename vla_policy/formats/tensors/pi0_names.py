"""Names and sizes of pi0 and pi0.5 tensors in lerobot and openpi folders, and in this project's.

Both other projects store PaliGemma and the expert under one wrapper; lerobot adds `model.` in
front. The model reads the input embedding. Files hold it as lm_head (lerobot 0.4.4, where the two
are tied), as embed_tokens, or hold both, which lerobot trains separately since 0.5.0; then
lm_head is not read. The expert's own lm_head is never read. Older exports have another order of
the name's parts inside the wrapper; both are accepted.
"""

from vla_policy.formats.fit import Heads
from vla_policy.formats.tensors.naming import Named, TensorNaming, require_heads, shapes_of
from vla_policy.formats.tensors.safetensors_file import chunks
from vla_policy.formats.tensors.store import Store
from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig

PREFIX = "model."
WRAPPER = "paligemma_with_expert."
VISION = WRAPPER + "paligemma.model.vision_tower.vision_model."
EMBEDDING = WRAPPER + "paligemma.lm_head.weight"
TIED = WRAPPER + "paligemma.model.language_model.embed_tokens.weight"
UNREAD = WRAPPER + "gemma_expert.lm_head.weight"

STEMS = (
    (EMBEDDING, "embed_tokens.weight"),
    (WRAPPER + "gemma_expert.model.", "flow.expert."),
    (WRAPPER + "paligemma.model.language_model.", "language."),
    (WRAPPER + "paligemma.model.multi_modal_projector.linear.", "projector."),
    (VISION + "embeddings.position_embedding.weight", "vision.position_embedding"),
    (VISION + "embeddings.patch_embedding.", "vision.patch_embedding."),
    (VISION + "encoder.layers.", "vision.layers."),
    (VISION + "post_layernorm.", "vision.post_layernorm."),
    ("state_proj.", "flow.state_proj."),
    ("action_", "flow.action_"),
    ("time_mlp_", "flow.time_mlp_"),
)
OLDER = (
    (WRAPPER + "paligemma.language_model.model.", WRAPPER + "paligemma.model.language_model."),
    (WRAPPER + "paligemma.language_model.lm_head.", WRAPPER + "paligemma.lm_head."),
    (WRAPPER + "paligemma.vision_tower.", WRAPPER + "paligemma.model.vision_tower."),
    (WRAPPER + "paligemma.multi_modal_projector.", WRAPPER + "paligemma.model.multi_modal_projector."),
    # transformers 5 has no inner vision_model
    (WRAPPER + "paligemma.model.vision_tower.embeddings.", VISION + "embeddings."),
    (WRAPPER + "paligemma.model.vision_tower.encoder.", VISION + "encoder."),
    (WRAPPER + "paligemma.model.vision_tower.post_layernorm.", VISION + "post_layernorm."),
)  # fmt: skip
NAMING = TensorNaming(STEMS, prefixes=(PREFIX,), older=OLDER)
PUBLISHED = Heads(language=8, kv=1, vision=16)


def name_tensors(store: Store, *, tied: bool = False) -> Named:
    """Match the names of a lerobot or openpi store.

    tied: input and output embedding are one tensor in the program that runs such folders (openpi).
    Raises ValueError for a tensor in two layouts, or for inconsistent embeddings.
    """
    by_name: dict[str, str] = {}
    for name in store.entries:
        other = by_name.setdefault(NAMING.canonical(name), name)
        if other != name:
            raise ValueError(
                f"{store.folder}: {other} and {name} are the same tensor in an older and a newer layout"
            )
    unread = {by_name[UNREAD]} if UNREAD in by_name else set()
    if TIED in by_name and EMBEDDING in by_name:
        # Only the input embedding is read, as in lerobot, which trains both since 0.5.0.
        _require_pair(store, by_name[TIED], by_name[EMBEDDING], tied)
        unread.add(by_name.pop(EMBEDDING))
        by_name[EMBEDDING] = by_name.pop(TIED)
    elif TIED in by_name:
        by_name[EMBEDDING] = by_name.pop(TIED)
    names = {NAMING.ours(name): found for name, found in by_name.items() if found not in unread}
    return Named(names, frozenset(unread))


def kind(named: Named) -> str | None:
    """ "pi0" or "pi05" by the tensors that only one of them has; None if neither."""
    if "flow.action_time_mlp_in.weight" in named.names:
        return "pi0"
    return "pi05" if "flow.time_mlp_in.weight" in named.names else None


def sizes(
    store: Store,
    named: Named,
    *,
    rows: int,
    steps: int,
    max_text: int,
    state_dim: int,
    heads: Heads | None,
) -> ModelConfig:
    """The model's sizes from its tensors, head counts from heads or as published (8, 1; 16).

    Raises ValueError if a tensor that determines a size is missing, or if head counts differ.
    """
    shapes = shapes_of(store, named, NAMING.theirs)
    counts = heads or PUBLISHED

    def gemma(stem: str) -> GemmaConfig:
        q, k = (shapes[f"{stem}layers.0.self_attn.{name}_proj.weight"] for name in "qk")
        require_heads(store, counts, q[0], k[0])
        return GemmaConfig(
            width=q[1], depth=shapes.depth(f"{stem}layers."), heads=counts.language, kv_heads=counts.kv,
            mlp=shapes[f"{stem}layers.0.mlp.gate_proj.weight"][0], head_dim=q[0] // counts.language,
        )  # fmt: skip

    language, expert = gemma("language."), gemma("flow.expert.")
    if heads is None and language.head_dim != 256:
        raise ValueError(
            f"{store.folder}: not the published size: with 8 heads, heads of {language.head_dim} instead of 256 "
            "numbers; say the real numbers as `heads` in the policy file"
        )
    patch, places = shapes["vision.patch_embedding.weight"], shapes["vision.position_embedding"][0]
    side = round(places**0.5)
    if side * side != places or patch[0] % counts.vision:
        raise ValueError(
            f"{store.folder}: {places} patch positions and {patch[0]} channels do not make a square image "
            f"read with {counts.vision} heads"
        )
    variant = kind(named)
    if variant is None:
        raise ValueError(
            f"{store.folder}: the weights are neither of pi0 nor of pi0.5: no time_mlp"
        )
    suffix = "flow.state_proj.weight" in shapes
    return ModelConfig(
        name=variant, vocab=shapes["embed_tokens.weight"][0], language=language,
        vision=SiglipConfig(
            image_px=side * patch[2], patch_px=patch[2], width=patch[0], depth=shapes.depth("vision.layers."),
            mlp=shapes["vision.layers.0.fc1.weight"][0], heads=counts.vision,
        ),
        cameras=3, state_dim=shapes["flow.state_proj.weight"][1] if suffix else state_dim,
        action_dim=shapes["flow.action_in_proj.weight"][1], state_token="suffix" if suffix else "none",
        max_text=max_text, token=None,
        flow=FlowHeadConfig(expert, rows, steps, time="concat" if variant == "pi0" else "adarms"),
    )  # fmt: skip


def _require_pair(store: Store, embedding: str, output: str, tied: bool) -> None:
    """Raises ValueError unless both embeddings have one shape, and if tied the same content."""
    x, y = store.entries[embedding], store.entries[output]
    if x.shape != y.shape:
        raise ValueError(
            f"{store.folder}: {embedding} is {x.shape}, {output} is {y.shape}; expected the same shape"
        )
    if tied and (
        x.dtype != y.dtype or any(p != q for p, q in zip(chunks(x), chunks(y), strict=True))
    ):
        raise ValueError(
            f"{store.folder}: {embedding} and {output} differ, but are one tensor in openpi: the file was written by "
            "a tool that lost the tie. If it is a lerobot folder, give the whole of it, with its config.json"
        )
